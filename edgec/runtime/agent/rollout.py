"""Which version of a model a device shall have: a function of what was published, of the device, and of nothing else.

A release goes to a share of a channel's devices first. Each device draws a number from its own id, the model and the
version, and takes part when the number is below the share. So every device knows by itself whether it is its turn, a
larger share takes in all who were in the smaller one, and the next version begins with others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decision:
    """version: the one that the device shall have; None: the one that it has, whichever that is. reason: in words."""

    version: int | None
    reason: str


def bucket(device: str, model: str, version: int) -> float:
    """A device's place in the rollout of a release, from 0 to below 1: the same each time, and evenly spread."""
    return int(hashlib.sha256(f"{device}\n{model}\n{version}".encode()).hexdigest()[:8], 16) / 2**32


def decide(
    device: str,
    model: str,
    published: Mapping[str, Any],
    channel: str,
    installed: int | None,
    pinned: int | None = None,
) -> Decision:
    """The version of `model` that the device with the id `device` shall have.

    published: the model's entry in releases.json, checked. installed: the version that runs; None for none, or for one
    that did not come from the repository. pinned: the version that the device's configuration asks for.
    """
    revoked: Mapping[str, str] = published["revoked"]
    if pinned is not None and str(pinned) in published["releases"] and str(pinned) not in revoked:
        return Decision(pinned, f"version {pinned} is pinned in device.conf")
    wanted = published["channels"].get(channel)
    if wanted is None:
        return Decision(None, f"the channel {channel} has no release of it")
    decision = _in_channel(device, model, wanted, channel, installed, revoked)
    if pinned is None:
        return decision
    why = f"is revoked ({revoked[str(pinned)]})" if str(pinned) in revoked else "is not in the repository"
    return Decision(decision.version, f"version {pinned} is pinned in device.conf, but {why}; {decision.reason}")


def _in_channel(
    device: str, model: str, wanted: Mapping[str, Any], channel: str, installed: int | None, revoked: Mapping[str, str]
) -> Decision:
    version, before, share = wanted["version"], wanted["before"], wanted["rollout"]
    leaves = installed is not None and str(installed) in revoked
    because = f"version {installed} is revoked ({revoked[str(installed)]}); " if leaves else ""
    offered = str(version) not in revoked
    earlier = before if before is not None and str(before) not in revoked else None

    if offered and installed == version:
        return Decision(version, f"version {version} is what the channel {channel} has")
    if offered and not wanted["paused"]:
        place = bucket(device, model, version)
        if place < share:
            turn = "" if share == 1 else f" for {_percent(share)} of its devices, and this is one of them"
            return Decision(version, f"{because}the channel {channel} has version {version}{turn}")
        if leaves and earlier is None:
            return Decision(version, f"{because}version {version} is the only one to go to, though rolled out in part")
        waits = f"version {version} is rolled out to {_percent(share)} of the devices, and this is not one of them yet"
    elif offered:
        waits = f"the rollout of version {version} is paused"
    else:
        waits = f"version {version} of the channel {channel} is revoked ({revoked[str(version)]})"

    if earlier is not None:
        return Decision(earlier, f"{because}{waits}: it shall have version {earlier}")
    if leaves:
        return Decision(None, f"{because}{waits}: there is nothing else to go to")
    return Decision(None, waits if installed is None else f"{waits}: it keeps version {installed}")


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"
