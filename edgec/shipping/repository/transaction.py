"""What one command changes: everything is signed in memory first, so a missing key changes nothing, then written.

Order of writing: payloads, then metadata whose name holds its version, then what makes clients see it. A new root is
seen as soon as it lies there. Where the new timestamp is signed for the old root too, it goes first, and no client ever
meets a mixture. Where the old key is lost or must not be used any more, the root goes first, and the timestamp right
behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, Role, Root, TargetFile, Targets

from edgec.digest import digest_bytes
from edgec.errors import UsageError
from edgec.shipping.repository import files, layout, policy
from edgec.shipping.repository.keyring import Keyring, sign
from edgec.shipping.repository.state import State


@dataclass
class Transaction:
    """Changes to a state: the caller edits `state`'s metadata, says which roles changed, and commits.

    new_root: a root with enough signatures, to be published with this. distrusted: ids of keys that must not sign.
    generated: the files of keys that were made for it, once it is committed.
    """

    state: State
    ring: Keyring
    now: datetime
    new_root: Metadata[Root] | None = None
    distrusted: frozenset[str] = frozenset()
    generated: tuple[Path, ...] = ()
    _changed: set[str] = field(default_factory=set)
    _payloads: dict[Path, tuple[Path | bytes, str]] = field(default_factory=dict)

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._changed) or self.new_root is not None

    def changed(self, role: str) -> None:
        """This role's metadata is to be issued anew; so are, by themselves, snapshot and timestamp."""
        self._changed.add(role)

    def add_payload(self, target: str, path: str, source: Path | bytes, length: int, digest: str) -> None:
        """A file that clients of `target` may ask for as `path` from now on."""
        self.state.delegated[target].signed.targets[path] = TargetFile(length, {"sha256": digest}, path)
        self._payloads[layout.payload_file(self.state.folder, path, digest)] = (source, digest)
        self.changed(target)

    def set_releases(self, target: str, document: Mapping[str, Any]) -> None:
        """What clients of `target` are told there is; nothing where it is what they are told already."""
        if document == self.state.releases.get(target):
            return
        content = json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
        self.add_payload(target, layout.releases_path(target), content, len(content), digest_bytes(content))
        self.state.releases[target] = dict(document)

    def commit(self) -> None:
        """Sign, then write. Raises UsageError where a key is missing; then nothing is written."""
        metadata = self._sign_all()
        self.generated = self.ring.keep()
        for place, (source, digest) in self._payloads.items():
            files.place_payload(self.state.folder, source, place, digest)
        files.commit(self.state.folder, metadata)
        self.ring.remember(self.state.root_bytes, self.state.timestamp.signed.version)

    def _sign_all(self) -> list[tuple[Path, bytes]]:
        """The new metadata in the order of its writing; `state` is brought to what it will be."""
        state = self.state
        old_root = state.root.signed
        if self.new_root is not None:
            state.root = self.new_root
            state.root_bytes = self.new_root.to_bytes()
        written: list[tuple[Path, bytes]] = []
        for name in sorted(self._changed - set(layout.TOP_LEVEL)):
            written.append(self._issue(name, state.targets.signed, (state.targets.signed,)))
        if "targets" in self._changed:
            written.append(self._issue("targets", state.root.signed, (old_root,)))
        if self._changed - {"timestamp"}:
            written.append(self._issue("snapshot", state.root.signed, (old_root,)))
        if self.new_root is None:
            return [*written, self._issue("timestamp", state.root.signed, (old_root,))]
        root = (layout.metadata_file(state.folder, "root", self.new_root.signed.version), state.root_bytes)
        if not self._changed:  # the root alone: whoever holds its keys need not have the timestamp's
            return [root]
        timestamp = self._issue("timestamp", state.root.signed, (old_root,))
        both = verified(state.timestamp, "timestamp", old_root) and verified(state.snapshot, "snapshot", old_root)
        return [*written, timestamp, root] if both else [*written, root, timestamp]

    def _issue(self, name: str, delegator: Root | Targets, others: Iterable[Root | Targets]) -> tuple[Path, bytes]:
        """Give a role its next version, expiry and signatures, and note it where clients will look for it."""
        state = self.state
        metadata = state.role(name)
        role = delegator.get_delegated_role(name)
        on_disk = layout.versions(state.folder, name)
        # A killed command may have left a file of the next version. It is never written over: caches may know it.
        metadata.signed.version = max([metadata.signed.version, *on_disk]) + 1
        metadata.signed.expires = (self.now + policy.period_of(role, name)).replace(microsecond=0)
        self._sign(metadata, name, role, delegator, others)
        content = metadata.to_bytes()
        listed = MetaFile(metadata.signed.version, len(content), {"sha256": digest_bytes(content)})
        if name == "snapshot":
            state.timestamp.signed.snapshot_meta = listed
        elif name != "timestamp":
            state.snapshot.signed.meta[f"{name}.json"] = listed
        return layout.metadata_file(state.folder, name, metadata.signed.version), content

    def _sign(
        self,
        metadata: Metadata[Any],
        name: str,
        role: Role,
        delegator: Root | Targets,
        others: Iterable[Root | Targets],
    ) -> None:
        """Sign with every key at hand that may: those of now, and those of the root before and of one that waits."""
        keyids = list(role.keyids)
        pending = [self.state.pending.signed] if self.state.pending is not None else []
        for other in (*others, *pending):
            if other is not delegator and (name in layout.TOP_LEVEL or isinstance(other, Targets)):
                keyids += other.get_delegated_role(name).keyids
        metadata.signatures.clear()
        for keyid in dict.fromkeys(keyids):
            if keyid not in self.distrusted and (signer := self.ring.find(keyid)) is not None:
                sign(metadata, signer)
        if not verified(metadata, name, delegator):
            raise missing_keys(name, role, metadata, self.ring)


def verified(metadata: Metadata[Any], name: str, delegator: Root | Targets) -> bool:
    """Whether enough of the keys that the delegator names for a role signed its metadata."""
    return bool(delegator.get_verification_result(name, metadata.signed_bytes, metadata.signatures))


def missing_keys(name: str, role: Role, metadata: Metadata[Any], ring: Keyring) -> UsageError:
    """What to say when a role can't be signed: which keys may, and where was looked."""
    unsigned = [keyid for keyid in role.keyids if keyid not in metadata.signatures]
    signed = len(role.keyids) - len(unsigned)
    looked = [*ring.references, *([str(ring.folder)] if ring.folder is not None else [])]
    whose = f"the target {name}" if isinstance(role, DelegatedRole) else name
    return UsageError(
        f"A key is missing to sign {name}",
        f"{whose} needs {role.threshold} of {len(role.keyids)} keys, and {signed or 'none'} of them is at hand. "
        f"Missing: {', '.join(keyid[:12] for keyid in unsigned)}. Looked in {', '.join(looked) or 'no place'}.",
        "Name the key with --key (a file, env:NAME, or a pkcs11: URI), or the folder that holds it with --keys. "
        "Nothing was changed.",
        {"role": name, "missing": unsigned},
    )
