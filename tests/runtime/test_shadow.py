"""A candidate in the shadow of the current model: what is compared, and that it never costs an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import edgec.runtime
from edgec.runtime.agreement import OutputAgreement, decisions, runs_to_show, verdict, wilson
from edgec.runtime.errors import BundleError, InputError
from edgec.runtime.model import TensorSpec
from edgec.runtime.monitoring.monitor import Monitor

SCORES = TensorSpec("scores", "float32", (1, 3))


@pytest.mark.parametrize(
    ("agreed", "of", "low", "high"),
    [(0, 0, 0, 1), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilsons_interval_is_that_of_the_literature(agreed, of, low, high):
    """Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17, 1998, table I."""
    assert wilson(agreed, of) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("share", "least"), [(1.0, 0.99), (0.95, 0.9), (0.999, 0.99)])
def test_so_many_runs_show_it_and_no_fewer(share, least):
    needed = runs_to_show(share, least)
    assert wilson(round(share * needed), needed)[0] >= least
    assert wilson(round(share * (needed // 2)), needed // 2)[0] < least


def test_no_number_of_runs_shows_what_is_not_so():
    assert runs_to_show(0.9, 0.9) is None


def test_what_is_a_decision():
    row = TensorSpec("y", "float32", (2, 3))
    assert decisions(row, np.array([[0, 2, 1], [5, 1, 1]])[:, :].astype(float)).tolist() == [1, 0]
    assert decisions(TensorSpec("p", "float32", (1, 1)), np.array([[0.7]])).tolist() == [[True]]
    assert decisions(TensorSpec("t", "float32", (1, 1)), np.array([[1.7]])) is None
    assert decisions(TensorSpec("m", "float32", (1, 1, 4, 4)), np.zeros((1, 1, 4, 4))) is None
    assert decisions(TensorSpec("n", "int64", (4,)), np.arange(4)).tolist() == [0, 1, 2, 3]


def compared(*pairs):
    output = OutputAgreement(SCORES)
    for current, candidate in pairs:
        output.add(np.float32([current]), np.float32([candidate]))
    return output


def test_the_figures_of_an_output_by_hand():
    output = compared(([1, 2, 3], [1, 2, 2.5]), ([3, 0, 0], [0, 4, 0]))
    found = output.to_json()
    assert (found["decisions"]["agreed"], found["decisions"]["runs"]) == (1, 2)
    assert found["max_abs"] == 4
    assert found["sqnr_db"] == pytest.approx(10 * np.log10((14 + 9) / (0.25 + 9 + 16)), abs=0.01)
    assert not found["identical"]


def test_what_is_not_finite_is_counted():
    output = compared(([1, np.nan, 3], [1, np.nan, 3]), ([1, np.inf, 3], [1, 2, 3]))
    assert (output.not_finite, output.noise) == (1, 0)
    assert not output.to_json()["identical"]


def test_verdicts():
    same, other = ([0, 0, 1], [0, 0, 1]), ([0, 0, 1], [1, 0, 0])
    assert verdict([compared(*[same] * 100)], 0.9)[0] == "shown"
    assert verdict([compared(*[same] * 100)], None)[0] == "open"
    kind, text = verdict([compared(*[same] * 10)], 0.9)
    assert kind == "open"
    assert "about 25 more would show it" in text
    assert verdict([compared(*[same] * 10, *[other] * 30)], 0.9)[0] == "refuted"
    assert verdict([OutputAgreement(SCORES)], 0.9) == ("none", "Nothing was compared.")
    mask = OutputAgreement(TensorSpec("mask", "float32", (1, 1, 2, 2)))
    mask.add(np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.float32))
    assert verdict([mask], 0.9)[0] == "none"
    worst = verdict([compared(*[same] * 100), compared(*[other] * 100)], 0.9)
    assert worst[0] == "refuted"


@pytest.fixture
def feeds(cnn):
    rng = np.random.default_rng(0)
    spec = edgec.runtime.load(cnn.path).inputs[0]
    return [rng.normal(size=spec.shape).astype(spec.dtype) for _ in range(40)]


def test_the_same_artifact_agrees_with_itself(cnn, feeds):
    model = edgec.runtime.load(cnn.path)
    with edgec.runtime.Shadow(Monitor(model), cnn.path, wait=True, least=0.9) as shadow:
        for each in feeds:
            assert shadow.run(each)["scores"].tobytes() == model.run(each)["scores"].tobytes()
    report = shadow.report()
    assert (report.runs, report.offered, report.compared, report.dropped) == (40, 40, 40, 0)
    assert report.outputs[0]["identical"]
    assert report.candidate["sha256"] == report.current["sha256"] == model.bundle.sha256
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["latency_ms"]["candidate"]["runs"] == 40


def test_a_share_of_the_inputs(cnn, feeds):
    model = edgec.runtime.load(cnn.path)
    with edgec.runtime.Shadow(model, cnn.path, share=0.25, wait=True) as shadow:
        shadow._random.seed(1)
        for each in feeds * 5:
            shadow.run(each)
    assert shadow.report().offered == pytest.approx(50, abs=20)


def test_a_candidate_that_crashes_or_hangs_costs_no_answer(cnn, feeds):
    model = edgec.runtime.load(cnn.path)
    with edgec.runtime.Shadow(model, cnn.path, wait=True, patience=5) as shadow:
        shadow.run(feeds[0])
        os.kill(shadow._candidate._process.pid, signal.SIGSEGV)
        for each in feeds:
            assert "scores" in shadow.run(each)
        _wait(lambda: shadow._queue.empty())
        shadow._candidate._patience = 0.2
        os.kill(shadow._candidate._process.pid, signal.SIGSTOP)
        assert "scores" in shadow.run(feeds[0])
        _wait(lambda: "hung" in shadow.report().errors)
    report = shadow.report()
    assert report.errors == {"crashed with signal 11": 1, "hung": 1}
    assert report.compared >= 39
    assert (report.runs, report.dropped) == (42, 0)


def _wait(done):
    end = time.monotonic() + 20
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


def test_inputs_that_the_candidate_can_not_follow_are_dropped(cnn, feeds):
    model = edgec.runtime.load(cnn.path)
    with edgec.runtime.Shadow(model, cnn.path) as shadow:
        os.kill(shadow._candidate._process.pid, signal.SIGSTOP)
        for each in feeds:
            shadow.run(each)
        os.kill(shadow._candidate._process.pid, signal.SIGCONT)
    report = shadow.report()
    assert report.dropped >= len(feeds) - 10
    assert report.compared + report.dropped == report.offered == len(feeds)


def test_a_candidate_of_other_inputs_is_refused(cnn, lstm):
    with pytest.raises(InputError, match="can't run in the shadow") as refused:
        edgec.runtime.Shadow(edgec.runtime.load(cnn.path), lstm.path)
    assert "inputs differ" in refused.value.why


def test_a_candidate_that_does_not_load_is_told_of(cnn, tmp_path):
    (tmp_path / "broken.edgec").write_bytes(b"nothing")
    with pytest.raises(Exception, match="is damaged") as refused:
        edgec.runtime.Shadow(edgec.runtime.load(cnn.path), tmp_path / "broken.edgec")
    assert refused.value.exit_code == BundleError.exit_code


def test_a_recurrent_candidate_gets_the_current_models_state(lstm):
    model = edgec.runtime.load(lstm.path)
    spec = model.free_inputs[0]
    steps = [np.random.default_rng(i).normal(size=spec.shape).astype(spec.dtype) for i in range(6)]
    with edgec.runtime.Shadow(model, lstm.path, wait=True) as shadow:
        outputs = list(shadow.run_sequence(steps))
    for ours, theirs in zip(outputs, model.run_sequence(steps), strict=True):
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    assert all(output["identical"] for output in shadow.report().outputs)


def test_an_artifact_shadows_by_itself(cnn, tmp_path, feeds):
    np.save(tmp_path / "a.npy", np.concatenate(feeds[:5]))
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, cnn.path, "ab", cnn.path, tmp_path / "a.npy", "--json"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compared"] == 5
