"""The commands that keep a repository alive and small."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from edgec.errors import UsageError
from edgec.shipping.repository import files, layout, policy, releases, roots
from edgec.shipping.repository.keyring import Keyring
from edgec.shipping.repository.state import State, load
from edgec.shipping.repository.transaction import Transaction

GRACE = timedelta(days=1)
"""How long a file stays that was found unreferenced: for clients in the middle of an update, and for caches."""

_CONDEMNED = "condemned.json"


@dataclass(frozen=True)
class Refreshed:
    """roles: those that were signed again. warnings: what will need a person soon. waiting: as in Rotated."""

    roles: tuple[str, ...]
    timestamp_expires: datetime
    warnings: tuple[str, ...]
    waiting: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "roles": list(self.roles),
            "timestamp_expires": self.timestamp_expires.isoformat(),
            "warnings": list(self.warnings),
            "root_waits": self.waiting or None,
        }


def refresh(folder: Path, ring: Keyring, now: datetime, roles: Sequence[str] = ()) -> Refreshed:
    """Sign the timestamp again, the snapshot when half of its time is over, and what else is named.

    Raises UsageError, with nothing changed, where a key is missing, and where root or targets have expired and are not
    among `roles`: clients would refuse the repository all the same, and whoever looks after it must know.
    """
    with files.locked(folder):
        state = load(folder, ring.seen())
        known = ("root", "targets", "snapshot", "timestamp", *state.delegated)
        for name in roles:
            if name not in known:
                raise UsageError(f"There is no role {name!r}", f"There are: {', '.join(known)}.", "Name one of these.")
        for name in {"root", "targets"} - set(roles):
            if state.role(name).signed.expires <= now:
                raise UsageError(
                    f"{name} expired on {state.role(name).signed.expires:%Y-%m-%d}",
                    "Clients refuse everything below it, whatever the timestamp says. Nothing was changed.",
                    f"Sign it again with its own keys: edgec publish refresh --role {name} --key KEY.",
                )
        transaction = Transaction(state, ring, now)
        named = [name for name in known if name in {*roles, "timestamp"}]
        left = state.snapshot.signed.expires - now
        if left < policy.period_of(state.root.signed.roles["snapshot"], "snapshot") / 2 and "snapshot" not in named:
            named.append("snapshot")
        for name in named:
            if name != "root":
                transaction.changed(name)
        waiting = ""
        if "root" in named:
            waiting = roots.renew_root(transaction).waiting
        else:
            transaction.commit()
        return Refreshed(tuple(named), state.timestamp.signed.expires, tuple(expiry_warnings(state, now)), waiting)


def expiry_warnings(state: State, now: datetime) -> Iterator[str]:
    """Which roles that people sign have expired, or will soon."""
    for name in ("root", "targets", *state.delegated):
        delegator = state.root.signed if name in layout.TOP_LEVEL else state.targets.signed
        period = policy.period_of(delegator.get_delegated_role(name), name)
        expires = state.role(name).signed.expires
        if expires <= now:
            yield f"{name} expired on {expires:%Y-%m-%d}: sign it again (edgec publish refresh --role {name})"
        elif policy.expires_soon(expires, period, now):
            days = (expires - now).days
            yield (
                f"{name} expires in {days} day{'s' if days != 1 else ''}: sign it again before that "
                f"(edgec publish refresh --role {name})"
            )


@dataclass(frozen=True)
class Pruned:
    """releases: "TARGET NAME@VERSION" that are gone. waiting: unreferenced files that stay for GRACE yet."""

    releases: tuple[str, ...]
    files: int
    bytes: int
    waiting: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "releases": list(self.releases)}


def prune(folder: Path, ring: Keyring, now: datetime, keep: int | None) -> Pruned:
    """Drop releases that no channel names, but for the newest `keep` of each model; then files that nothing names.

    keep: None only removes files, and needs no key. Every version of root stays: clients follow their chain.
    """
    if keep is not None and keep < 1:
        raise UsageError(f"--keep {keep} keeps nothing", "At least the newest release stays.", "Name 1 or more.")
    with files.locked(folder):
        state = load(folder, ring.seen())
        gone: list[str] = []
        if keep is not None:
            transaction = Transaction(state, ring, now)
            for target, document in list(state.releases.items()):
                pruned, paths = releases.prune(document, keep)
                if not paths:
                    continue
                for model, entry in document["models"].items():
                    left = pruned["models"][model]["releases"]
                    gone += [f"{target} {model}@{version}" for version in entry["releases"] if version not in left]
                for path in paths:
                    del state.delegated[target].signed.targets[path]
                transaction.set_releases(target, pruned)
            if transaction.has_changes:
                transaction.commit()
        count, size, waiting = _sweep(state, now)
        return Pruned(tuple(gone), count, size, waiting)


def _sweep(state: State, now: datetime) -> tuple[int, int, int]:
    """Remove what an earlier sweep found unreferenced; numbers of files and bytes gone, and of files that wait.

    A file's own age says nothing: what was published a year ago may have been replaced a second ago.
    """
    place = state.folder / layout.WORKSHOP / _CONDEMNED
    try:
        since = {name: datetime.fromisoformat(time) for name, time in json.loads(place.read_bytes()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        since = {}  # they wait once more
    found = {str(file.relative_to(state.folder)): file for file in unreferenced(state)}
    count = size = 0
    waiting: dict[str, str] = {}
    for name, file in found.items():
        condemned = since.get(name, now)
        if condemned > now - GRACE:
            waiting[name] = condemned.isoformat()
            continue
        count, size = count + 1, size + file.stat().st_size
        file.unlink()
    files.write_whole(state.folder, place, json.dumps(waiting, indent=1).encode())
    return count, size, len(waiting)


def unreferenced(state: State) -> list[Path]:
    """Files that no client which begins now will ask for."""
    used = {
        layout.payload_file(state.folder, path, file.hashes["sha256"])
        for metadata in state.delegated.values()
        for path, file in metadata.signed.targets.items()
    }
    for name in ("snapshot", "targets", *state.delegated):
        used.add(layout.metadata_file(state.folder, name, state.role(name).signed.version))
    used.add(layout.metadata_file(state.folder, "timestamp", 0))
    used |= {layout.metadata_file(state.folder, "root", each) for each in layout.versions(state.folder, "root")}
    found = (
        path
        for part in (layout.METADATA, layout.PAYLOADS)
        for path in sorted((state.folder / part).rglob("*"))
        if path.is_file() and not path.is_symlink()
    )
    return [path for path in found if path not in used]
