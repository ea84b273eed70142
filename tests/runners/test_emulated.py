"""The talk with an emulated device, and what becomes of devices that crash, hang or lie. The device is this machine's
own Python, with an engine that does as it is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from edgec.errors import DeviceError, InternalError, ToolMissing, WorkerCrashed, WorkerTimedOut
from edgec.runners.emulated import patience, running
from edgec.runtime.errors import ArtifactFailure
from tests.processes import ends
from tests.runners.fake_machine import FakeMachine

FEEDS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def run(tmp_path):
    """What an engine makes of FEEDS on a device; `engine` is source that changes it."""

    def go(engine="", *, program=None, feeds=FEEDS, seconds=60.0):
        with running(FakeMachine(textwrap.dedent(engine), program), "any", {}, {}, tmp_path, seconds) as guest:
            return guest(feeds)

    return go


def running_on(does):
    """An engine whose run does something else."""
    return f"def run(self, feeds):\n    import os, signal, time\n    {does}\nEngine.run = run\n"


def test_arrays_of_every_kind_come_back_as_they_went(run):
    rng = np.random.default_rng(0)
    kinds = ("f2", "f4", "f8", "i1", "u1", "i2", "i4", "i8", "?")
    feeds = {f"of {kind}": rng.normal(size=(2, 3)).astype(kind) for kind in kinds}
    feeds |= {
        "a scalar": np.array(2.5),
        "nothing": np.zeros((0, 4), np.float32),
        "../a name/with:signs\nünd": np.ones(1),
        "ends in a null\0": np.ones(2),
        "ends in a null": np.ones(3),
    }
    feeds |= {"by columns": np.asfortranarray(rng.normal(size=(3, 4))), "large": rng.normal(size=(700, 700))}
    found = run(feeds=feeds)
    assert list(found) == list(feeds)
    for name, array in feeds.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_one_device_answers_many_times_and_tells_its_engines_version(tmp_path):
    with running(FakeMachine(), "any", {}, {}, tmp_path) as guest:
        assert guest.version == "7.0"
        for value in range(20):
            assert guest({"x": np.array([value])})["x"] == [value]


def test_the_payload_gets_there_whole(tmp_path):
    opened = """
    def opened(name, files, options, threads):
        engine = Engine()
        engine.version = repr((name, files, options, threads))
        return engine
    """
    files = {"model.bin": bytes(range(256)) * 5000, "empty": b"", "a/ö.txt": b"\x00"}
    machine = FakeMachine(textwrap.dedent(opened), opened="opened")
    with running(machine, "tflite", files, {"inputs": [{"scale": 0.5}]}, tmp_path) as guest:
        assert guest.version == repr(("tflite", files, {"inputs": [{"scale": 0.5}]}, 1))


def test_what_native_code_prints_does_not_get_between(run):
    found = run(running_on('os.write(1, b"INFO: delegate created\\n"); print("more", flush=True); return feeds'))
    np.testing.assert_array_equal(found["x"], FEEDS["x"])


def test_errors_of_the_runtime_keep_their_three_parts(run):
    raising = 'from edgec_runtime.errors import InputError; raise InputError("what", "why", "fix", {"n": 1})'
    with pytest.raises(ArtifactFailure) as caught:
        run(running_on(raising))
    failure = caught.value
    assert (failure.what, failure.why, failure.fix, failure.details) == ("what", "why", "fix", {"n": 1})
    assert failure.exit_code == 2


def test_an_engine_that_can_not_load_the_payload_is_told_with_its_device(run):
    raising = (
        'from edgec_runtime.errors import EngineMissing; raise EngineMissing("no room", "too new", "pip install x")'
    )
    with pytest.raises(ToolMissing) as caught:
        run(running_on(raising))
    assert caught.value.what == "On the emulated device (qemu-aarch64:cortex-a72): no room"
    assert "ai-edge-litert 2.3.0" in caught.value.why
    assert "edgec emulator setup --force rpi4" in caught.value.fix
    assert "pip install" not in caught.value.fix


def test_an_error_that_nobody_foresaw_comes_with_its_traceback(run):
    with pytest.raises(WorkerCrashed) as caught:
        run(running_on("raise KeyError('lost')"))
    assert "KeyError: 'lost'" in caught.value.what
    assert "Traceback" in caught.value.why


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), signal.SIGILL)", "os._exit(132)"])
def test_an_instruction_that_the_core_lacks_is_no_crash_but_a_wrong_device(run, ending):
    with pytest.raises(DeviceError) as caught:
        run(running_on(ending))
    assert caught.value.exit_code == 10
    assert caught.value.what == "The payload uses an instruction that cortex-a72 lacks"


@pytest.mark.parametrize(
    ("ending", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (possibly out of memory)"),
        ("os._exit(128 + signal.SIGABRT)", "SIGABRT"),
        ("os._exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0"),
    ],
)
def test_an_engine_that_dies_is_told_with_what_it_printed(run, ending, how):
    with pytest.raises(WorkerCrashed) as caught:
        run(running_on(f'os.write(2, b"last words"); {ending}'))
    assert caught.value.what == f"The engine died with {how} on the emulated device (qemu-aarch64:cortex-a72)"
    assert caught.value.why == "last words"


def test_an_engine_that_hangs_is_ended(tmp_path):
    with running(FakeMachine(running_on("time.sleep(600)")), "any", {}, {}, tmp_path) as guest:
        guest._patience = 1.0  # only now: a busy machine may take longer than that to load it
        with pytest.raises(WorkerTimedOut, match="did not answer in 1 s"):
            guest(FEEDS)
    assert guest._process.returncode == -signal.SIGKILL


def test_a_device_that_reads_nothing_is_ended(run):
    with pytest.raises(WorkerTimedOut):
        run(program="import time; time.sleep(600)", seconds=1.0)


def test_python_that_does_not_start_is_a_broken_root(run):
    with pytest.raises(ToolMissing) as caught:
        run(program="import sys; sys.exit('no such library')")
    assert caught.value.what == "Python does not start on the emulated device (qemu-aarch64:cortex-a72)"
    assert "no such library" in caught.value.why
    assert "edgec emulator setup --force rpi4" in caught.value.fix


@pytest.mark.parametrize(
    "written",
    ["b'hello, this is no frame at all'", "b'EDGF' + (5).to_bytes(8, 'little') + b'12345'"],
)
def test_an_answer_that_is_none_is_told(run, written):
    with pytest.raises(InternalError, match="something else than outputs"):
        run(program=f"import sys; sys.stdout.buffer.write({written}); sys.stdout.flush(); sys.stdin.buffer.read()")


def test_a_frame_that_claims_more_than_comes_is_an_end(run):
    claim = "b'EDGF' + (1 << 60).to_bytes(8, 'little') + b'x'"
    with pytest.raises(WorkerCrashed):
        run(program=f"import sys; sys.stdout.buffer.write({claim}); sys.stdout.flush()")


def test_an_answer_out_of_turn_is_told(run):
    program = """
    import sys
    from edgec_frames import receive, send
    receive(sys.stdin.buffer)
    send(sys.stdout.buffer, "outputs", {})
    sys.stdin.buffer.read()
    """
    with pytest.raises(InternalError, match="out of turn"):
        run(program=textwrap.dedent(program))


def test_a_program_of_any_date_is_sent(tmp_path, monkeypatch):
    """Files of reproducible installations are dated 1970, and so may a machine's clock be."""
    monkeypatch.setattr(time, "localtime", lambda *seconds: time.gmtime(0))
    with running(FakeMachine(), "any", {}, {}, tmp_path) as guest:
        assert guest.version == "7.0"


