"""The store keeps results of stages: whole or not at all, checked before use, shared by any number of builds."""

import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.digest import digest_of
from edgec.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def write(text, notes=()):
    def fill(folder):
        (folder / "result.txt").write_text(text)
        (folder / "more").mkdir()
        (folder / "more" / "part.bin").write_bytes(text.encode() * 3)
        return list(notes)

    return fill


def never(folder):
    raise AssertionError("this result should have been found")


def test_a_result_is_made_once_and_then_found(store):
    first, found = store.make("k1", "stage", write("a", [("warning", "careful")]))
    assert not found
    second, found = store.make("k1", "stage", never)
    assert found
    assert second == first
    assert second.notes == (("warning", "careful"),)
    assert (second.path / "result.txt").read_text() == "a"
    assert (second.path / "more" / "part.bin").read_bytes() == b"aaa"


def test_the_digest_is_of_the_content_not_of_the_key(store):
    one, _ = store.make("k1", "stage", write("same"))
    two, _ = store.make("k2", "stage", write("same"))
    other, _ = store.make("k3", "stage", write("other"))
    assert one.digest == two.digest != other.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "result.txt").write_text("b"),
        lambda path: (path / "result.txt").unlink(),
        lambda path: (path / "stray.txt").write_text("x"),
        lambda path: (path / "entry.json").write_text("{"),
        lambda path: (path / "entry.json").write_text("[]"),
        lambda path: (path / "entry.json").unlink(),
        lambda path: (path / "more" / "part.bin").write_bytes(b""),
    ],
    ids=["changed", "deleted", "added", "broken list", "wrong list", "no list", "truncated"],
)
def test_a_damaged_result_is_made_anew(store, damage):
    entry, _ = store.make("k", "stage", write("a"))
    damage(entry.path)
    assert store.find("k") is None
    again, found = store.make("k", "stage", write("a"))
    assert not found
    assert again.digest == entry.digest
    assert store.find("k") is not None


def test_nothing_is_kept_of_a_stage_that_fails(store):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        store.make("k", "stage", fail)
    assert store.find("k") is None
    assert list((store.root / "making").iterdir()) == []


def make_slowly(root, key, counter):
    def fill(folder):
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.3)
        (folder / "result.txt").write_text("slow")
        return []

    Store(root).make(key, "stage", fill)


def test_of_two_builds_that_need_one_result_one_makes_it(tmp_path):
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    processes = [context.Process(target=make_slowly, args=(tmp_path, "k", counter)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert counter.value == 1


def make_in_steps(root, ready):
    def fill(folder):
        for number in range(1000):
            (folder / f"{number}.bin").write_bytes(os.urandom(1000))
            ready.set()
            time.sleep(0.001)
        return []

    Store(root).make("k", "stage", fill)


@pytest.mark.parametrize("after", [0.0, 0.01, 0.1])
def test_kill_9_leaves_nothing_that_could_be_taken_for_a_result(tmp_path, after):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=make_in_steps, args=(tmp_path, ready))
    process.start()
    assert ready.wait(10)
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = Store(tmp_path)
    assert store.find("k") is None
    entry, found = store.make("k", "stage", write("whole"))
    assert not found
    assert store.find("k") == entry


def test_collecting_frees_everything_and_says_how_much(store):
    store.make("k1", "stage", write("a"))
    (store.root / "making" / "left-behind").mkdir()
    removed, freed = store.collect()
    assert removed == 1
    assert freed > 4
    assert store.entries() == []
    assert list((store.root / "making").iterdir()) == []


def test_collecting_takes_journals_of_killed_runs(store):
    journal = store.journal("0" * 64)
    journal.mkdir()
    (journal / "note").write_text("begun")
    assert store.collect(unused_for=86400) == (0, 5)
    assert not journal.exists()


def test_collecting_spares_what_was_used_of_late(store):
    old, _ = store.make("old", "stage", write("a"))
    store.make("new", "stage", write("b"))
    long_ago = time.time() - 10 * 86400
    os.utime(old.path, (long_ago, long_ago))
    assert store.collect(unused_for=86400)[0] == 1
    assert [entry.key for entry in store.entries()] == ["new"]


def test_finding_a_result_counts_as_use(store):
    entry, _ = store.make("k", "stage", write("a"))
    long_ago = time.time() - 10 * 86400
    os.utime(entry.path, (long_ago, long_ago))
    store.find("k")
    assert store.collect(unused_for=86400)[0] == 0


def test_nothing_is_collected_while_a_build_runs(store):
    store.make("k", "stage", write("a"))
    with store.in_use():
        assert Store(store.root.parent).collect() is None
    assert store.collect() is not None


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers())))
def test_digests_do_not_depend_on_the_order_of_keys(document):
    assert digest_of(document) == digest_of(dict(reversed(document.items())))
