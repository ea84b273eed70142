"""Running the programs that fetch packages and wheels."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from edgec.errors import OutputError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

_PATIENCE = 20.0  # seconds for a program to tidy up after it was told to end


@dataclass(frozen=True)
class Ran:
    """A program that has ended. said: what it printed on either stream."""

    code: int
    said: str


def run(command: Sequence[str]) -> Ran:
    """Run `command` to its end, in a session of its own: mmdebstrap signals its whole process group when it fails.

    When this process is interrupted, so is the command, and it gets the time to remove what it made.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}  # what it says is looked at
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate()
    except BaseException:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
                break
        raise
    return Ran(process.returncode, said)


def disk_full(said: str) -> bool:
    """Whether a program failed because there was no room for what it wrote."""
    return any(os.strerror(number) in said for number in DISK_FULL)


def disk_full_error(what: str) -> OutputError:
    """Nothing of `what` is kept, and the message says which disks are meant."""
    return OutputError(
        f"The disk is full: there is no room for {what}",
        f"The system says: {os.strerror(errno.ENOSPC)}.",
        "Free some space, or choose other disks: with EDGEC_ROOTS_DIR for roots, with TMPDIR for what is temporary.",
    )
