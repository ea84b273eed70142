"""What edgec puts into a registry, and what a device believes of it.

    TAG -> index            one entry for each target that the release was built for
      -> manifest           artifactType: an edgec artifact
           config           the empty descriptor
           layers           FILE.edgec, and FILE.edgec.dsse.json where it is signed
      <- referrers          (manifests with a `subject`) provenance.json and bom.cdx.json, for those who look with other
                            tools; the artifact carries both inside

Formats: OCI image specification 1.1. Whatever is not as it has to be is refused, not guessed at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ...errors import DeviceUnfit, Untrusted
from ..signatures import LARGEST_ENVELOPE
from .reference import DIGEST, Reference

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
ARTIFACT_TYPE = "application/vnd.edgec.artifact.v1"
ARTIFACT = "application/vnd.edgec.artifact.v1+zip"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
PROVENANCE = "application/vnd.in-toto+json"
BOM = "application/vnd.cyclonedx+json"

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
MODEL = "vnd.edgec.model"
TARGET = "vnd.edgec.target"
PRECISION = "vnd.edgec.precision"
BACKEND = "vnd.edgec.backend"

PLATFORMS: Mapping[str, Mapping[str, str]] = {
    "x86_64": {"os": "linux", "architecture": "amd64"},
    "aarch64": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    "armv7l": {"os": "linux", "architecture": "arm", "variant": "v7"},
}
"""A machine's architecture in Go's words, which registries use."""

LARGEST_MANIFEST = 4 << 20
"""Bytes; what the specification asks every registry to take."""
LARGEST_ARTIFACT = 1 << 32

_MAX_ENTRIES = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,254}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LOOK = "Nothing was kept. Look at what is published there, and at who may write to that registry."


@dataclass(frozen=True)
class Descriptor:
    """Something in the registry, by its digest. size: bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        plain = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**plain, **({"annotations": dict(sorted(self.annotations.items()))} if self.annotations else {})}


@dataclass(frozen=True)
class Entry:
    """A release for one target, as an index lists it."""

    manifest: Descriptor
    model: str
    target: str
    version: int


@dataclass(frozen=True)
class Content:
    """What a manifest holds. envelope: None where the artifact is not signed."""

    artifact: Descriptor
    envelope: Descriptor | None
    model: str
    target: str
    version: int


def read_index(content: bytes, media_type: str, where: Reference) -> list[Entry]:
    """The releases that an index lists; those of other tools are passed over. Raises Untrusted."""
    document = _document(content, media_type, INDEX, where)
    listed = document.get("manifests")
    if not isinstance(listed, list) or len(listed) > _MAX_ENTRIES:
        _refuse(where, f"Its 'manifests' is no list of {_MAX_ENTRIES} at most.")
    entries = []
    for item in listed:
        if not isinstance(item, dict) or item.get("artifactType", ARTIFACT_TYPE) != ARTIFACT_TYPE:
            continue  # some tools that copy an index leave this field out
        annotations = item.get("annotations")
        if not isinstance(annotations, dict) or TARGET not in annotations:
            continue
        descriptor = _descriptor(item, where, LARGEST_MANIFEST)
        if descriptor.media_type != MANIFEST:
            _refuse(where, f"It lists a {descriptor.media_type[:100]!r} as an artifact's manifest.")
        entries.append(Entry(descriptor, *_facts(descriptor.annotations, where)))
    if len({entry.target for entry in entries}) != len(entries):
        _refuse(where, "It lists two releases for one target, and which one is meant nobody can tell.")
    return entries


def entry_for(entries: Sequence[Entry], target: str, where: Reference) -> Entry:
    """The release for a target. Raises DeviceUnfit when there is none."""
    for entry in entries:
        if entry.target == target:
            return entry
    there = ", ".join(sorted(entry.target for entry in entries)) or "no target of edgec's"
    raise DeviceUnfit(
        f"{where} has nothing for {target}",
        f"It has releases for {there}.",
        f"Publish one: edgec build --target {target}, edgec publish --oci {where}",
    )


def read_manifest(content: bytes, media_type: str, where: Reference) -> Content:
    """What a manifest holds. Raises Untrusted for one that is not an artifact's."""
    document = _document(content, media_type, MANIFEST, where)
    if document.get("artifactType") != ARTIFACT_TYPE:
        config = document.get("config")
        kind = document.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
        _refuse(where, f"It holds {str(kind)[:100]!r}, not an artifact of edgec's: a container's image, perhaps.")
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > _MAX_ENTRIES:
        _refuse(where, f"Its 'layers' is no list of {_MAX_ENTRIES} at most.")
    found: dict[str, Descriptor] = {}
    for item in layers:
        kind = item.get("mediaType") if isinstance(item, dict) else None
        if kind not in (ARTIFACT, ENVELOPE):
            _refuse(where, f"It has a layer of the type {str(kind)[:100]!r}, which artifacts do not have.")
        if kind in found:
            _refuse(where, f"It has two layers of the type {kind!r}.")
        found[kind] = _descriptor(item, where, LARGEST_ARTIFACT if kind == ARTIFACT else LARGEST_ENVELOPE)
    if ARTIFACT not in found:
        _refuse(where, "It has no layer with an artifact.")
    facts = _facts(_annotations(document, where), where)
    return Content(found[ARTIFACT], found.get(ENVELOPE), *facts)


def is_title(name: str) -> bool:
    """Whether a file's name may stand in a registry as one."""
    return _FILE_NAME.fullmatch(name) is not None


def _document(content: bytes, media_type: str, expected: str, where: Reference) -> dict[str, Any]:
    """A manifest or index: JSON of the type that the registry and the document itself say."""
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        _refuse(where, f"It is not JSON: {error}.")
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        _refuse(where, "It is not a manifest of schema version 2.")
    inside = document.get("mediaType")
    if media_type != expected or inside != expected:
        _refuse(where, f"It is {str(inside)[:100]!r}, sent as {media_type[:100]!r}; it has to be {expected!r}.")
    return document


def _descriptor(item: Mapping[str, Any], where: Reference, most: int) -> Descriptor:
    kind, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(kind, str) or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        _refuse(where, f"It names something by the digest {str(digest)[:100]!r}; only SHA-256 is taken.")
    if type(size) is not int or not 0 < size <= most:
        _refuse(where, f"It claims that {digest[:19]}... has {str(size)[:40]} bytes; the limit is {most}.")
    return Descriptor(kind, digest, size, _annotations(item, where))


def _annotations(item: Mapping[str, Any], where: Reference) -> Mapping[str, str]:
    """Annotations, those that edgec reads in a form that can do no harm as a file's name or on a terminal."""
    found = item.get("annotations") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _refuse(where, "Its annotations are not text.")
    rules = {TITLE: _FILE_NAME, VERSION: _NUMBER, MODEL: _NAME, TARGET: _NAME}
    for key, rule in rules.items():
        if key in found and not rule.fullmatch(found[key]):
            _refuse(where, f"Its annotation {key} is {found[key][:100]!r}, which is not a name or number to be used.")
    return found


def _facts(annotations: Mapping[str, str], where: Reference) -> tuple[str, str, int]:
    """(model, target, version)."""
    if missing := [key for key in (MODEL, TARGET, VERSION) if key not in annotations]:
        _refuse(where, f"The annotation {missing[0]} is missing.")
    return annotations[MODEL], annotations[TARGET], int(annotations[VERSION])


def _refuse(where: Reference, why: str) -> NoReturn:
    raise Untrusted(f"{where} does not hold what edgec publishes", why, _LOOK)
