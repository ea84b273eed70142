"""A publisher that is killed, or that runs out of disk, at its steps: clients see the old state or the new."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgec.errors import ArtifactError, OutputError
from edgec.shipping.repository import rotation
from edgec.shipping.repository.inspection import check
from edgec.shipping.repository.publishing import publish
from edgec.shipping.repository.upkeep import refresh
from tests.shipping.repositories import Repository, artifact, repository

_TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.rmdir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _in_a_child(made: Repository, action, step: int | None, *, full: bool = False):
    """Run `action` in a forked child that is killed before its change number `step` to the file system, or has a full
    disk from there on. Returns (number of changes, the error) of a child that lived, None of one that was killed.
    """
    inside = str(made.folder.parent)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event not in _TOUCHES or not str(arguments[0]).startswith(inside):
                return
            needs_space = event == "os.mkdir" or (event == "open" and arguments[2] & _WRITES)
            if not needs_space and (full or event == "open"):  # killed before a read: as before the next change
                return
            if step is not None and count >= step:
                if full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        sys.addaudithook(hook)
        error = None
        try:
            action(made)
        except BaseException as raised:
            error = raised
        os.write(write, pickle.dumps((count, error)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read()
    status = os.waitpid(child, 0)[1]
    if not said:
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return None
    return pickle.loads(said)


def _fresh(tmp_path: Path, origin: Repository) -> Repository:
    """A copy of a repository and its keys, in the same place each time."""
    place = tmp_path / "trial"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(origin.folder.parent, place)
    return Repository(place / "repo", place / "keys")


@pytest.fixture
def origin(tmp_path):
    return repository(tmp_path / "origin", artifact(tmp_path / "1"))


@pytest.fixture
def second(tmp_path):
    """What is published when the publisher is interrupted: a new release, and one for a new target."""
    return [artifact(tmp_path / "2", weights=b"2"), artifact(tmp_path / "2", target="host")]


def test_killed_at_every_step(tmp_path, origin, second, device):
    def action(made):
        publish(made.folder, made.ring, second, datetime.now(UTC))

    steps, error = _in_a_child(_fresh(tmp_path, origin), action, None)
    assert error is None and steps > 30
    seen = set()
    for step in range(steps):
        made = _fresh(tmp_path, origin)
        assert _in_a_child(made, action, step) is None
        one = device(made)
        seen.add(version := one.version())
        (payload,) = (made.folder / "targets" / "rpi4" / "net").glob(f"*.{version}.edgec")
        assert payload.name.startswith(hashlib.sha256(payload.read_bytes()).hexdigest())
        action(made)  # goes on where the killed one stopped
        assert one.version() == 2
    assert seen == {1, 2}
    assert one.version(target="host") == 2
    assert check(made.folder, datetime.now(UTC)).problems == ()


def test_killed_while_a_stolen_key_is_replaced(tmp_path, origin, device):
    """Root and timestamp can't both be renamed at once: a client in between refuses, and the next command heals it."""

    def action(made):
        change = rotation.KeyChange(compromised=True)
        rotation.rotate(made.folder, made.ring, datetime.now(UTC), "timestamp", change)

    steps, error = _in_a_child(_fresh(tmp_path, origin), action, None)
    assert error is None
    told = 0
    for step in range(steps):
        made = _fresh(tmp_path, origin)
        assert _in_a_child(made, action, step) is None
        try:
            check(made.folder, datetime.now(UTC))
        except ArtifactError as between:
            assert "was interrupted" in between.what and "edgec publish refresh" in between.fix
            told += 1
        refresh(made.folder, made.ring, datetime.now(UTC))
        assert device(made).version() == 1
        assert check(made.folder, datetime.now(UTC)).problems == ()
    assert told == 1


def test_disk_full_at_every_third_step(tmp_path, origin, second, device):
    def action(made):
        publish(made.folder, made.ring, second, datetime.now(UTC))

    steps, error = _in_a_child(_fresh(tmp_path, origin), action, None, full=True)
    assert error is None and steps > 10
    for step in range(0, steps, 3):
        made = _fresh(tmp_path, origin)
        _, error = _in_a_child(made, action, step, full=True)
        assert isinstance(error, OutputError), (step, error)
        assert error.what and error.why and error.fix
        one = device(made)
        assert one.version() == (2 if "is published" in error.what else 1)
        action(made)  # some space was freed
        assert one.version() == 2


def test_what_is_renamed_into_place_is_on_the_disk_before(origin, second, monkeypatch):
    """A power cut, unlike a kill, loses what was not synced: files before their rename, and a folder after it."""
    synced, renamed, unsynced = set(), [], set()

    def fsync(handle):
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        synced.add(path)
        unsynced.discard(path)

    replace = os.replace

    def rename(source, place):
        assert str(source) in synced, source
        renamed.append(Path(place).name)
        unsynced.add(str(Path(place).parent))
        replace(source, place)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    monkeypatch.setattr("edgec.shipping.repository.keyring.Keyring.remember", lambda *arguments: None)
    publish(origin.folder, origin.ring, second, datetime.now(UTC))
    assert renamed[-1] == "timestamp.json" and len(renamed) > 8
    assert unsynced == set()
