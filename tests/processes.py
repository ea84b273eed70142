"""Processes that a test has not started itself."""

import time
from pathlib import Path

_PATIENCE = 30  # seconds: a machine may be busy


def is_alive(pid):
    """Whether there is such a process; one that has ended, and that nobody has waited for yet, is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid):
    """Whether a process is gone, now or soon."""
    deadline = time.monotonic() + _PATIENCE
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)
