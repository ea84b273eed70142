"""The commands that change keys, and how long metadata holds.

A role's new key takes effect with a new root (or, for a target's role, with new targets metadata). Until then, and once
more with it, the role is signed by old and new key alike, so that no client is left behind.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, Targets

from edgec.errors import UsageError
from edgec.shipping.repository import files, layout, policy
from edgec.shipping.repository.creation import check_threshold
from edgec.shipping.repository.keyring import Keyring
from edgec.shipping.repository.roots import Rotated, describe, describe_role, issue_root, refuse_pending
from edgec.shipping.repository.state import State, delegated_roles, load
from edgec.shipping.repository.transaction import Transaction
from edgec.toml_schema import did_you_mean


@dataclass(frozen=True)
class KeyChange:
    """What is to become of a role's keys. remove: ids, or the beginning of ids. threshold: None keeps it.

    compromised: the removed keys may be in wrong hands, and sign nothing any more, not even in between.
    """

    add: Sequence[Key] = ()
    remove: Sequence[str] = ()
    threshold: int | None = None
    compromised: bool = False


def rotate(
    folder: Path,
    ring: Keyring,
    now: datetime,
    role: str | None,
    change: KeyChange = KeyChange(),
    periods: Mapping[str, timedelta] | None = None,
) -> Rotated:
    """Change the keys of a role, and how long metadata holds; a change of nothing else replaces the only key.

    role: a top-level role or a target; None: only `periods`, by role, are changed.
    """
    with files.locked(folder):
        state = load(folder, ring.seen())
        refuse_pending(state)
        plan = _Plan(state, ring, copy.deepcopy(state.root.signed), copy.deepcopy(state.targets.signed))
        if role is not None:
            plan.change_keys(role, change)
        for name, period in (periods or {}).items():
            plan.change_period(name, period)
        transaction = Transaction(state, ring, now)
        if change.compromised:
            transaction.distrusted = frozenset(plan.removed)
        lines = describe(state.root.signed, plan.root) + _describe_targets(state.targets.signed, plan.targets)
        if plan.targets != state.targets.signed:
            state.targets.signed = plan.targets
            transaction.changed("targets")
        for name in plan.resigned:
            transaction.changed(name)
        if plan.root == state.root.signed:
            transaction.commit()
            return Rotated(tuple(lines), transaction.generated)
        return issue_root(transaction, plan.root, lines)


@dataclass
class _Plan:
    """New root and targets metadata as they are edited. resigned: roles whose metadata needs the new keys."""

    state: State
    ring: Keyring
    root: Root
    targets: Targets
    resigned: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)

    def delegator(self, name: str) -> Root | Targets:
        if name in layout.TOP_LEVEL:
            return self.root
        known = delegated_roles(self.targets)
        if name not in known:
            choices = (*layout.TOP_LEVEL, *known)
            raise UsageError(
                f"The repository has no role {name!r}",
                f"It has: {', '.join(choices)}.{did_you_mean(name, choices)}",
                "Name one of these.",
            )
        return self.targets

    def change_keys(self, name: str, change: KeyChange) -> None:
        delegator = self.delegator(name)
        role = delegator.get_delegated_role(name)
        removed = [_match(name, role, begun) for begun in change.remove]
        added = list(change.add)
        if not added and not removed and change.threshold is None:
            if len(role.keyids) > 1:
                raise UsageError(
                    f"{name} has {len(role.keyids)} keys",
                    f"They are {', '.join(keyid[:16] for keyid in role.keyids)}; which one to replace was not said.",
                    "Say it: --remove KEYID, and --add KEY for the new one (edgec keygen makes one).",
                )
            removed = list(role.keyids)
            added = [self.ring.make(name).public_key]
        for keyid in removed:
            delegator.revoke_key(keyid, name)
        for key in added:
            delegator.add_key(key, name)
        threshold = role.threshold if change.threshold is None else change.threshold
        check_threshold(name, threshold, len(role.keyids))
        role.threshold = threshold
        self.removed += removed
        if name != "root":
            self.resigned.add(name)

    def change_period(self, name: str, period: timedelta) -> None:
        policy.set_period(self.delegator(name).get_delegated_role(name), period)
        if name != "root":
            self.resigned.add(name)


def _match(name: str, role: Role, begun: str) -> str:
    """The role's key whose id begins so."""
    found = [keyid for keyid in role.keyids if keyid.startswith(begun.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{name} has {'no' if not found else 'more than one'} key {begun}",
            f"Its keys: {', '.join(keyid[:16] for keyid in role.keyids)}.",
            "Name one of these; `edgec publish status` lists all.",
        )
    return found[0]


def _describe_targets(before: Targets, now: Targets) -> list[str]:
    return [
        line
        for name in delegated_roles(now)
        for line in describe_role(name, before.get_delegated_role(name), now.get_delegated_role(name))
    ]
