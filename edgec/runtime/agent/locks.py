"""Locks between processes: one agent for a model at a time, and applications that hold updates off.

They are flock(2) locks on files that stay where they are: the kernel lets go of them when their process ends, however
it ends, so no lock outlives a power cut or a kill.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Busy, StorageFailed
from .storage import storing

_POLL = 0.1
"""Seconds between two tries: flock itself knows no time limit."""


@contextmanager
def held(path: Path, wait: float, busy: Busy, shared: bool = False, mode: int = 0o644) -> Iterator[int]:
    """Hold the lock; yields its descriptor. wait: seconds. mode: who may read the file may hold the lock.

    Raises `busy` when others hold it for longer than `wait`.
    """
    descriptor = _opened(path, mode)
    try:
        _acquire(descriptor, path, wait, busy, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether another process holds the lock in whatever way at the moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def _opened(path: Path, mode: int) -> int:
    """The lock's file, made where it is not there; a reader's is enough for a lock, where this user may not write."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        pass
    except OSError as error:
        with storing(path, "opened"):
            raise error
    with storing(path, "made"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, mode)
        os.fchmod(descriptor, mode)
        return descriptor


def _acquire(descriptor: int, path: Path, wait: float, busy: Busy, kind: int) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageFailed(
                    f"{path} can't be locked",
                    f"This file system has no flock: {error.strerror}.",
                    "Put the device's folder (--root) on a file system of this machine: ext4, f2fs, btrfs, ubifs.",
                ) from error
        if time.monotonic() >= until:
            raise busy
        time.sleep(min(_POLL, max(until - time.monotonic(), 0)))
