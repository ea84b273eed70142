"""New roots: signed by the people who hold its keys, and published as soon as enough of them have.

Root versions are a chain: each is signed by enough keys of the one before and of its own, and all of them stay in the
repository for clients that were switched off meanwhile.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root

from edgec.errors import ArtifactError, UsageError
from edgec.shipping.repository import files, layout, policy
from edgec.shipping.repository.keyring import Keyring, sign
from edgec.shipping.repository.layout import WORKSHOP
from edgec.shipping.repository.state import PENDING, State, load, pending_root, signatures_text
from edgec.shipping.repository.transaction import Transaction, verified


@dataclass(frozen=True)
class Rotated:
    """What a change of keys came to. waiting: why the new root is not published yet, "" where it is or none is new.

    changes: what the new root, or the new targets metadata, says differently, in words.
    """

    changes: tuple[str, ...]
    generated: tuple[Path, ...] = ()
    waiting: str = ""
    root_version: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": list(self.changes),
            "generated": [str(path) for path in self.generated],
            "waiting": self.waiting or None,
            "root_version": self.root_version,
        }


def renew_root(transaction: Transaction) -> Rotated:
    """A new root that differs in its version and expiry only."""
    refuse_pending(transaction.state)
    return issue_root(transaction, copy.deepcopy(transaction.state.root.signed), [])


def issue_root(transaction: Transaction, root: Root, lines: Sequence[str]) -> Rotated:
    """Sign a new root and publish it; or, where signatures are missing, put it aside and prepare for it."""
    state, ring = transaction.state, transaction.ring
    previous = state.root.signed
    root.version = previous.version + 1
    root.expires = (transaction.now + policy.period_of(root.roles["root"], "root")).replace(microsecond=0)
    metadata = Metadata(root)
    with contextlib.suppress(UsageError):  # no root key here: all signatures come later
        add_signatures(metadata, ring, previous)
    if _complete(metadata, previous):
        transaction.new_root = metadata
        transaction.commit()
        return Rotated(tuple(lines), transaction.generated, "", root.version)
    if transaction.distrusted:
        raise UsageError(
            "A compromised key can only be replaced by a command that has the root keys",
            f"The new root has {signatures_text(metadata, previous)}, and until it is published the old key holds.",
            "Name the root keys with --key; where they are with several people, leave --compromised out and let them "
            "sign at once: old and new key then sign alike until the root is published.",
        )
    state.pending = metadata
    if transaction.has_changes:
        transaction.commit()
    else:
        transaction.generated = ring.keep()
    files.write_whole(state.folder, state.folder / WORKSHOP / PENDING, metadata.to_bytes())
    return Rotated(tuple(lines), transaction.generated, signatures_text(metadata, previous), root.version)


def sign_root(
    folder: Path,
    ring: Keyring,
    now: datetime,
    signatures: Metadata[Root] | None = None,
    shown: Metadata[Root] | None = None,
) -> Rotated:
    """Add signatures to the root that waits for them, with the keys in `ring` or from a signed copy of it.

    It is published as soon as there are enough. shown: what a person agreed to sign; nothing else is signed.
    """
    with files.locked(folder):
        pending = pending_root(folder)
        state = load(folder, ring.seen()) if layout.versions(folder, "root") else None
        if state is not None:
            pending = state.pending
        if pending is None:
            raise UsageError(
                f"No root of {folder} waits for signatures",
                "The newest one is published.",
                "`edgec publish rotate root` makes a new one.",
            )
        if shown is not None and shown.signed_bytes != pending.signed_bytes:
            raise UsageError(
                "The root that waits for signatures is another one by now",
                "It was replaced after it was shown.",
                "Look at the new one: run the command again.",
            )
        previous = state.root.signed if state is not None else None
        if signatures is not None:
            _merge(pending, signatures, previous)
        else:
            add_signatures(pending, ring, previous)
        lines = tuple(describe(previous, pending.signed))
        if not _complete(pending, previous):
            files.write_whole(folder, folder / WORKSHOP / PENDING, pending.to_bytes())
            return Rotated(lines, (), signatures_text(pending, previous), pending.signed.version)
        if state is None:
            files.commit(folder, [(layout.metadata_file(folder, "root", pending.signed.version), pending.to_bytes())])
            ring.remember(pending.to_bytes(), 1)
        else:
            state.pending = None
            transaction = Transaction(state, ring, now, new_root=pending)
            for name in ("targets", "snapshot", "timestamp"):
                if not verified(state.role(name), name, pending.signed):
                    transaction.changed(name)
            transaction.commit()
        (folder / WORKSHOP / PENDING).unlink()
        return Rotated(lines, (), "", pending.signed.version)


def discard_root(folder: Path, ring: Keyring) -> None:
    """Forget the root that waits for signatures."""
    with files.locked(folder):
        if load(folder, ring.seen()).pending is None:
            raise UsageError(
                f"No root of {folder} waits for signatures", "The newest one is published.", "There is nothing to drop."
            )
        (folder / WORKSHOP / PENDING).unlink()


def add_signatures(root: Metadata[Root], ring: Keyring, previous: Root | None) -> None:
    """Sign a root with every key at hand that may. Raises UsageError when none is."""
    keyids = [*root.signed.roles["root"].keyids, *(previous.roles["root"].keyids if previous is not None else ())]
    signers = [signer for keyid in dict.fromkeys(keyids) if (signer := ring.find(keyid)) is not None]
    if not signers:
        looked = [*ring.references, *([str(ring.folder)] if ring.folder is not None else [])]
        raise UsageError(
            "None of the keys at hand may sign this root",
            f"Keys of the root: {', '.join(keyid[:16] for keyid in keyids)}. Looked in: {', '.join(looked)}.",
            "Name one of these keys with --key.",
        )
    for signer in signers:
        sign(root, signer)


def sign_copy(root: Metadata[Root], ring: Keyring) -> list[str]:
    """Sign a copy of a root, away from its repository; returns the ids of keys that are not among its own.

    Such a key counts where the root before names it, which can't be seen here.
    """
    own = root.signed.roles["root"].keyids
    named = ring.named()
    foreign = [signer.public_key.keyid for signer in named if signer.public_key.keyid not in own]
    if len(foreign) < len(named) or not named:
        add_signatures(root, ring, None)
    for signer in named:
        sign(root, signer)
    return foreign


def read_root(path: Path) -> Metadata[Root]:
    """A root's file, its signatures not checked. Raises UsageError."""
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} can't be read", f"The system says: {error.strerror}.", "Check the path.") from error
    except (RepositoryError, ValueError) as error:
        raise UsageError(f"{path} is not TUF metadata", f"{error}.", "Name a copy of pending-root.json.") from error
    if not isinstance(metadata.signed, Root):
        raise UsageError(f"{path} is not a root", f"It is {metadata.signed.type} metadata.", "Name a root's file.")
    return metadata


