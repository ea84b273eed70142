"""Publishing artifacts to a registry: blobs first, then manifests, and the tag last.

What lies there is described in edgec/runtime/agent/oci/documents.py; equal artifacts with equal numbers give equal
manifests. A registry has no lock: of two who publish to one tag at the same time, the later one wins, and the other's
release has to be published again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.errors import ArtifactError, UsageError
from edgec.runtime.agent.fetcher import Refused
from edgec.runtime.agent.oci import documents
from edgec.runtime.agent.oci.documents import Descriptor, Entry
from edgec.runtime.agent.oci.reference import DEFAULT_TAG, TAG, Reference, parse_reference
from edgec.runtime.agent.oci.registry import Registry
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure
from edgec.shipping.registry.upload import Blob, Uploader
from edgec.shipping.repository.artifacts import Candidate, examine

_NOTHING = Blob.of(b"{}")
_EVIDENCE = {"provenance.json": documents.PROVENANCE, "bom.cdx.json": documents.BOM}
"""Members of an artifact that are published beside it too, for those who look with other tools."""


@dataclass(frozen=True)
class Published:
    """An artifact that is in the registry. reference: by digest. changed: False where it was there under this tag.

    sent: bytes that went over the network for it.
    """

    path: Path
    reference: Reference
    model: str
    target: str
    version: int
    bytes: int
    sha256: str
    signed: bool
    changed: bool
    sent: int

    def to_json(self) -> dict[str, Any]:
        plain = {key: value for key, value in vars(self).items() if key not in ("path", "reference")}
        return {"file": str(self.path), "reference": str(self.reference), **plain}


def publish(
    artifacts: Sequence[Path],
    reference: str,
    *,
    version: int | None = None,
    signed_by: Sequence[Path] = (),
    require_signed: bool = False,
    plain_http: bool = False,
) -> list[Published]:
    """Verify artifacts, upload them, and let the reference's tag lead to them, each for its target.

    What the tag leads to for other targets stays. version: the release's number; None takes the next one, and keeps
    the number of what is published already.

    Raises ArtifactError, UsageError, Unreachable.
    """
    candidates = _examined(artifacts, signed_by, require_signed)
    try:
        where = parse_reference(reference)
        if where.digest:
            raise UsageError(
                f"{where} can't be published to", "A digest names what is there already.", "Give a tag, as in :stable."
            )
        registry = Registry(where, plain_http=plain_http)
        return _publish(registry, Uploader(registry), candidates, version)
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure


def _examined(artifacts: Sequence[Path], signed_by: Sequence[Path], require_signed: bool) -> list[Candidate]:
    """All artifacts, sound, of one model and each for a target of its own."""
    candidates = [examine(path, signed_by, require_signed) for path in artifacts]
    by_target: dict[str, Candidate] = {}
    for each in candidates:
        if each.model != candidates[0].model:
            raise UsageError(
                f"{each.path} is another model than {candidates[0].path}",
                f"They are {each.model} and {candidates[0].model}, and a tag leads to one model, for each target once.",
                "Publish them to repositories of their own, such as HOST/models/" + each.model + ".",
            )
        if (other := by_target.setdefault(each.target, each)) is not each:
            raise UsageError(
                f"{each.path} and {other.path} are for one target, {each.target}",
                "A tag leads to one artifact for each target.",
                "Publish one of them, or both under different tags.",
            )
    return candidates


def _publish(
    registry: Registry, uploader: Uploader, candidates: Sequence[Candidate], version: int | None
) -> list[Published]:
    where = registry.reference
    index, known = _current(registry)
    model = candidates[0].model
    if foreign := [entry for entry in known.values() if entry.model != model]:
        raise UsageError(
            f"{where} holds another model: {foreign[0].model}",
            f"What is to be published is {model}, and a tag leads to one model.",
            f"Publish to a repository of its own, such as {where.host}/models/{model}.".lower(),
        )
    following = max((entry.version for entry in known.values()), default=0) + 1
    done = [_one(registry, uploader, each, known.get(each.target), version, following) for each in candidates]
    kept = [item for item in index.get("manifests", []) if _target_of(item) not in {each.target for each, _ in done}]
    listed = {
        "schemaVersion": 2,
        "mediaType": documents.INDEX,
        "artifactType": documents.ARTIFACT_TYPE,
        "manifests": sorted(
            kept + [item for _, item in done], key=lambda item: (_target_of(item) or "", item["digest"])
        ),
    }
    content = _text(listed)
    uploader.manifest(where.tag or DEFAULT_TAG, content, documents.INDEX)
    if (there := registry.manifest(where.name)[0]) != content:
        raise ArtifactError(
            f"{where} does not lead to what was just published",
            f"{len(there)} other bytes are there: somebody else published to this tag at the same time.",
            "Publish again.",
        )
    return [each for each, _ in done]


def _current(registry: Registry) -> tuple[Mapping[str, Any], Mapping[str, Entry]]:
    """(the index that the tag leads to, its entries by target); nothing where there is none yet."""
    where = registry.reference
    try:
        content, media_type, _ = registry.manifest(where.name)
    except Refused as refused:
        if refused.status == 404:
            return {}, {}
        raise
    if media_type != documents.INDEX:
        raise UsageError(
            f"{where} holds something that edgec did not publish",
            f"It is {media_type[:100]!r}: a container's image, perhaps, which would be replaced.",
            "Publish to another repository or tag.",
        )
    entries = documents.read_index(content, media_type, where)
    return json.loads(content), {entry.target: entry for entry in entries}


def _one(
    registry: Registry,
    uploader: Uploader,
    each: Candidate,
    known: Entry | None,
    version: int | None,
    following: int,
) -> tuple[Published, dict[str, Any]]:
    """Upload an artifact with all that belongs to it; returns it, and its entry for the index."""
    before = uploader.sent
    blob = Blob.of(each.path)
    if blob.digest != f"sha256:{each.sha256}":
        raise ArtifactError(f"{each.path} changed while it was read", "Its SHA-256 differs now.", "Publish it again.")
    signature = Blob.of(each.signature) if each.signature else None
    same = known is not None and _holds(registry, known, blob.digest)
    number = version if version is not None else known.version if known is not None and same else following
    if known is not None and (number < known.version or (number == known.version and not same)):
        raise UsageError(
            f"{each.model} {number} for {each.target} can't be published to {registry.reference}",
            f"Release {known.version} is there, and devices do not go back to one with a smaller number, or to another "
            "one of the same number.",
            "Leave --release out: the next number is taken.",
        )
    facts = {
        documents.MODEL: each.model,
        documents.TARGET: each.target,
        documents.VERSION: str(number),
        documents.PRECISION: each.facts["precision"],
        documents.BACKEND: each.facts["backend"],
    }
    layers = [
        blob.described(
            documents.ARTIFACT, {documents.TITLE: each.path.name} if documents.is_title(each.path.name) else {}
        )
    ]
    uploader.blob(_NOTHING)
    uploader.blob(blob)
    if signature is not None:
        uploader.blob(signature)
        layers.append(signature.described(documents.ENVELOPE))
    content = _manifest(documents.ARTIFACT_TYPE, layers, facts)
    described = Blob.of(content).described(documents.MANIFEST, facts)
    changed = known is None or known.manifest.digest != described.digest
    uploader.manifest(described.digest, content, documents.MANIFEST)
    _evidence(registry, uploader, each.path, described)
    entry = {**described.to_json(), "artifactType": documents.ARTIFACT_TYPE}
    if platform := documents.PLATFORMS.get(each.facts["needs"]["arch"]):
        entry["platform"] = dict(platform)
    published = Published(
        path=each.path,
        reference=registry.reference.at(described.digest),
        model=each.model,
        target=each.target,
        version=number,
        bytes=each.bytes,
        sha256=each.sha256,
        signed=signature is not None,
        changed=changed,
        sent=uploader.sent - before,
    )
    return published, entry


def _holds(registry: Registry, entry: Entry, digest: str) -> bool:
    """Whether the release that the tag leads to is the artifact with this digest."""
    content, media_type, _ = registry.manifest(entry.manifest.digest)
    return documents.read_manifest(content, media_type, registry.reference).artifact.digest == digest


def _evidence(registry: Registry, uploader: Uploader, path: Path, subject: Descriptor) -> None:
    """Publish provenance and bill of materials as referrers of an artifact's manifest."""
    bundle = Bundle.open(path)
    for name, media_type in _EVIDENCE.items():
        if name not in bundle.manifest["files"]:
            continue
        blob = Blob.of(bundle.read(name))
        uploader.blob(blob)
        layer = blob.described(media_type, {documents.TITLE: name})
        content = _manifest(media_type, [layer], {}, subject)
        described = Blob.of(content).described(documents.MANIFEST)
        if not uploader.manifest(described.digest, content, documents.MANIFEST):
            _refer(registry, uploader, subject, {**described.to_json(), "artifactType": media_type})


