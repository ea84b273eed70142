"""The repository as it is now. Nothing is believed, or built upon, that the right keys did not sign.

Whoever can write to the hosting could otherwise have a publisher sign what they put there. Only expiry does not matter
here: an expired role is what a publisher is there to renew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edgec.errors import ArtifactError, EdgecError, UsageError
from edgec.shipping.repository import layout
from edgec.shipping.repository.keyring import Seen
from edgec.shipping.repository.layout import METADATA, WORKSHOP

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

PENDING = "pending-root.json"
_NOTHING_SEEN = Seen()
_LARGEST = 16 << 20  # bytes of one metadata file: far above any real one


@dataclass
class State:
    """All that clients of a repository can see; `root_bytes` is the newest root's file.

    pending: a new root that still waits for signatures, and is not visible to clients.
    """

    folder: Path
    first_root: Metadata[Root]
    root: Metadata[Root]
    root_bytes: bytes
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    delegated: dict[str, Metadata[Targets]]
    releases: dict[str, dict[str, Any]]
    pending: Metadata[Root] | None

    def role(self, name: str) -> Metadata[Any]:
        """A role's metadata by the role's name."""
        return getattr(self, name) if name in layout.TOP_LEVEL else self.delegated[name]


def first_root(folder: Path) -> Metadata[Root] | None:
    """The oldest root of a repository, published or waiting for signatures; None where there is neither."""
    if not folder.is_dir():
        return None
    if published := layout.versions(folder, "root"):
        return _parse(layout.metadata_file(folder, "root", published[0]).read_bytes(), Root, "the first root")
    return pending_root(folder)


def pending_root(folder: Path) -> Metadata[Root] | None:
    """The root that waits for signatures."""
    place = folder / WORKSHOP / PENDING
    return _parse(_read(place), Root, str(place)) if place.exists() else None


def load(folder: Path, seen: Seen = _NOTHING_SEEN) -> State:
    """Read and verify a repository, which must not be older than what the caller has `seen` of it.

    Raises UsageError where there is no repository, ArtifactError where it is damaged or signed by others.
    """
    oldest = first_root(folder)
    if oldest is None:
        raise UsageError(
            f"{folder} holds no repository",
            f"There is no {METADATA}/1.root.json in it.",
            f"Make one: edgec publish init --repo {folder}, or correct --repo.",
        )
    pending = pending_root(folder)
    if not layout.versions(folder, "root"):
        assert pending is not None
        raise UsageError(
            f"The repository {folder} has no root yet",
            f"Its root waits for signatures: {signatures_text(pending, None)}.",
            "Let the holders of the root keys sign it: edgec publish sign-root --repo DIR --key KEY.",
        )
    root, root_bytes = _newest_root(folder, seen.root)
    if pending is not None and pending.signed.version <= root.signed.version:
        pending = None  # it was published, and the command that did was killed before it took it away
    timestamp_file = layout.metadata_file(folder, "timestamp", 0)
    timestamp = _verified(timestamp_file, _read(timestamp_file), Timestamp, "timestamp", root.signed)
    if timestamp.signed.version < seen.timestamp:
        raise ArtifactError(
            f"{folder} is an old copy of the repository",
            f"Its timestamp is version {timestamp.signed.version}; version {seen.timestamp} was published from here.",
            "Restore its newest state: clients refuse what is older than what they have seen, and what was changed "
            "since, such as a revocation, would be undone.",
        )
    snapshot = _listed(folder, Snapshot, "snapshot", timestamp.signed.snapshot_meta, root.signed)
    if (listed := snapshot.signed.meta.get("targets.json")) is None:
        raise _damaged(snapshot_name(snapshot), "It does not list targets.json")
    targets = _listed(folder, Targets, "targets", listed, root.signed)
    delegated: dict[str, Metadata[Targets]] = {}
    for name in delegated_roles(targets.signed):
        if (meta := snapshot.signed.meta.get(f"{name}.json")) is None:
            raise _damaged(snapshot_name(snapshot), f"It does not list {name}, which targets.json delegates to")
        delegated[name] = _listed(folder, Targets, name, meta, targets.signed)
    releases = {name: _releases(folder, name, metadata.signed) for name, metadata in delegated.items()}
    return State(folder, oldest, root, root_bytes, timestamp, snapshot, targets, delegated, releases, pending)


def delegated_roles(targets: Targets) -> tuple[str, ...]:
    """The targets that have a role of their own."""
    return tuple(targets.delegations.roles or ()) if targets.delegations is not None else ()


def signatures_text(root: Metadata[Root], previous: Root | None) -> str:
    """ "1 of 2 signatures", of a root's own keys and, where these differ, of the keys before it."""
    own = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    text = f"{len(own.signed)} of {own.threshold} signatures"
    if previous is not None:
        before = previous.get_verification_result("root", root.signed_bytes, root.signatures)
        if set(previous.roles["root"].keyids) != set(root.signed.roles["root"].keyids):
            text += f", and {len(before.signed)} of {before.threshold} of the keys that held before"
    return text