def previous_root(folder: Path) -> Root | None:
    """The root that is published, for `describe`; None before the first."""
    return load(folder).root.signed if layout.versions(folder, "root") else None


def describe(previous: Root | None, root: Root) -> list[str]:
    """What a root says otherwise than the one before, for the person who is to sign it."""
    lines = []
    for name in layout.TOP_LEVEL:
        now = root.roles[name]
        before = previous.roles[name] if previous is not None else None
        lines += describe_role(name, before, now)
    return lines


def describe_role(name: str, before: Role | None, now: Role) -> list[str]:
    """What a role is otherwise than before, in words."""
    old = before.keyids if before is not None else []
    lines = [f"{name}: key {keyid[:16]} is new" for keyid in now.keyids if keyid not in old]
    lines += [f"{name}: key {keyid[:16]} is not trusted any more" for keyid in old if keyid not in now.keyids]
    if before is None or before.threshold != now.threshold:
        lines.append(f"{name}: {now.threshold} of {len(now.keyids)} keys sign")
    period = policy.period_of(now, name)
    if before is None or policy.period_of(before, name) != period:
        lines.append(f"{name}: holds for {policy.period_text(period)}")
    return lines


def refuse_pending(state: State) -> None:
    """Raises UsageError while a root waits for signatures."""
    if state.pending is not None:
        raise UsageError(
            f"Root version {state.pending.signed.version} still waits for signatures",
            f"It has {signatures_text(state.pending, state.root.signed)}.",
            "Let it be signed first (edgec publish sign-root), or drop it (edgec publish sign-root --discard).",
        )


def _complete(root: Metadata[Root], previous: Root | None) -> bool:
    return bool(root.signed.get_root_verification_result(previous, root.signed_bytes, root.signatures))


def _merge(pending: Metadata[Root], signed: Metadata[Root], previous: Root | None) -> None:
    """Take the signatures of a copy that was signed elsewhere."""
    if signed.signed_bytes != pending.signed_bytes:
        raise UsageError(
            "The signed file is not the root that waits for signatures",
            f"It is version {signed.signed.version}; the one that waits is version {pending.signed.version}, "
            "or says something else.",
            "Sign a copy of .edgec/pending-root.json in the repository.",
        )
    before = set(pending.signatures)
    for keyid, signature in signed.signatures.items():
        pending.signatures.setdefault(keyid, signature)
    result = pending.signed.get_root_verification_result(previous, pending.signed_bytes, pending.signatures)
    if not set(result.signed) - before:
        raise ArtifactError(
            "The signed file adds no good signature",
            "None of the signatures in it is new, right, and by a key of the root.",
            "Let a holder of a root key sign it: edgec publish sign-root FILE --key KEY.",
        )
    pending.signatures = {keyid: each for keyid, each in pending.signatures.items() if keyid in result.signed}