def test_nothing_is_left_behind(tmp_path):
    with running(FakeMachine(), "any", {}, {}, tmp_path) as guest:
        assert any(tmp_path.iterdir())
    assert guest._process.poll() is not None
    assert not any(tmp_path.iterdir())


def test_a_device_that_hangs_does_not_outlive_the_build(tmp_path):
    parent = f"""
    import pathlib, sys
    import numpy as np
    from edgec.runners.emulated import running
    from tests.runners.fake_machine import FakeMachine
    machine = FakeMachine({running_on("time.sleep(600)")!r})
    with running(machine, "any", {{}}, {{}}, pathlib.Path({str(tmp_path)!r})) as guest:
        print(guest._process.pid, flush=True)
        guest({{"x": np.ones(1)}})
    """
    build = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    device = int(build.stdout.readline())
    build.kill()
    build.wait()
    build.stdout.close()
    assert ends(device)


def test_a_large_model_is_waited_for_longer():
    assert patience(0) < patience(10**10) < patience(10**11)


def test_frames_and_guest_need_nothing_of_edgec():
    """They run where there is no edgec, on a device's Python."""
    folder = Path(__file__).parents[2] / "edgec" / "runners"
    for name in ("frames.py", "guest.py"):
        assert "edgec." not in (folder / name).read_text().replace("edgec_runtime.", "").replace("of edgec.", "")
