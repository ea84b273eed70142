"""What the system tells of this process and of the machine: memory, temperature, clock. Linux only; None elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")
_TASKS = Path("/proc/self/task")
_THERMAL = Path("/sys/class/thermal")
_CPUS = Path("/sys/devices/system/cpu")


def peak_bytes() -> int | None:
    """The most memory that this process has had at once. (getrusage would count what the one had that started it.)"""
    return _status("VmHWM")


def resident_bytes() -> int | None:
    """The memory that this process has now."""
    return _status("VmRSS")


def waited_seconds() -> float | None:
    """How long this process's threads have waited for a processor that was busy with others, all together.

    The second number of /proc/PID/schedstat, in nanoseconds (Linux, Documentation/scheduler/sched-stats.rst).
    """
    texts = [_text(task / "schedstat").split() for task in _matching(_TASKS, "*")]
    waits = [int(numbers[1]) for numbers in texts if len(numbers) == 3]
    return sum(waits) / 1e9 if waits else None


def celsius() -> float | None:
    """The hottest of the sensors that are a processor's; of all, where none says what it is."""
    zones = {zone: _text(zone / "type").lower() for zone in _matching(_THERMAL, "thermal_zone*")}
    processors = [zone for zone, kind in zones.items() if any(word in kind for word in ("cpu", "soc", "pkg", "core"))]
    values = [value for zone in processors or zones if (value := _number(zone / "temp")) is not None]
    return max(values) / 1000 if values else None


def megahertz() -> float | None:
    """The clock of the fastest core, as the frequency driver has it."""
    places = _matching(_CPUS, "cpu[0-9]*/cpufreq/scaling_cur_freq")
    values = [value for place in places if (value := _number(place)) is not None]
    return max(values) / 1000 if values else None


def governor() -> str:
    """What chooses the clock ("performance", "powersave", ...); "" where the system does not tell."""
    return _text(_CPUS / "cpu0/cpufreq/scaling_governor")


def _status(key: str) -> int | None:
    for line in _text(_STATUS).splitlines():
        title, _, value = line.partition(":")
        if title == key:
            return int(value.split()[0]) * 1024
    return None


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    try:
        return iter(sorted(folder.glob(pattern)))
    except OSError:
        return iter(())


def _number(place: Path) -> float | None:
    try:
        return float(_text(place))
    except ValueError:
        return None


def _text(place: Path) -> str:
    try:
        return place.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
