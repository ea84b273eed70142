"""The folder that a test works in, and that it leaves nothing of."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from image_test.engines import Impossible

_GIB = 1 << 30
_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def folder(needed: int) -> Iterator[Path]:
    """An empty folder where `needed` bytes are free: in memory where there is plenty, which is three times as fast.

    Raises Impossible where there is too little room.
    """
    place = Path(tempfile.mkdtemp(prefix="edgec-images-", dir=_MEMORY if _memory_holds(needed) else None))
    try:
        free = shutil.disk_usage(place).free
        if free < needed:
            raise Impossible(
                f"There is too little room in {place.parent}: {free / _GIB:.1f} GiB of {needed / _GIB:.0f}.\n"
                "Free some, or name another folder in the variable TMPDIR."
            )
        place.chmod(0o755)  # users of containers get to what is mounted
        yield place
    finally:
        _remove(place)


def _memory_holds(needed: int) -> bool:
    """Whether programs can be run from memory, and twice what is needed is free. Whoever sets TMPDIR is heeded."""
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return False
    system = os.statvfs(_MEMORY)
    kib = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    room = min(int(kib[1]) << 10 if kib else 0, system.f_bavail * system.f_frsize)
    return not system.f_flag & os.ST_NOEXEC and room >= 2 * needed


def _remove(place: Path) -> None:
    if _is_mounted_below(place):
        print(f"Left as it is, because something is mounted in it: {place}", file=sys.stderr)
        return
    heeded = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # an end that comes now would leave gigabytes
    shutil.rmtree(place, ignore_errors=True)
    signal.signal(signal.SIGTERM, heeded)


def _is_mounted_below(place: Path) -> bool:
    """Whether removing `place` would remove files from elsewhere: a container's folder may hold the machine's own."""
    mounts = Path("/proc/self/mounts")
    return mounts.exists() and f" {place}/" in mounts.read_text()
