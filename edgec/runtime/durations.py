"""Durations as people type them: 500ms, 30s, 2m, 1.5h; a number alone is seconds."""

from __future__ import annotations

import re

from .errors import InputError

_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "": 1.0}
_LONGEST = 7 * 24 * 3600.0


def seconds_of(text: str, option: str) -> float:
    """The seconds that `text` stands for. Raises InputError, which names `option`, for what is none, and for zero."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _SECONDS:
        raise InputError(
            f"{option} {text} is not a duration",
            "A duration is a number and a unit: ms, s, m or h.",
            f"Give for example {option} 30s.",
        )
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= _LONGEST:
        raise InputError(
            f"{option} has to be {'longer than nothing' if seconds == 0 else 'a week at most'}",
            f"It is {text}.",
            f"Give for example {option} 30s.",
        )
    return seconds


def shown(seconds: float) -> str:
    """ "0.5 s", "30 s", "2 min", "1 h 30 min"."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest else "") if part)
