"""A new repository: its keys, its first root, and empty metadata below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Delegations, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edgec.digest import digest_bytes
from edgec.errors import OutputError, UsageError
from edgec.shipping.repository import files, layout, policy
from edgec.shipping.repository.keyring import Keyring, default_folder, key_of, refuse_inside, sign
from edgec.shipping.repository.state import PENDING
from edgec.shipping.signing.keys import Ask


@dataclass(frozen=True)
class Created:
    """What `create` made. pending: the root still waits for signatures, so nobody can use the repository yet."""

    folder: Path
    keys: Path
    generated: tuple[Path, ...]
    root: Metadata[Root]
    pending: bool


def create(
    folder: Path,
    keys_folder: Path | None,
    now: datetime,
    *,
    keys: Mapping[str, Sequence[str]] | None = None,
    threshold: int = 1,
    periods: Mapping[str, timedelta] | None = None,
    ask: Ask | None = None,
) -> Created:
    """Make a repository without any release in `folder`.

    keys: for each top-level role the references of its keys; a role without any gets a new one. A root key may be
    public only: then the root waits until its holder has signed it. threshold: signatures that a root needs.
    periods: how long each role's metadata holds, where not as policy.DEFAULTS says.

    Raises UsageError where there is a repository already, or where the keys can't reach the threshold.
    """
    _refuse_existing(folder)
    keys = keys or {}
    periods = periods or {}
    for name in {*keys, *periods} - set(layout.TOP_LEVEL):
        raise UsageError(
            f"A new repository has no role {name!r}",
            f"It has: {', '.join(layout.TOP_LEVEL)}; targets get theirs when something is published for them.",
            "Name one of these.",
        )
    root = Root(expires=_expiry("root", periods, now), consistent_snapshot=True)
    signers: dict[str, list[Signer]] = {}
    ring = Keyring(Path(), ask=ask)
    for role in ("root", "targets", "snapshot", "timestamp"):
        policy.set_period(root.roles[role], periods.get(role, policy.DEFAULTS[role]))
        signers[role] = []
        for key, signer in _keys_for(role, keys.get(role, ()), ring):
            root.add_key(key, role)
            if signer is not None:
                signers[role].append(signer)
            elif role != "root":
                raise UsageError(
                    f"The key of {role} is public only",
                    "Only root keys may be elsewhere: a new repository's other roles are signed now.",
                    f"Name the private key with --{role}-key, or leave it out to have one made.",
                )
    check_threshold("root", threshold, len(root.roles["root"].keyids))
    root.roles["root"].threshold = threshold
    root_metadata = Metadata(root)
    for signer in signers["root"]:
        sign(root_metadata, signer)

    place = keys_folder or default_folder(folder, root_metadata)
    assert place is not None
    refuse_inside(place, folder)
    ring.folder = place
    return _write(folder, ring, root_metadata, signers, periods, now)


def check_threshold(role: str, threshold: int, keys: int) -> None:
    """Raises UsageError for a number of signatures that can't be reached, or is none."""
    if not 1 <= threshold <= keys:
        raise UsageError(
            f"The threshold of {role} can't be {threshold}",
            f"It has {keys} key{'s' if keys != 1 else ''}, and each of them counts once.",
            f"Name more keys, or {'a threshold from 1 to ' if keys > 1 else 'a threshold of '}{keys}.",
        )


def _refuse_existing(folder: Path) -> None:
    if (folder / layout.METADATA).exists():
        raise UsageError(
            f"{folder} holds a repository already",
            f"There is a folder {layout.METADATA} in it.",
            "Publish to it, or choose another folder with --repo.",
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "A repository is a folder.", "Choose another with --repo.")


def _keys_for(role: str, references: Sequence[str], ring: Keyring) -> list[tuple[Key, Signer | None]]:
    """The keys that were named for a role, or a new one."""
    if references:
        return [key_of(reference, ring.ask) for reference in references]
    signer = ring.make(role)
    return [(signer.public_key, signer)]


def _expiry(role: str, periods: Mapping[str, timedelta], now: datetime) -> datetime:
    return (now + periods.get(role, policy.DEFAULTS[role])).replace(microsecond=0)


def _write(
    folder: Path,
    ring: Keyring,
    root: Metadata[Root],
    signers: Mapping[str, Sequence[Signer]],
    periods: Mapping[str, timedelta],
    now: datetime,
) -> Created:
    """Sign the first metadata of each role, and write all of it; an unfinished root goes to the side."""
    targets = Metadata(Targets(expires=_expiry("targets", periods, now), delegations=Delegations({}, roles={})))
    snapshot = Metadata(Snapshot(expires=_expiry("snapshot", periods, now)))
    timestamp = Metadata(Timestamp(expires=_expiry("timestamp", periods, now)))
    _sign(targets, signers["targets"])
    snapshot.signed.meta["targets.json"] = _listed(targets)
    _sign(snapshot, signers["snapshot"])
    timestamp.signed.snapshot_meta = _listed(snapshot)
    _sign(timestamp, signers["timestamp"])
    pending = not root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    written = [
        (layout.metadata_file(folder, "targets", 1), targets.to_bytes()),
        (layout.metadata_file(folder, "snapshot", 1), snapshot.to_bytes()),
        (layout.metadata_file(folder, "timestamp", 1), timestamp.to_bytes()),
    ]
    if not pending:
        written.append((layout.metadata_file(folder, "root", 1), root.to_bytes()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The repository {folder} can't be made",
            f"The system says: {error.strerror}.",
            "Choose a folder that you own with --repo.",
        ) from error
    with files.locked(folder):
        _refuse_existing(folder)
        generated = ring.keep()
        if pending:
            files.write_whole(folder, folder / layout.WORKSHOP / PENDING, root.to_bytes())
        files.commit(folder, written)
    if not pending:
        ring.remember(root.to_bytes(), timestamp.signed.version)
    assert ring.folder is not None
    return Created(folder, ring.folder, generated, root, pending)


def _sign(metadata: Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp], signers: Sequence[Signer]) -> None:
    for signer in signers:
        sign(metadata, signer)


def _listed(metadata: Metadata[Targets] | Metadata[Snapshot]) -> MetaFile:
    content = metadata.to_bytes()
    return MetaFile(metadata.signed.version, len(content), {"sha256": digest_bytes(content)})
