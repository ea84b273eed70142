"""The commands that only look, and take no lock: what is published, and whether a client would accept it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key
from tuf.api.exceptions import DownloadError, RepositoryError

from edgec.errors import ArtifactError, EdgecError
from edgec.shipping.repository import files, layout, policy
from edgec.shipping.repository.keyring import Keyring, Seen, public_key
from edgec.shipping.repository.reading import reference_client
from edgec.shipping.repository.state import State, load, signatures_text
from edgec.shipping.repository.upkeep import expiry_warnings, unreferenced


def status(folder: Path, ring: Keyring, now: datetime) -> dict[str, Any]:
    """Versions, expiries, keys, channels and rollouts, as a document; described in docs/publishing.md."""
    state = _load(folder, ring.seen())
    names = _key_files(ring)
    return {
        "schema": 1,
        "repository": str(folder),
        "keys": str(ring.folder) if ring.folder is not None else None,
        "roles": [_role(state, name, names, now) for name in ("root", "timestamp", "snapshot", "targets")]
        + [_role(state, name, names, now) for name in state.delegated],
        "pending_root": _pending(state),
        "targets": {target: document["models"] for target, document in state.releases.items()},
        "warnings": list(expiry_warnings(state, now)),
    }


@dataclass(frozen=True)
class Checked:
    """What `check` found. problems: what a client would refuse, or what contradicts itself. files, bytes: as read."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    roots: int
    files: int
    bytes: int
    unreferenced: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "problems": list(self.problems), "warnings": list(self.warnings)}


def check(folder: Path, now: datetime) -> Checked:
    """Verify everything as a client does that begins with the first root, and every payload against its digest.

    Metadata goes through TUF's own client, by the clock of this machine. Raises ArtifactError where not even the
    publisher could go on from what is there.
    """
    state = _load(folder, Seen())
    problems: list[str] = []
    root = layout.metadata_file(folder, "root", layout.versions(folder, "root")[0]).read_bytes()
    count = size = 0
    with tempfile.TemporaryDirectory(prefix="edgec-check-") as cache:
        client = reference_client(folder, root, Path(cache))
        try:
            client.refresh()
            for target, metadata in state.delegated.items():
                for path in metadata.signed.targets:
                    if client.get_targetinfo(path) is None:
                        problems.append(f"clients do not find {path}: it is not what {target} may sign for")
        except (RepositoryError, DownloadError) as error:
            problems.append(f"clients refuse the metadata: {error}")
    for metadata in state.delegated.values():
        for path, file in metadata.signed.targets.items():
            place = layout.payload_file(folder, path, file.hashes["sha256"])
            try:
                with place.open("rb") as stream:
                    file.verify_length_and_hashes(stream)
                count, size = count + 1, size + file.length
            except OSError as error:
                problems.append(f"{place}: {error.strerror}")
            except RepositoryError as error:
                problems.append(f"{place}: {error}")
    for target in state.delegated:
        problems += _contradictions(state, target)
    return Checked(
        tuple(problems),
        tuple(expiry_warnings(state, now)),
        state.root.signed.version,
        count,
        size,
        len(unreferenced(state)),
    )


def _load(folder: Path, seen: Seen) -> State:
    """The state; where it does not hold together because a command was interrupted, that is what the error says."""
    try:
        return load(folder, seen)
    except ArtifactError as error:
        if not files.is_unfinished(folder):
            raise
        raise ArtifactError(
            f"A command was interrupted while it changed {folder}",
            f"Not all of its metadata is in place: {error.what}.",
            "Finish it: any command that signs something does so first, such as edgec publish refresh.",
        ) from error


def _contradictions(state: State, target: str) -> Iterator[str]:
    """Where releases.json names what is not there, or breaks its own rules."""
    listed = state.delegated[target].signed.targets
    for model, entry in state.releases[target]["models"].items():
        for version, release in entry["releases"].items():
            name = f"{target} {model}@{version}"
            file = listed.get(release["artifact"])
            if file is None or (file.length, file.hashes["sha256"]) != (release["bytes"], release["sha256"]):
                yield f"{name}: its artifact is not what the signed metadata lists"
            for key in ("signature", "chunks"):
                if release[key] is not None and release[key] not in listed:
                    yield f"{name}: its {key} is not in the signed metadata"
        for channel, now in entry["channels"].items():
            for key in ("version", "before"):
                if now[key] is not None and (
                    str(now[key]) not in entry["releases"] or str(now[key]) in entry["revoked"]
                ):
                    yield f"{target} {model}: channel {channel} names {model}@{now[key]}, which is revoked or not there"


def _role(state: State, name: str, names: Mapping[str, str], now: datetime) -> dict[str, Any]:
    delegator = state.root.signed if name in layout.TOP_LEVEL else state.targets.signed
    role = delegator.get_delegated_role(name)
    metadata = state.role(name)
    period = policy.period_of(role, name)
    return {
        "name": name,
        "version": metadata.signed.version,
        "expires": metadata.signed.expires.isoformat(),
        "days_left": round((metadata.signed.expires - now).total_seconds() / 86400, 5),
        "holds_for": policy.period_text(period),
        "threshold": role.threshold,
        "keys": [
            {**_key(delegator.get_key(keyid)), "signed": keyid in metadata.signatures, "file": names.get(keyid)}
            for keyid in role.keyids
        ],
    }


def _key(key: Key) -> dict[str, Any]:
    return {"id": key.keyid, "type": key.keytype}


def _pending(state: State) -> dict[str, Any] | None:
    if state.pending is None:
        return None
    return {
        "version": state.pending.signed.version,
        "signatures": signatures_text(state.pending, state.root.signed),
        "signed_by": sorted(state.pending.signatures),
    }


def _key_files(ring: Keyring) -> dict[str, str]:
    """Names of the key files in the publisher's folder, by the ids of the keys; nothing is decrypted for it."""
    found: dict[str, str] = {}
    if ring.folder is None or not ring.folder.is_dir():
        return found
    for path in sorted(ring.folder.glob("*.pub")):
        try:
            found[public_key(path).keyid] = path.with_suffix(".key").name
        except EdgecError:
            continue  # something else that ends in .pub
    return found
