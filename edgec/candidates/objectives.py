"""What is wanted of an artifact beyond being right: what to make the most of, and limits that it has to keep."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from edgec.errors import UsageError

Objective = Literal["latency", "size", "accuracy", "energy"]

OBJECTIVES: tuple[Objective, ...] = ("latency", "size", "accuracy", "energy")

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Zµ]+)\s*")
_MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


@dataclass(frozen=True)
class Limits:
    """milliseconds: of the median latency on the target, at most. bytes: of the artifact, at most. None: no limit."""

    milliseconds: float | None = None
    bytes: int | None = None

    def excess(self, milliseconds: float | None, size: int | None) -> float:
        """How far figures are beyond their limits: the largest ratio of a figure to its limit.

        At most 1 where all are kept; infinite where a limited figure is not known. 0 without limits.
        """
        pairs = ((milliseconds, self.milliseconds), (size, self.bytes))
        return max((math.inf if value is None else value / limit for value, limit in pairs if limit), default=0.0)

    def __bool__(self) -> bool:
        return self.milliseconds is not None or self.bytes is not None


NO_LIMITS = Limits()


def read_milliseconds(text: str) -> float:
    """ "20ms", "1.5 s", "800us" in milliseconds. Raises UsageError for anything else, and for no time at all."""
    found = _QUANTITY.fullmatch(text)
    value = float(found[1]) * _MILLISECONDS.get(found[2].lower(), 0.0) if found else 0.0
    if not value > 0:
        raise UsageError(
            f"--max-latency {text} can't be understood",
            "It is a time above 0 with its unit: us, ms or s.",
            "For example: --max-latency 20ms",
        )
    return value


def read_bytes(text: str) -> int:
    """ "5MB", "1.5 MiB", "800KB" in bytes. Raises UsageError for anything else, and for less than a byte."""
    found = _QUANTITY.fullmatch(text)
    value = int(float(found[1]) * _BYTES.get(found[2].upper(), 0)) if found else 0
    if value < 1:
        raise UsageError(
            f"--max-size {text} can't be understood",
            "It is a size above 0 with its unit: B, KB, MB, GB (powers of 1000), KiB, MiB or GiB (powers of 1024).",
            "For example: --max-size 5MB",
        )
    return value
