"""Fetching an artifact from a registry, every size and digest checked while the bytes come."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DeviceUnfit, StorageFailed, Unreachable, Untrusted
from .. import storage
from ..fetcher import Refused, Reply, TryAgain
from ..release import Release
from ..signatures import envelope_beside
from .documents import INDEX, Content, Descriptor, Entry, entry_for, read_index, read_manifest
from .reference import Reference
from .registry import Registry, whole

_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20}|\*)")


@dataclass(frozen=True)
class Found:
    """What a reference leads to for a target. reference: by digest, so that it means the same tomorrow."""

    reference: Reference
    content: Content

    @property
    def file_name(self) -> str:
        """What a build calls the file. What the registry calls it does not matter."""
        return f"{self.content.model}-{self.content.target}.edgec"


def find(registry: Registry, target: str | None) -> Found:
    """What the registry's reference leads to. Nothing of any size is downloaded.

    target: for which device; None takes the only one that there is.

    Raises Untrusted, Unreachable, DeviceUnfit where there is nothing for the target.
    """
    asked = registry.reference
    content, media_type, digest = registry.manifest(asked.name)
    entry = None
    if media_type == INDEX:
        entry = _chosen(read_index(content, media_type, asked), target, asked)
        digest = entry.manifest.digest
        content, media_type, _ = registry.manifest(digest)
        if len(content) != entry.manifest.size:
            raise Untrusted(
                f"{asked} contradicts itself",
                f"Its index says that {digest} has {entry.manifest.size} bytes; it has {len(content)}.",
                "Nothing was kept. Publish it again.",
            )
    held = read_manifest(content, media_type, asked)
    if entry is not None and (entry.model, entry.target, entry.version) != (held.model, held.target, held.version):
        raise Untrusted(
            f"{asked} contradicts itself",
            f"Its index calls it {entry.model} {entry.version} for {entry.target}, and its manifest {held.model} "
            f"{held.version} for {held.target}.",
            "Nothing was kept. Look at who may write to that registry.",
        )
    if target is not None and held.target != target:
        raise DeviceUnfit(
            f"{asked} is for {held.target}, and not for {target}",
            "It names one artifact alone.",
            "Give the tag in the place of the digest: it leads to the artifact of each target.",
        )
    return Found(asked.at(digest), held)


def _chosen(entries: list[Entry], target: str | None, where: Reference) -> Entry:
    if target is not None:
        return entry_for(entries, target, where)
    if len(entries) == 1:
        return entries[0]
    there = ", ".join(sorted(entry.target for entry in entries)) or "none of edgec's"
    raise DeviceUnfit(
        f"{where} has releases for several targets" if entries else f"{where} has no release of edgec's",
        f"They are for: {there}.",
        "Say which one: --target NAME, or target in device.conf.",
    )


def check_order(found: Found, running: Release | None, older: bool) -> None:
    """Refuse to go back, unless that is what is wanted: a tag can be moved to where it was long ago.

    Raises Untrusted.
    """
    if running is None or running.version is None or older:
        return
    offered, sha256 = found.content.version, found.content.artifact.digest.partition(":")[2]
    if offered < running.version:
        raise Untrusted(
            f"The registry offers an older release than the one that runs: {offered} after {running.version}",
            f"{found.reference} is {found.content.model} {offered}. Its tag was moved back, or what answers is not "
            "the registry of today.",
            "Publish the release that you want again, which gives it a new number; or take this one: --older.",
        )
    if offered == running.version and sha256 != running.sha256:
        raise Untrusted(
            f"The registry offers another release {offered} than the one that runs",
            f"Under the same number there is SHA-256 {sha256[:16]}..., and {running.sha256[:16]}... runs.",
            "Publish it with a number of its own; or take it nevertheless: --older.",
        )


def check_is(found: Found, model: str, target: str) -> None:
    """Refuse an artifact that by its own manifest is not the model, or not for the target, that the registry calls it.

    Raises Untrusted.
    """
    said = found.content
    if (model, target) != (said.model, said.target):
        raise Untrusted(
            f"{found.reference} is not what the registry calls it",
            f"The registry says {said.model} for {said.target}; the artifact is {model!r:.100} for {target!r:.100}.",
            "Look at what is published there, and at who may write to that registry.",
        )


def fetch(registry: Registry, found: Found, folder: Path, unsigned: bool = False) -> Path:
    """Download the artifact, and its signature beside it; returns its place in `folder`.

    An earlier download that was broken off is gone on with, where the registry knows ranges. The file has its name only
    when it is whole. Whether the signature is good is not looked at here.

    Raises Untrusted, Unreachable, StorageFailed.
    """
    content = found.content
    if content.envelope is None and not unsigned:
        raise Untrusted(
            f"{found.reference} is not signed",
            "There is no DSSE envelope beside the artifact.",
            "Sign it (edgec sign FILE.edgec --key KEY) and publish it again. Without a signature whoever may write to "
            "the registry decides what devices run; where that is wanted: --unsigned.",
        )
    storage.make_folder(folder)
    place = folder / found.file_name
    beside = envelope_beside(place)
    with storage.storing(folder):
        beside.unlink() if beside.exists() else None  # of another version, perhaps
    _download(registry, content.artifact, place)
    if content.envelope is not None:
        storage.replace_file(beside, _small(registry, content.envelope))
    return place


def _small(registry: Registry, blob: Descriptor) -> bytes:
    """A blob that fits into memory."""

    def attempt() -> bytes:
        with registry.blob(blob.digest) as reply:
            return whole(reply, blob.size)

    data = registry.fetcher.persist(attempt)
    if len(data) != blob.size:
        raise _short(blob, len(data))
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != blob.digest:
        raise _changed(blob)
    return data


def _download(registry: Registry, blob: Descriptor, place: Path) -> None:
    """A blob into a file."""
    part = place.with_name(f".{blob.digest[-64:]}.part")
    with contextlib.suppress(FileNotFoundError):
        if place.stat().st_size == blob.size and f"sha256:{storage.sha256_of(place)}" == blob.digest:
            return
    failures = before = 0
    anew = False
    while True:
        try:
            resumed = _go_on(registry, blob, part)
        except TryAgain as failure:
            size = part.stat().st_size if part.exists() else 0
            failures = failures + 1 if size == before else 1
            before = size
            if failures >= registry.fetcher.limits.attempts:
                raise
            registry.fetcher.wait(failures, failure)
            continue
        if f"sha256:{storage.sha256_of(part)}" == blob.digest:
            break
        storage.remove(part)
        if anew or not resumed:
            raise _changed(blob)
        before, anew = 0, True  # what an earlier run had left may be what is wrong: once more, from the start
    storage.move(part, place)


def _go_on(registry: Registry, blob: Descriptor, part: Path) -> bool:
    """Fetch what is missing of a blob; returns whether something was there already. What came is kept."""
    with storage.storing(part), part.open("ab") as file:
        if file.tell() > blob.size:
            file.truncate(0)
        start = file.tell()
        if start == blob.size:
            return True
        free = storage.free_bytes(part.parent)
        if free < blob.size - start:
            raise StorageFailed(
                f"There is no room for {part.parent}",
                f"{blob.size - start} bytes are needed there, and {free} are free.",
                "Remove what is not needed: edgec-device prune.",
            )
        with _rest(registry, blob, start) as reply:
            if start and not _continues(reply, start, blob.size):
                file.truncate(0)
                start = 0
            _receive(reply, blob, file, start)
            file.flush()
            os.fsync(file.fileno())
    return bool(start)


def _rest(registry: Registry, blob: Descriptor, start: int) -> Reply:
    """A blob's bytes from `start` on. Raises Unreachable where the registry has none there."""
    try:
        return registry.blob(blob.digest, start)
    except Refused as refused:
        if refused.status != 416 or not start:
            raise
        raise Unreachable(*_cut_off(blob, start)) from refused


