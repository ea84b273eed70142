"""Which artifact is loaded: of a slot, of several; and what is told of those that were not."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import edgec.runtime
from edgec.runtime.errors import BundleError, Busy, InputError, NothingLoads, SelftestFailed
from edgec.runtime.loading import Refusal
from edgec.runtime.slot import TOGETHER, versions


@pytest.fixture
def slot(tmp_path, cnn):
    """A slot as the agent leaves it: two versions, b the current one."""
    folder = tmp_path / "models" / "net"
    for number, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        shutil.copy(cnn.path, folder / name / "model.edgec")
        (folder / name / "release.json").write_text(json.dumps({"version": number + 1}))
    (folder / "previous").symlink_to("a")
    (folder / "current").symlink_to("b")
    return folder


def break_version(folder):
    with (folder / "model.edgec").open("r+b") as file:
        file.seek(1000)
        file.write(b"?")


def put_on_trial(slot, name="b", starts=0, limit=3):
    trial = {"slot": name, "sha256": "", "starts": starts, "limit": limit}
    (slot / "state.json").write_text(json.dumps({"schema": 1, "trial": trial, "failed": {}, "history": []}))
    (slot / "starts").write_bytes(b"")


def wait(slot):
    """Let the last start lie back so long that the next one counts."""
    past = time.time() - TOGETHER - 1
    os.utime(slot / "starts", (past, past))


def switch(slot, name):
    (slot / "new").symlink_to(name)
    (slot / "new").replace(slot / "current")


def runs(model):
    spec = model.inputs[0]
    return model.run(np.zeros(spec.shape, spec.dtype))


def test_a_slot_is_loaded_like_an_artifact(slot):
    model = edgec.runtime.load(slot)
    assert model.source.artifact == slot / "b" / "model.edgec"
    assert model.source.release["version"] == 2
    assert model.fallbacks == ()
    assert runs(model)


def test_the_previous_version_is_loaded_when_the_current_one_fails(slot, caplog):
    break_version(slot / "b")
    with caplog.at_level(logging.WARNING, "edgec.runtime"):
        model = edgec.runtime.load(slot)
    assert model.source.release["version"] == 1
    (refusal,) = model.fallbacks
    assert refusal.path == slot / "b" / "model.edgec"
    assert "SHA-256" in refusal.why
    assert str(refusal.path) in caplog.text


def test_without_a_version_that_loads_all_reasons_are_told(slot):
    break_version(slot / "a")
    (slot / "b" / "model.edgec").unlink()
    with pytest.raises(NothingLoads, match="None of 2 artifacts") as refused:
        edgec.runtime.load(slot)
    assert "b/model.edgec can't be read" in refused.value.why
    assert "a/model.edgec is damaged" in refused.value.why
    assert refused.value.exit_code == InputError.exit_code, "that of the first"


def test_a_slot_without_versions_is_told(slot):
    (slot / "current").unlink()
    (slot / "previous").unlink()
    (slot / "current").symlink_to("..")
    with pytest.raises(NothingLoads):
        edgec.runtime.load(slot)
    (slot / "current").unlink()
    with pytest.raises(InputError, match="is not a slot"):
        edgec.runtime.load(slot)


def test_the_first_of_several_that_loads_is_taken(tmp_path, cnn, lstm):
    (tmp_path / "broken.edgec").write_bytes(b"no artifact")
    model = edgec.runtime.load([tmp_path / "missing.edgec", tmp_path / "broken.edgec", cnn.path, lstm.path])
    assert model.manifest["precision"] == "int8"
    assert [refusal.path.name for refusal in model.fallbacks] == ["missing.edgec", "broken.edgec"]


def test_an_engine_that_refuses_its_payload_in_any_way_is_passed_over(cnn, lstm, monkeypatch):
    def broken(name, files, options, threads):
        if "model.xml" in files and b"LSTM" not in files["model.xml"]:
            raise RuntimeError("no such kernel")
        return opened(name, files, options, threads)

    opened = edgec.runtime.model.open_engine
    monkeypatch.setattr("edgec.runtime.model.open_engine", broken)
    model = edgec.runtime.load([cnn.path, lstm.path])
    assert model.state
    assert model.fallbacks == (Refusal(cnn.path, "RuntimeError: no such kernel", ""),)


def test_one_artifact_alone_raises_its_own_error(tmp_path):
    (tmp_path / "broken.edgec").write_bytes(b"no artifact")
    with pytest.raises(BundleError):
        edgec.runtime.load(tmp_path / "broken.edgec")
    with pytest.raises(InputError, match="No artifact was given"):
        edgec.runtime.load([])


def test_a_self_test_before_it_is_accepted(cnn, lstm, monkeypatch):
    assert edgec.runtime.load(cnn.path, selftest=True).inputs
    monkeypatch.setattr("edgec.runtime.selftest.largest_difference", lambda expected, actual: 1e9)
    with pytest.raises(SelftestFailed, match="1 of 1 outputs"):
        edgec.runtime.load(cnn.path, selftest=True)


def test_a_model_knows_when_another_version_was_switched_in(slot):
    model = edgec.runtime.load(slot)
    assert not model.outdated()
    switch(slot, "a")
    assert model.outdated()
    assert not edgec.runtime.load(slot).outdated()


def test_a_fallback_is_not_outdated_by_what_it_was_taken_instead_of(slot):
    break_version(slot / "b")
    model = edgec.runtime.load(slot)
    assert not model.outdated()


def test_a_replaced_artifact_is_another_one(tmp_path, cnn):
    path = tmp_path / "model.edgec"
    shutil.copy(cnn.path, path)
    model = edgec.runtime.load(path)
    assert not model.outdated()
    shutil.copy(cnn.path, tmp_path / "new")
    (tmp_path / "new").replace(path)
    assert model.outdated()
    path.unlink()
    assert not model.outdated(), "what is gone leaves nothing to change to"


def test_nothing_of_a_slot_is_held_open(slot):
    model = edgec.runtime.load(slot)
    held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert not [path for path in held if path.startswith(str(slot))]
    shutil.rmtree(slot)
    assert runs(model)


def test_starts_of_a_version_on_trial_are_counted_and_of_no_other(slot):
    edgec.runtime.load(slot)
    assert not (slot / "starts").exists()
    put_on_trial(slot)
    for _ in range(3):
        edgec.runtime.load(slot)
    assert (slot / "starts").stat().st_size == 1, "workers that start together are one start"
    wait(slot)
    edgec.runtime.load(slot)
    assert (slot / "starts").stat().st_size == 2
    wait(slot)
    switch(slot, "a")
    edgec.runtime.load(slot)
    assert (slot / "starts").stat().st_size == 2


def test_another_boot_is_another_start_where_the_clock_begins_anew_with_each(slot, tmp_path, monkeypatch):
    put_on_trial(slot)
    boot = tmp_path / "boot_id"
    monkeypatch.setattr("edgec.runtime.slot.BOOT_ID", boot)
    for count, identity in enumerate(("first", "second", "third"), 1):
        boot.write_text(identity)
        edgec.runtime.load(slot)
        edgec.runtime.load(slot)
        assert (slot / "starts").stat().st_size == count


def test_where_starts_can_not_be_counted_one_warning_tells(slot, caplog):
    put_on_trial(slot)
    (slot / "starts").unlink()
    with caplog.at_level(logging.WARNING, "edgec.runtime"):
        assert edgec.runtime.load(slot).source.release["version"] == 2
    assert caplog.text.count("starts can't be written") == 1


def test_a_version_that_makes_the_application_start_again_and_again_is_left(slot):
    put_on_trial(slot, starts=1, limit=3)
    taken = []
    for _ in range(5):
        taken.append(edgec.runtime.load(slot).source.release["version"])
        wait(slot)
    assert taken == [2, 2, 2, 1, 1]
    (refusal,) = edgec.runtime.load(slot).fallbacks
    assert "started 4 times without being confirmed" in refusal.why


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"trial": 1}', '{"trial": {"slot": "b", "starts": "x", "limit": 1}}']
)
def test_a_state_that_makes_no_sense_stops_no_application(slot, text):
    (slot / "state.json").write_text(text)
    assert edgec.runtime.load(slot).source.release["version"] == 2


def test_a_version_stays_what_it_was_while_current_moves(slot):
    (found, _) = versions(slot)
    switch(slot, "a")
    assert found.artifact == slot / "b" / "model.edgec"


def test_updates_are_held_off_and_let_go_again(slot):
    def locked():
        with (slot / "use.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    with edgec.runtime.hold_updates(slot):
        assert locked()
        with edgec.runtime.hold_updates(slot):
            assert locked()
        assert locked()
        assert runs(edgec.runtime.load(slot))
    assert not locked()


def test_an_agent_that_is_switching_is_waited_for(slot):
    with (slot / "use.lock").open("w") as agent:
        fcntl.flock(agent, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="is changing the versions"), edgec.runtime.hold_updates(slot, wait=0.1):
            pass
        threading.Timer(0.2, lambda: fcntl.flock(agent, fcntl.LOCK_UN)).start()
        began = time.monotonic()
        with edgec.runtime.hold_updates(slot, wait=10):
            assert time.monotonic() - began > 0.1


def test_only_a_slot_can_be_held(tmp_path):
    with pytest.raises(InputError, match="is not a slot"), edgec.runtime.hold_updates(tmp_path):
        pass