def _refer(registry: Registry, uploader: Uploader, subject: Descriptor, referrer: Mapping[str, Any]) -> None:
    """List a referrer under the tag that stands for the referrers of its subject: what a client has to do where the
    registry does not know the field `subject` (the specification's "Referrers Tag Schema")."""
    tag = subject.digest.replace(":", "-")
    assert TAG.fullmatch(tag)
    listed: list[Any] = []
    with contextlib.suppress(Refused, ValueError, AttributeError, TypeError):  # not there, or nothing to go on from
        listed = [item for item in json.loads(registry.manifest(tag)[0]).get("manifests") or [] if _is_entry(item)]
    if any(item["digest"] == referrer["digest"] for item in listed):
        return
    index = {"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": [*listed, dict(referrer)]}
    uploader.manifest(tag, _text(index), documents.INDEX)


def _manifest(
    artifact_type: str, layers: Sequence[Descriptor], annotations: Mapping[str, str], subject: Descriptor | None = None
) -> bytes:
    """A manifest; no time is in it, so that equal content has an equal digest."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": documents.MANIFEST,
        "artifactType": artifact_type,
        "config": _NOTHING.described(documents.EMPTY).to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    if subject is not None:
        document["subject"] = Descriptor(subject.media_type, subject.digest, subject.size, {}).to_json()
    return _text(document)


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=True).encode()


def _is_entry(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("digest"), str)


def _target_of(item: Mapping[str, Any]) -> str | None:
    """The target of an index's entry; None where it is another tool's."""
    annotations = item.get("annotations")
    target = annotations.get(documents.TARGET) if isinstance(annotations, dict) else None
    return target if isinstance(target, str) else None
