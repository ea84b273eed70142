"""What marks amount to: the runs that count, without what the marks cost."""

import zipfile

import pytest

from edgec.emulator import qemu
from edgec.emulator.counting import Counts
from edgec.errors import WorkerCrashed
from edgec.runners import counted
from edgec.runners.counted import Spread, _spreads
from edgec.runtime.bundle import Bundle
from edgec.targets import load_target

BEFORE, INSIDE, AFTER = 5, 3, 7  # instructions of the marks themselves, between the first two, the second, and the last


def marks_of(runs, start):
    """Marks of runs, each of (Python before, machine code, Python after)."""
    marks, at = [], start
    for run in runs:
        at += 100  # between two runs
        marks.append(Counts(other=at))
        for work, cost in zip(run, (BEFORE, INSIDE, AFTER), strict=True):
            at += work + cost
            marks.append(Counts(other=at))
    return marks


def test_what_marks_cost_is_subtracted():
    model, nothing = marks_of([(40, 1000, 60)], 0), marks_of([(0, 0, 0)], 5000)
    run, engine = _spreads([*model, *nothing], 1)
    assert (run.total, engine.total) == (1100, 1000)


def test_warm_ups_do_not_count_and_the_middle_run_is_told():
    runs = [(400, 9000, 60), (40, 1000, 60), (40, 1003, 60), (40, 1001, 60)]
    model, nothing = marks_of(runs, 0), marks_of([(90, 90, 90), *[(0, 0, 0)] * 3], 50_000)
    run, engine = _spreads([*model, *nothing], 3)
    assert (run.least, run.total, run.most) == (1100, 1101, 1103)
    assert (engine.least, engine.total, engine.most) == (1000, 1001, 1003)


def test_a_spread_holds_the_kinds_of_the_run_in_the_middle():
    spread = Spread.of([Counts(multiply=9, other=1), Counts(multiply=1, other=1), Counts(multiply=2, branch=3)])
    assert spread.to_json(kinds=True) == {
        "total": 5,
        "least": 2,
        "most": 10,
        "kinds": {"multiply": 2, "vector": 0, "memory": 0, "branch": 3, "other": 0},
    }
    assert spread.to_json(kinds=False)["kinds"] is None


def test_an_error_that_nobody_foresaw_comes_with_its_traceback(rpi4_machine, tmp_path, monkeypatch):
    """An artifact whose payload is no model: the engine raises what the runtime does not know."""
    if qemu.find_with_plugins("qemu-aarch64") is None:
        pytest.skip("there is no qemu-aarch64 with plugins")
    artifact = tmp_path / "x.edgec"
    artifact.write_bytes(b"")
    manifest = {"engine": {"name": "tvm"}}
    monkeypatch.setattr(Bundle, "open", lambda path: Bundle(path, manifest, {}))
    monkeypatch.setattr(counted, "_write_program", raising)
    with pytest.raises(WorkerCrashed) as caught:
        counted.inferences(artifact, load_target("rpi4"))
    assert "died with exit code 1 on the emulated device (qemu-aarch64:cortex-a72)" in caught.value.what
    assert "KeyError: 'lost'" in caught.value.why


def raising(place):
    """A program that prints, and fails."""
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("edgec_counted.py", "print('more')\nraise KeyError('lost')\n")
