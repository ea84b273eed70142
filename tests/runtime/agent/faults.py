"""Faults of storage, injected under the code: a process that ends, or a call that fails, at the Nth call that writes.

`Faults.installed()` puts wrappers in the place of the system's calls in module `os`, for the rest of this process. Run
as a program, it plays a scenario of `scenarios.py` in a child for N = 1, 2, 3, ... until the child passes through
without having met its fault; after each child it judges what is left. It knows nothing of numpy or pytest, so a fork
costs little and no thread of an engine is lost by one.

    python -m tests.runtime.agent.faults FOLDER SCENARIO KIND     prints {"points": N, "wrong": ["…"]}

Kinds of faults:
    kill      the process ends by SIGKILL before the call; a write is half done
    powercut  the same, and the bytes of files that were not yet on the medium (fsync) are lost: they read as nothing
    ENOSPC    from this call on, nothing that takes space succeeds
    EROFS     from this call on, nothing that writes succeeds
    EIO       this one call fails
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

KINDS = ("kill", "powercut", "ENOSPC", "EROFS", "EIO")
_TAKES_SPACE = {"open", "write", "mkdir", "symlink", "rename", "link"}
_CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "symlink", "link", "unlink", "remove", "rmdir")
_CALLS += ("fchmod", "chmod", "ftruncate", "truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Faults:
    """Counts the calls that write, and lets the one with the number `at` meet the fault."""

    def __init__(self, kind: str, at: int) -> None:
        self.kind, self.at, self.calls, self.met = kind, at, 0, False
        self._unsynced: dict[int, int] = {}  # inode of a file with bytes that are not on the medium: a descriptor
        self._real = {name: getattr(os, name) for name in _CALLS}

    def installed(self) -> Faults:
        for name in _CALLS:
            setattr(os, name, self._wrapped(name))
        return self

    def _wrapped(self, name: str):
        real = self._real[name]

        def call(*arguments, **keywords):
            if name == "open" and not arguments[1] & _WRITES:
                return real(*arguments, **keywords)
            self.calls += 1
            if self.calls >= self.at:
                self._fault(name, arguments)
            result = real(*arguments, **keywords)
            if name == "write":
                self._note_unsynced(arguments[0])
            elif name == "fsync":
                self._unsynced.pop(os.fstat(arguments[0]).st_ino, None)
            return result

        return call

    def _note_unsynced(self, descriptor: int) -> None:
        """A descriptor of our own: the file may be closed long before the power is cut."""
        inode = os.fstat(descriptor).st_ino
        if inode not in self._unsynced:
            self._unsynced[inode] = os.dup(descriptor)

    def _fault(self, name: str, arguments) -> None:
        self.met = True
        if self.kind in ("kill", "powercut"):
            if name == "write":
                descriptor, content = arguments
                self._real["write"](descriptor, bytes(content)[: len(content) // 2])
                self._note_unsynced(descriptor)
            if self.kind == "powercut":
                for descriptor in self._unsynced.values():
                    self._real["ftruncate"](descriptor, 0)
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.kind)
        if self.kind == "EIO" and self.calls > self.at:
            return
        if self.kind == "ENOSPC" and name not in _TAKES_SPACE:
            return
        raise OSError(number, os.strerror(number), *(arguments[:1] if isinstance(arguments[0], (str, Path)) else ()))


def play(template: Path, folder: Path, scenario: str, kind: str) -> dict:
    """Every N; returns how many points there were, and what was wrong after any of them, in words."""
    from tests.runtime.agent import scenarios

    wrong: list[str] = []
    points = 0
    while not wrong:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder, symlinks=True)
        points += 1
        child = os.fork()
        if child == 0:
            os._exit(_child(folder, scenario, kind, points))
        _, status = os.waitpid(child, 0)
        passed = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        crashed = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 3
        if crashed:
            wrong.append(f"{scenario}, {kind} at {points}: another error than one in words")
        wrong += [f"{scenario}, {kind} at {points}: {text}" for text in scenarios.judge(folder, scenario)]
        if passed:
            return {"points": points - 1, "wrong": wrong}
    return {"points": points, "wrong": wrong}


def _child(folder: Path, scenario: str, kind: str, at: int) -> int:
    """0: passed through without having met the fault. 1: met it, and went on or said so in words. 3: anything else."""
    from edgec.runtime.errors import ArtifactFailure
    from tests.runtime.agent import scenarios

    faults = Faults(kind, at).installed()
    try:
        scenarios.SCENARIOS[scenario](folder)
    except ArtifactFailure as failure:
        if not faults.met and failure.exit_code not in scenarios.EXPECTED.get(scenario, ()):
            traceback.print_exc()
            return 3
    except BaseException:
        traceback.print_exc()
        return 3
    return 1 if faults.met else 0


if __name__ == "__main__":
    base, what, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    print(json.dumps(play(base / what, base / f"{what}.{how}", what, how)))