def snapshot_name(snapshot: Metadata[Snapshot]) -> str:
    """The name of a snapshot's file, for messages."""
    return f"{METADATA}/{snapshot.signed.version}.snapshot.json"


def _newest_root(folder: Path, pinned: bytes | None) -> tuple[Metadata[Root], bytes]:
    """Follow the chain of roots from the pinned one, or from the oldest, to the newest."""
    versions = layout.versions(folder, "root")
    if pinned is None:
        content = _read(layout.metadata_file(folder, "root", versions[0]))
        root = _parse(content, Root, "the first root")
    else:
        content, root = pinned, _parse(pinned, Root, "the root in the folder of keys")
        here = layout.metadata_file(folder, "root", root.signed.version)
        if not here.exists() or _parse(_read(here), Root, str(here)).signed_bytes != root.signed_bytes:
            raise ArtifactError(
                f"{folder} is not the repository that these keys belong to, or is an old copy of it",
                f"The folder of keys has seen root version {root.signed.version}; the repository has another, or none.",
                "Correct --repo or --keys, or restore the repository's newest state. If its hosting may have been "
                "broken into, publish nothing before you know more.",
            )
    _check(root, "root", root.signed, "root.json")
    while (place := layout.metadata_file(folder, "root", root.signed.version + 1)).exists():
        content = _read(place)
        newer = _parse(content, Root, str(place))
        if newer.signed.version != root.signed.version + 1:
            raise _damaged(str(place), f"It says that it is version {newer.signed.version}")
        _check(newer, "root", root.signed, str(place))
        _check(newer, "root", newer.signed, str(place))
        root = newer
    return root, content


def _listed(folder: Path, kind: type[T], name: str, meta: MetaFile, delegator: Root | Targets) -> Metadata[T]:
    """The version of a role that other metadata lists."""
    place = layout.metadata_file(folder, name, meta.version)
    content = _read(place)
    try:
        meta.verify_length_and_hashes(content)
    except RepositoryError as error:
        raise _damaged(str(place), f"{error}") from error
    metadata = _verified(place, content, kind, name, delegator)
    if metadata.signed.version != meta.version:
        raise _damaged(str(place), f"It says that it is version {metadata.signed.version}")
    return metadata


def _verified(place: Path, content: bytes, kind: type[T], name: str, delegator: Root | Targets) -> Metadata[T]:
    metadata = _parse(content, kind, str(place))
    _check(metadata, name, delegator, str(place))
    return metadata


def _check(metadata: Metadata[Any], name: str, delegator: Root | Targets, where: str) -> None:
    try:
        delegator.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise ArtifactError(
            f"{where} is not signed by those who may",
            f"{error}.",
            "Somebody changed the repository, or it was damaged. Restore it from where it is published, or from a "
            "backup, and find out how that could happen before you publish again.",
        ) from error


def _parse(content: bytes, kind: type[T], where: str) -> Metadata[T]:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(content)
    except DeserializationError as error:
        raise _damaged(where, f"It is not TUF metadata: {error.__cause__ or error}") from error
    if not isinstance(metadata.signed, kind):
        raise _damaged(where, f"It holds the role {metadata.signed.type}")
    return metadata


def _releases(folder: Path, target: str, metadata: Targets) -> dict[str, Any]:
    """The target's releases.json, as the signed metadata has it; that of a target without one is empty."""
    path = layout.releases_path(target)
    if (file := metadata.targets.get(path)) is None:
        return {"schema": 1, "target": target, "models": {}}
    place = layout.payload_file(folder, path, file.hashes["sha256"])
    content = _read(place)
    try:
        file.verify_length_and_hashes(content)
        document: dict[str, Any] = json.loads(content)
    except (RepositoryError, ValueError) as error:
        raise _damaged(str(place), f"{error}") from error
    if document.get("schema") != 1:
        raise UsageError(
            f"{place} has the schema {document.get('schema')!r}",
            "This edgec knows schema 1.",
            "Publish with the edgec that wrote it, or a newer one.",
        )
    return document


def _read(place: Path) -> bytes:
    try:
        with place.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise _damaged(str(place), "The file is missing") from error
    except OSError as error:
        raise UsageError(
            f"{place} can't be read", f"The system says: {error.strerror}.", "Check the path and its permissions."
        ) from error
    if len(content) > _LARGEST:
        raise _damaged(str(place), f"It has more than {_LARGEST >> 20} MiB")
    return content


def _damaged(where: str, why: str) -> EdgecError:
    return ArtifactError(
        f"{where} is damaged",
        f"{why}.",
        "Restore the repository's files from where it is published, or from a backup.",
    )
