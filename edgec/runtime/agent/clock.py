"""What time it is, on a device whose clock may be wrong.

Signed metadata expires, so that nobody can keep a device on an old state for long (a freeze). A board without a battery
starts in 1970, and would take everything as fresh; so the device keeps the latest time that it had reason to believe,
and no clock can be right that shows less. It has reason to believe its clock when metadata was fresh by it: such a
time lies before an expiry that the repository signed, so that a clock which was once far ahead can't spoil the future.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from .storage import replace_file

EARLIEST = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""No clock is right that shows less: this program was not written then."""

_WORTH_WRITING = timedelta(hours=1)  # flash wears out by writing


@dataclass(frozen=True)
class Clock:
    """The device's clock and what is known about it. `floor`: a time that has certainly passed."""

    shows: datetime
    floor: datetime

    @property
    def now(self) -> datetime:
        """The time to judge expiry by."""
        return max(self.shows, self.floor)

    @property
    def behind(self) -> bool:
        """Whether the clock is known to be wrong: it shows a time that has passed."""
        return self.shows < self.floor


def read_clock(path: Path, shows: datetime | None = None) -> Clock:
    """The clock, with the floor that `path` keeps. A file that is missing or damaged leaves the program's own floor."""
    try:
        kept = datetime.fromtimestamp(int(json.loads(path.read_text(encoding="utf-8"))["passed"]), timezone.utc)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        kept = EARLIEST
    return Clock(shows or datetime.now(timezone.utc), max(kept, EARLIEST))


def keep_time(path: Path, clock: Clock) -> None:
    """Keep what the clock shows as passed: metadata was fresh by it."""
    if clock.shows - clock.floor >= _WORTH_WRITING:
        replace_file(path, json.dumps({"schema": 1, "passed": int(clock.shows.timestamp())}).encode())
