"""A slot: the folder in which the device's agent keeps the versions of one model, as applications read it.

    NAME/
      current -> a     what to load: this link alone decides, and the agent moves it in one step
      previous -> b    where to go when that can't be loaded
      a/ b/ ...        each a version: model.edgec, release.json
      state.json       whether the current version is on trial, and how many starts it is given
      starts           a byte for each time that an application loaded the version on trial
      use.lock         applications that hold updates off

Nothing is held open after a model was loaded, so nothing stops an update. An application needs permission to read; it
counts its starts where it may append to `starts`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Busy, InputError

ARTIFACT = "model.edgec"
LINKS = ("current", "previous")
PATIENCE = 30.0
"""Seconds to wait for an agent that is changing slots at the moment: it only renames."""

TOGETHER = 10.0
"""Seconds: loads that follow each other so closely are one start, as those of an application's workers are."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_POLL = 0.05  # seconds between two tries: flock itself knows no time limit

_log = logging.getLogger("edgec.runtime")

Identity = tuple[int, int, int, int]


def is_slot(path: Path) -> bool:
    """Whether a path is a slot, and not an artifact."""
    return path.is_dir() and any(os.path.lexists(path / link) for link in LINKS)


def check_is_slot(path: Path) -> None:
    """Raises InputError for a folder, or nothing, that is no slot."""
    if not is_slot(path):
        raise InputError(
            f"{path} is not a slot",
            "It has neither `current` nor `previous`." if path.is_dir() else "There is no such folder.",
            "Give the folder of one model: ROOT/models/NAME, as edgec-device installs it.",
        )


@dataclass(frozen=True)
class Version:
    """One version in a slot. link: what led to it. against: why it should only be taken last; "" for nothing."""

    slot: Path
    link: str
    folder: Path
    against: str = ""

    @property
    def artifact(self) -> Path:
        return self.folder / ARTIFACT

    @property
    def release(self) -> Mapping[str, Any]:
        """What the agent knows of it: version, channel, origin; nothing where it does not say."""
        return _document(self.folder / "release.json")


def versions(slot: Path) -> list[Version]:
    """What the links of a slot lead to, in the order in which to try: current, previous.

    A version on trial that was started more often than its limit without being confirmed comes last: it may be what
    makes the application, or the device, start again and again.

    The links are followed once: a version stays what it was when `current` is moved meanwhile.
    """
    found = []
    for link in LINKS:
        try:
            target = (slot / link).readlink().name
        except OSError:
            continue
        found.append(Version(slot, link, slot / target, _exhausted(slot, target) if link == LINKS[0] else ""))
    return sorted(found, key=lambda version: bool(version.against))


def count_start(version: Version) -> None:
    """Note that a version on trial is started; nothing for any other. One warning where this may not be written.

    Loads within TOGETHER seconds of the one that was counted last, in the same boot, are not counted. A count is on the
    medium before the model is loaded: what is loaded may be what makes the device start again.
    """
    if version.link != LINKS[0] or _trial(version.slot, version.folder.name) is None:
        return
    place = version.slot / "starts"
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_APPEND)  # the agent makes it, for those that it lets count
        try:
            facts, mark = os.fstat(descriptor), _boot_mark()
            last = os.pread(descriptor, 1, facts.st_size - 1) if facts.st_size else b""
            if last != mark or not 0 <= time.time() - facts.st_mtime < TOGETHER:
                os.write(descriptor, mark)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        _log.warning(
            "%s can't be written (%s): if the version on trial makes this application end, only starts of the device "
            "tell the agent so",
            place,
            error.strerror,
        )


def _boot_mark() -> bytes:
    """A byte that another boot of this device has with a probability of 1/256 only. The clock alone does not tell boots
    apart: without a battery it shows the same time after each."""
    try:
        return hashlib.sha256(BOOT_ID.read_bytes()).digest()[:1]
    except OSError:
        return b"."


def _exhausted(slot: Path, name: str) -> str:
    trial = _trial(slot, name)
    if trial is None:
        return ""
    try:
        starts = trial["starts"] + (slot / "starts").stat().st_size
    except OSError:
        starts = trial["starts"]
    if starts <= trial["limit"]:
        return ""
    return f"it is on trial, and was started {starts} times without being confirmed"


def _trial(slot: Path, name: str) -> Mapping[str, Any] | None:
    """The trial of a version, as the agent's state.json has it; None where there is none, or it can't be read."""
    trial = _document(slot / "state.json").get("trial")
    if not isinstance(trial, dict) or not all(isinstance(trial.get(key), int) for key in ("starts", "limit")):
        return None
    return trial if trial.get("slot") == name else None


def _document(place: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(place.read_bytes().decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def identity(path: Path) -> Identity | None:
    """Which file a path leads to at the moment; None where there is none. One system call."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def hold_updates(slot: str | os.PathLike[str], wait: float = PATIENCE) -> Iterator[None]:
    """Keep the agent from switching versions until the block ends; any number of applications may at once.

    wait: seconds, for an agent that is switching right now. Raises Busy after that, InputError for what is no slot.
    Where use.lock is not there and can't be made, one warning tells that nothing is held off.
    """
    folder = Path(slot)
    check_is_slot(folder)
    with _shared(folder, wait) as held:
        if held is None:
            _log.warning("%s can't be opened: updates are not held off", folder / "use.lock")
        if held is False:
            raise Busy(
                f"The agent is changing the versions in {folder}",
                f"It holds {folder / 'use.lock'}, and still did after {wait:g} s.",
                "Try again, or look what edgec-device is doing.",
            )
        yield


@contextmanager
def reading(slot: Path) -> Iterator[None]:
    """Keep slots as they are while a version is read, as far as that is possible: for a moment, not for good."""
    with _shared(slot, PATIENCE) as held:
        if held is False:
            _log.warning("%s is locked for long: its model is loaded all the same", slot)
        yield


@contextmanager
def _shared(slot: Path, wait: float) -> Iterator[bool | None]:
    """The shared lock of applications: True with it, False where an agent keeps it, None where there can't be one."""
    place = slot / "use.lock"
    try:
        descriptor = os.open(place, os.O_RDONLY if place.exists() else os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError:
        yield None
        return
    try:
        yield _locked(descriptor, wait)
    finally:
        os.close(descriptor)  # which lets go of the lock


def _locked(descriptor: int, wait: float) -> bool | None:
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return None  # a file system without locks
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)