def _continues(reply: Reply, start: int, size: int) -> bool:
    """Whether a reply has the bytes from `start` on. Raises Untrusted where it has others than were asked for."""
    if reply.status != 206:
        return False
    said = reply.headers.get("content-range", "")
    found = _RANGE.fullmatch(said)
    if found is None or int(found[1]) != start or found[3] not in ("*", str(size)):
        raise Untrusted(
            f"{reply.url} is answered with another part than was asked for",
            f"Asked for were the bytes from {start} on of {size}; the registry says {said[:80]!r}.",
            "Try again. If that does not help, look at the registry.",
        )
    return True


def _receive(reply: Reply, blob: Descriptor, file: Any, start: int) -> None:
    """Write a reply's body. Raises Untrusted where it has more bytes than the blob, TryAgain where it has fewer."""
    position = start
    for block in reply.body:
        position += len(block)
        if position > blob.size:
            file.truncate(0)
            raise Untrusted(
                f"The registry sends more than {blob.digest[:19]}... has",
                f"It has {blob.size} bytes by the manifest, and more came.",
                "Nothing of it was kept. Look at the registry, and at who may write there.",
            )
        file.write(block)
    if position < blob.size:
        raise _short(blob, position)


def _short(blob: Descriptor, came: int) -> TryAgain:
    return TryAgain(*_cut_off(blob, came))


def _cut_off(blob: Descriptor, came: int) -> tuple[str, str, str]:
    return (
        f"{blob.digest[:19]}... ends too early",
        f"It has {blob.size} bytes by the manifest, and {came} came: the line broke, or the registry lost the rest.",
        "Try again. If that does not help, publish it again.",
    )


def _changed(blob: Descriptor) -> Untrusted:
    return Untrusted(
        f"What the registry sent is not {blob.digest[:19]}...",
        "It has the right size, and another SHA-256: bytes were changed in the registry or on the way.",
        "Nothing of it was kept. Publish it again, and look at the registry's storage.",
    )
