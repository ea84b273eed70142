"""Metadata as somebody would make it who has some of a repository's keys, or none, and whatever the server serves."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile

from tests.shipping.repositories import Repository

STRANGER = CryptoSigner.generate_ed25519()


class Forger:
    """Writes metadata into a repository's folder, past all checks. Roles are named as in files: "timestamp", "rpi4"."""

    def __init__(self, repository: Repository) -> None:
        self.folder = repository.folder / "metadata"
        self.ring = repository.ring

    def path(self, role: str) -> Path:
        """The newest file of a role."""
        if role == "timestamp":
            return self.folder / "timestamp.json"
        return max(self.folder.glob(f"*.{role}.json"), key=lambda path: int(path.name.partition(".")[0]))

    def read(self, role: str) -> Metadata[Any]:
        return Metadata.from_bytes(self.path(role).read_bytes())

    def signers(self, role: str) -> list[Signer]:
        """The rightful ones."""
        by = self.read("root" if role in ("root", "timestamp", "snapshot", "targets") else "targets").signed
        found = [self.ring.find(keyid) for keyid in by.get_delegated_role(role).keyids]
        return [signer for signer in found if signer is not None]

    def write(
        self,
        role: str,
        change: Callable[[Any], object] = lambda signed: None,
        signers: list[Signer] | None = None,
        version: int | None = None,
    ) -> MetaFile:
        """A next version of a role, changed and signed; returns how others list it."""
        metadata = copy.deepcopy(self.read(role))
        metadata.signed.version = version or metadata.signed.version + 1
        change(metadata.signed)
        metadata.signatures.clear()
        for signer in self.signers(role) if signers is None else signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        (self.folder / name).write_bytes(data)
        return MetaFile(metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def write_all(
        self, role: str, change: Callable[[Any], object] = lambda signed: None, signers: list[Signer] | None = None
    ) -> None:
        """A next version of a role, and of the snapshot and timestamp that list it, rightfully signed."""
        listed = self.write(role, change, signers)
        self.write_snapshot(lambda snapshot: snapshot.meta.update({f"{role}.json": listed}))

    def write_snapshot(self, change: Callable[[Any], object]) -> None:
        listed = self.write("snapshot", change)
        self.write("timestamp", lambda timestamp: setattr(timestamp, "snapshot_meta", listed))
