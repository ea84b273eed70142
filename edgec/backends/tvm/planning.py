"""Where each value lies in the arena: a static plan, made once.

A value needs its bytes from the step that writes it to the last one that reads it, both included: a step's result never
lies over its operands. Values are placed from the largest to the smallest, each at the lowest free place (greedy by
size: Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", section 5.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.backends.tvm.storage import ALIGNMENT


@dataclass(frozen=True)
class Lifetime:
    """size: bytes. first, last: numbers of the steps that write it and that read it last."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """offsets: where each value begins. size: bytes of the whole arena."""

    offsets: Mapping[str, int]
    size: int


def plan(lifetimes: Mapping[str, Lifetime]) -> Plan:
    """A plan in which no two values that live at one time share a byte; offsets are multiples of ALIGNMENT."""
    order = sorted(lifetimes, key=lambda name: (-lifetimes[name].size, lifetimes[name].first, name))
    offsets: dict[str, int] = {}
    for name in order:
        mine = lifetimes[name]
        taken = sorted((offsets[other], lifetimes[other].size) for other in offsets if mine.overlaps(lifetimes[other]))
        place = 0
        for start, size in taken:
            if place + mine.size <= start:
                break
            place = max(place, aligned(start + size))
        offsets[name] = place
    return Plan(offsets, aligned(max((offsets[name] + lifetimes[name].size for name in offsets), default=0)))


def least_size(lifetimes: Mapping[str, Lifetime]) -> int:
    """What no plan can be below: the bytes that live at one step together."""
    steps = {item.first for item in lifetimes.values()}
    return max((sum(i.size for i in lifetimes.values() if i.first <= step <= i.last) for step in steps), default=0)


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT
