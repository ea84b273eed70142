"""Slots: what is kept, what is gone back to, and what is made of what should not be."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from edgec.runtime.agent import storage
from edgec.runtime.agent.slot_folder import release_of
from edgec.runtime.agent.slots import Slots
from edgec.runtime.agent.state import HISTORY, State
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import Busy, InputError, StateUnreadable, StorageFailed, Untrusted
from tests.runtime.agent import small


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    return [small.write_small(folder / f"{number}.edgec", f"version {number}") and folder / f"{number}.edgec"
            for number in range(6)]  # fmt: skip


@pytest.fixture
def slots(tmp_path):
    return Slots(tmp_path, "net")


def put(slots, artifact, confirm=True):
    """Bring a version through all steps, without any check of it."""
    with slots.lock(0):
        slots.recover()
        slots.stage(artifact, release_of(artifact, "file"))
        slot = slots.place()
        slots.switch(slot, 3)
        if confirm:
            slots.confirm()
    return slot


def recovered(slots):
    with slots.lock(0):
        return slots.recover()


def versions(slots):
    """What is there: (current, previous, all), as the texts in the payloads."""
    told = {slot.name: Bundle.open(slot.artifact).payload()["model.bin"].decode()[-1] for slot in slots.installed()}
    named = [told[slot.name] if slot else None for slot in (slots.current(), slots.previous())]
    return (*named, "".join(sorted(told.values())))


def test_two_versions_are_kept_and_take_turns(slots, artifacts):
    seen = []
    for artifact in artifacts[:4]:
        put(slots, artifact)
        seen.append(versions(slots))
    assert seen == [("0", None, "0"), ("1", "0", "01"), ("2", "1", "12"), ("3", "2", "23")]
    assert sorted(path.name for path in slots.folder.iterdir()) == [
        "a", "b", "current", "lock", "previous", "state.json"
    ]  # fmt: skip


def test_more_versions_are_kept_where_that_is_asked_for(tmp_path, artifacts):
    slots = Slots(tmp_path, "net", keep=4)
    for artifact in artifacts[:6]:
        put(slots, artifact)
    assert versions(slots) == ("5", "4", "2345")
    with slots.lock(0):
        assert [str(slot.release) for slot in slots.collect(2)] == [
            f"net ({small.digest(artifacts[number])[:12]})" for number in (2, 3)
        ]
    assert versions(slots) == ("5", "4", "45")


def test_a_version_that_was_never_confirmed_is_not_gone_back_to(slots, artifacts):
    """1 is replaced by 2 while it is on trial: 0 is what proved good, and stays."""
    put(slots, artifacts[0])
    put(slots, artifacts[1], confirm=False)
    put(slots, artifacts[2], confirm=False)
    assert versions(slots) == ("2", "0", "012")
    with slots.lock(0):
        assert slots.roll_back("no camera").release.sha256 == small.digest(artifacts[0])
    assert versions(slots)[:2] == ("0", None)
    put(slots, artifacts[3])
    assert versions(slots)[:2] == ("3", "0")
    assert len(slots.installed()) == 2


def test_what_failed_is_remembered_until_it_proves_good(slots, artifacts):
    put(slots, artifacts[0])
    put(slots, artifacts[1], confirm=False)
    with slots.lock(0):
        slots.roll_back("no camera")
    assert slots.state().failed == {small.digest(artifacts[1]): "no camera"}
    put(slots, artifacts[1])
    assert slots.state().failed == {}
    assert [line["event"] for line in slots.state().history] == [
        "switched", "confirmed", "switched", "rolled back", "switched", "confirmed"
    ]  # fmt: skip


def test_a_failed_version_stays_where_there_is_no_other(slots, artifacts):
    put(slots, artifacts[0], confirm=False)
    with slots.lock(0):
        assert slots.roll_back("no camera") is None
    assert recovered(slots) == []
    assert versions(slots) == ("0", None, "0")
    assert slots.state().trial is None


def test_the_history_has_an_end():
    state = State()
    for number in range(3 * HISTORY):
        state = state.with_event(str(number))
        state = state.with_failed(str(number), "why")
    assert [line["event"] for line in state.history] == [str(number) for number in range(2 * HISTORY, 3 * HISTORY)]
    assert len(state.failed) == 40
    assert list(state.failed)[-1] == str(3 * HISTORY - 1)


def test_a_file_that_is_not_the_release_is_not_staged(slots, artifacts):
    put(slots, artifacts[0])
    other = replace(release_of(artifacts[1], "file"), sha256="0" * 64)
    with slots.lock(0), pytest.raises(Untrusted, match="SHA-256 differs"):
        slots.stage(artifacts[1], other)
    assert slots.staged() is None
    assert not list(slots.folder.glob(".*"))


def test_a_staged_file_that_rotted_is_staged_anew(slots, artifacts):
    release = release_of(artifacts[0], "file")
    with slots.lock(0):
        staged = slots.stage(artifacts[0], release)
        content = staged.artifact.read_bytes()
        staged.artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        slots.stage(artifacts[0], release)
    assert staged.artifact.read_bytes() == content


def test_a_download_is_moved_not_copied(slots, artifacts, tmp_path):
    file = tmp_path / "part"
    shutil.copy(artifacts[0], file)
    inode = file.stat().st_ino
    with slots.lock(0):
        staged = slots.stage(file, release_of(file, "file"), move=True)
    assert staged.artifact.stat().st_ino == inode
    assert not file.exists()


def test_a_download_on_another_file_system_is_copied_and_removed(slots, artifacts, tmp_path, monkeypatch):
    file = tmp_path / "part"
    shutil.copy(artifacts[0], file)
    real = os.rename

    def rename(source, target):
        if source == file:
            raise OSError(errno.EXDEV, "another device")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with slots.lock(0):
        staged = slots.stage(file, release_of(file, "file"), move=True)
    assert Bundle.open(staged.artifact)
    assert not file.exists()


def test_without_room_older_versions_go_but_never_the_one_that_runs(slots, artifacts, monkeypatch):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    size = artifacts[2].stat().st_size
    free = iter([size, 2 * size + (64 << 10)])
    monkeypatch.setattr(storage, "free_bytes", lambda folder: next(free))
    with slots.lock(0):
        slots.stage(artifacts[2], release_of(artifacts[2], "file"))
    assert versions(slots) == ("1", None, "1")
    monkeypatch.setattr(storage, "free_bytes", lambda folder: size)
    with slots.lock(0), pytest.raises(StorageFailed, match="There is no room"):
        slots.stage(artifacts[3], release_of(artifacts[3], "file"))
    assert versions(slots) == ("1", None, "1")


# --- what storage may make of it

_LINKS = {
    "dangling": lambda link: (link.unlink(), link.symlink_to("q")),
    "leads elsewhere": lambda link: (link.unlink(), link.symlink_to("/etc")),
    "climbs": lambda link: (link.unlink(), link.symlink_to("../net/a")),
    "gone": lambda link: link.unlink(),
    "a file": lambda link: (link.unlink(), link.write_text("a")),
    "a folder": lambda link: (link.unlink(), shutil.copytree(link.parent / "a", link)),
}


@pytest.mark.parametrize("damage", _LINKS.values(), ids=_LINKS)
@pytest.mark.parametrize("name", ["current", "previous"])
def test_links_are_made_again(slots, artifacts, name, damage):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    damage(slots.folder / name)
    recovered(slots)
    current, previous, there = versions(slots)
    assert there == "01"
    assert {current, previous} == {"0", "1"}
    assert slots.state().history[-1]["event"] == ("recovered" if name == "current" else "confirmed")
    assert recovered(slots) == []


def test_a_truncated_version_is_noticed_by_its_digest_and_the_one_before_runs(slots, artifacts):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    artifact = slots.current().artifact
    artifact.write_bytes(artifact.read_bytes()[:-1])
    assert "is damaged: it has" in recovered(slots)[0]
    assert versions(slots) == ("0", None, "0")
    assert recovered(slots) == []


def test_a_version_with_a_flipped_bit_is_noticed_only_when_it_is_looked_for(slots, artifacts):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    artifact = slots.current().artifact
    content = bytearray(artifact.read_bytes())
    content[40] ^= 1
    artifact.write_bytes(content)
    with slots.lock(0):
        assert slots.recover(deep=False) == []
        assert slots.recover() != []
    assert versions(slots) == ("0", None, "0")


def test_nothing_is_left_when_all_is_damaged_and_a_new_version_is_taken(slots, artifacts):
    put(slots, artifacts[0])
    slots.current().artifact.write_bytes(b"")
    assert "no version is left that is whole" in recovered(slots)
    assert slots.current() is None
    put(slots, artifacts[1])
    assert versions(slots) == ("1", None, "1")


def test_one_that_was_taken_back_is_better_than_none(slots, artifacts):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    with slots.lock(0):
        slots.roll_back("Taken back by hand.")
    slots.current().artifact.write_bytes(b"")
    recovered(slots)
    assert versions(slots) == ("1", None, "1")
    assert recovered(slots) == []


def test_a_version_that_can_not_be_read_is_avoided_and_not_removed(slots, artifacts, monkeypatch):
    """The storage may recover by itself: a read error is no reason to throw a version away."""
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    bad = slots.current().artifact
    real = storage.sha256_of

    def sha256_of(path):
        if path == bad:
            with storage.storing(path, "read"):
                raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(storage, "sha256_of", sha256_of)
    recovered(slots)
    assert versions(slots)[0] == "0"
    assert bad.exists()


def test_a_version_whose_description_can_not_be_read_either_is_not_removed(slots, artifacts, monkeypatch):
    put(slots, artifacts[0])
    bad = put(slots, artifacts[1])
    real = Path.open, Path.read_bytes

    def failing(call):
        def read(path, *arguments, **options):
            if path.parent == bad.folder:
                raise OSError(errno.EIO, "Input/output error")
            return call(path, *arguments, **options)

        return read

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing(real[0]))
        patch.setattr(Path, "read_bytes", failing(real[1]))
        recovered(slots)
        assert slots.current().name == "a"
    assert versions(slots) == ("0", None, "01")


@pytest.mark.parametrize("key", ["sha256", "bytes"])
def test_an_artifact_outlives_a_bit_that_flips_in_its_description(slots, artifacts, key):
    put(slots, artifacts[0])
    slot = slots.current()
    document = slot.release.to_json()
    wrong = {"sha256": "0" * 64, "bytes": 7}[key]
    (slot.folder / "release.json").write_text(json.dumps({**document, key: wrong}))
    assert recovered(slots) == ["release.json of slot a was lost, and is made again from the artifact"]
    assert slots.current().release.sha256 == document["sha256"]
    assert recovered(slots) == []


def test_an_artifact_that_was_never_installed_is_none_though_it_is_whole(slots, artifacts):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    shutil.copy(artifacts[2], slots.current().artifact)
    assert "is damaged: its SHA-256 is another one" in recovered(slots)[0]
    assert versions(slots) == ("0", None, "0")


def test_a_lost_description_is_made_again_from_the_artifact(slots, artifacts):
    put(slots, artifacts[0])
    sha256 = slots.current().release.sha256
    (slots.current().folder / "release.json").write_text("{")
    assert recovered(slots) == ["release.json of slot a was lost, and is made again from the artifact"]
    assert slots.current().release.sha256 == sha256
    assert recovered(slots) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"schema": 1}',
        b'{"schema": 1, "trial": 7, "failed": {}}',
        b'{"schema": 1, "trial": null, "failed": [], "confirmed": [], "history": []}',
    ],
)
def test_a_damaged_state_costs_what_was_remembered_and_nothing_else(slots, artifacts, content):
    put(slots, artifacts[0])
    put(slots, artifacts[1])
    (slots.folder / "state.json").write_bytes(content)
    assert "state.json was damaged" in recovered(slots)[0]
    assert versions(slots) == ("1", "0", "01")
    assert (slots.folder / "state.json.damaged").read_bytes() == content
    assert recovered(slots) == []
    put(slots, artifacts[2])
    assert versions(slots) == ("2", "1", "12")


def test_a_state_of_a_newer_agent_is_left_alone(slots, artifacts):
    put(slots, artifacts[0])
    (slots.folder / "state.json").write_text('{"schema": 2}')
    (slots.folder / ".incoming").mkdir()
    with pytest.raises(StateUnreadable, match="newer edgec-device"):
        recovered(slots)
    assert slots.current().name == "a"
    assert (slots.folder / ".incoming").exists()
    assert (slots.folder / "state.json").read_text() == '{"schema": 2}'


def test_leftovers_of_killed_runs_are_removed_and_other_files_are_not(slots, artifacts):
    put(slots, artifacts[0])
    for name in (".incoming", ".garbage-b", "b"):
        (slots.folder / name).mkdir()
    (slots.folder / ".current").symlink_to("a")
    (slots.folder / "notes.txt").write_text("mine")
    recovered(slots)
    assert sorted(path.name for path in slots.folder.iterdir()) == ["a", "current", "lock", "notes.txt", "state.json"]


def test_on_a_full_disk_a_version_that_failed_is_left_all_the_same(slots, artifacts, monkeypatch):
    """Its own slot is the room in which it is noted that it failed."""
    put(slots, artifacts[0])
    failed = put(slots, artifacts[1], confirm=False)
    real = os.write

    def write(descriptor, content):
        if failed.folder.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", write)
    with slots.lock(0):
        slots.roll_back("no camera")
    assert versions(slots) == ("0", None, "0")
    assert slots.state().failed == {failed.release.sha256: "no camera"}
    assert recovered(slots) == []


# --- files that others brought


@pytest.fixture
def brought(tmp_path, artifacts):
    """An artifact in a folder of its own."""
    (tmp_path / "inbox").mkdir()
    return Path(shutil.copy(artifacts[0], tmp_path / "inbox"))


def _linked(file):
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))


@pytest.mark.parametrize(
    "keep_hold",
    [
        _linked,
        lambda file: file.chmod(0o666),
        lambda file: file.with_name("same").hardlink_to(file),
    ],
)
def test_what_others_could_change_later_is_copied_though_it_may_be_moved(slots, brought, keep_hold):
    release = release_of(brought, "file")
    keep_hold(brought)
    held = brought.stat().st_ino
    with slots.lock(0):
        staged = slots.stage(brought, release, move=True)
    facts = staged.artifact.lstat()
    assert stat.S_ISREG(facts.st_mode)
    assert (facts.st_nlink, facts.st_mode & 0o777) == (1, 0o644)
    assert facts.st_ino != held
    assert not os.path.lexists(brought)


def test_a_link_that_takes_the_place_of_a_file_while_it_is_moved_is_refused(slots, brought, tmp_path, monkeypatch):
    """It could lead to a file of the agent's user, which would become one that all may read."""
    release, secret = release_of(brought, "file"), tmp_path / "secret"
    secret.touch(0o600)
    real = os.rename

    def rename(source, target):
        if source == brought:
            source.unlink()
            source.symlink_to(secret)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with slots.lock(0), pytest.raises(Untrusted, match="was exchanged while it was moved"):
        slots.stage(brought, release, move=True)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert not list(slots.folder.glob(".[is]*"))


