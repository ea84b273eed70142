"""How long each role's metadata holds.

A role's period stands in the signed entry that names the role's keys: whoever may refresh need not be told it, and
can't choose a longer one.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tuf.api.metadata import Role

from edgec.errors import UsageError

DEFAULTS = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=14),
    "timestamp": timedelta(days=2),
}
"""A delegated role has that of `targets` unless told otherwise.

timestamp: how long somebody who can hold back traffic can hide a new release from a device; and how long the job that
refreshes it may be broken before devices refuse updates (their models go on running). A weekend's night is not enough
for people to repair a job, two days are. snapshot: longer, so that the refreshing job mostly needs one key.
targets, root: a person signs these, perhaps with a key from a safe.
"""

_FIELD = "x-edgec-expires-seconds"
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PERIOD = re.compile(r"([0-9]{1,6})([mhdw])")
_LONGEST = timedelta(days=3660)
_WARN = timedelta(days=14)


def parse_period(text: str) -> timedelta:
    """ "12h", "2d", "13w": minutes, hours, days, weeks. Raises UsageError for anything else."""
    match = _PERIOD.fullmatch(text)
    period = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else timedelta()
    if not timedelta() < period <= _LONGEST:
        raise UsageError(
            f"{text!r} is not a time that metadata can hold",
            "A period is a whole number with m, h, d or w (minutes, hours, days, weeks), up to ten years.",
            "For example --expires timestamp=12h.",
        )
    return period


def period_text(period: timedelta) -> str:
    """What `parse_period` makes the same of, in the largest unit that is exact."""
    seconds = int(period.total_seconds())
    unit = next(unit for unit in ("d", "h", "m") if seconds % _UNITS[unit] == 0 or unit == "m")
    return f"{seconds // _UNITS[unit]}{unit}"


def set_period(role: Role, period: timedelta) -> None:
    """Note in a role's entry how long its metadata holds."""
    role.unrecognized_fields[_FIELD] = int(period.total_seconds())


def period_of(role: Role, name: str) -> timedelta:
    """What `set_period` noted; the default for a repository that another program made."""
    seconds = role.unrecognized_fields.get(_FIELD)
    if isinstance(seconds, int) and 0 < seconds <= _LONGEST.total_seconds():
        return timedelta(seconds=seconds)
    return DEFAULTS.get(name, DEFAULTS["targets"])


def expires_soon(expires: datetime, period: timedelta, now: datetime) -> bool:
    """Whether it is time for a person to sign again: two weeks ahead, or a fifth of a period that is shorter."""
    return expires - now < min(_WARN, period / 5)