# --- file systems and users that can't


def test_a_file_system_without_links_is_named(slots, artifacts, monkeypatch):
    def symlink(target, link):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(StorageFailed, match="no symbolic links"):
        put(slots, artifacts[0])


def test_a_file_system_without_locks_is_named(slots, monkeypatch):
    def flock(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StorageFailed, match="can't be locked"), slots.lock(0):
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "this user may not"),
        (errno.EIO, "can't be"),
    ],
)
def test_each_trouble_of_storage_has_its_own_words(slots, artifacts, monkeypatch, number, words):
    put(slots, artifacts[0])

    def fails(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fails)
    with pytest.raises(StorageFailed, match=words) as caught, slots.lock(0):
        slots.stage(artifacts[1], release_of(artifacts[1], "file"))
    assert caught.value.exit_code == 73
    assert caught.value.why and caught.value.fix


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "a b", "-x", "x" * 101, "a\n"]
)
def test_hostile_names_have_no_folder(tmp_path, name):
    with pytest.raises(InputError, match="can't be the name of a model"):
        Slots(tmp_path, name)


# --- locks


def test_one_agent_at_a_time(slots):
    with slots.lock(0), pytest.raises(Busy, match="Another edgec-device") as caught, slots.lock(0):
        pass
    assert caught.value.exit_code == 75
    with slots.lock(0):  # it is let go of
        pass


def test_all_may_read_whatever_the_umask_but_only_the_agent_may_hold_its_lock(slots, artifacts):
    before = os.umask(0o077)
    try:
        put(slots, artifacts[0])
        with slots.unused(0):
            pass
    finally:
        os.umask(before)
    for path in (slots.folder, *slots.folder.rglob("*")):
        if not path.is_symlink():
            mode = 0o755 if path.is_dir() else 0o600 if path.name == "lock" else 0o644
            assert path.stat().st_mode & 0o777 == mode, path
