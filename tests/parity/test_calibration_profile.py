"""The profile that a build writes: of which runs, of which tensors, and equal for equal runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgec.contract import Contract, TensorSpec
from edgec.parity.calibration_profile import MOST_TENSORS, Profiler, _design

CONTRACT = Contract((TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, 2)),))


def profile(samples, contract=CONTRACT, state=None, **how):
    profiler = Profiler(contract, state or {})
    for sample in samples:
        profiler.add(sample)
    return profiler.document("payload", **how)


def samples(count, steps=1, seed=0):
    rng = np.random.default_rng(seed)
    return [
        [({"x": rng.normal(size=(1, 4)).astype("f")}, {"y": rng.normal(size=(1, 2)).astype("f")}) for _ in range(steps)]
        for _ in range(count)
    ]


def test_inputs_and_outputs_are_described():
    document = profile(samples(50))
    x, y = document["tensors"]
    assert (x["name"], x["role"], x["runs"], x["effective_runs"]) == ("x", "input", 50, 50)
    assert sum(x["elements"]["counts"]) == 200
    assert y["statistics"].keys() == {"mean", "spread", "peak"}
    assert sum(y["statistics"]["peak"]["counts"]) == 50


def test_equal_runs_give_equal_bytes_of_a_small_document():
    first, again = (json.dumps(profile(samples(100)), allow_nan=False) for _ in range(2))
    assert first == again
    assert len(first) < 20_000


def test_shares_of_special_values():
    value = np.array([[0, 0, 1, np.nan]], np.float32)
    elements = profile([[({"x": value}, {"y": np.ones((1, 2), "f")})]] * 3)["tensors"][0]["elements"]
    assert elements["not_finite"] == 0.25
    assert elements["zero"] == elements["at_minimum"] == pytest.approx(2 / 3, abs=1e-3)
    assert elements["at_maximum"] == pytest.approx(1 / 3, abs=1e-3)


def test_without_samples_it_says_why_there_is_nothing():
    document = profile(samples(8), why_none="No samples were given")
    assert (document["tensors"], document["samples"], document["why_none"]) == ([], 0, "No samples were given")


def test_steps_that_resemble_each_other_are_worth_less():
    walk = np.cumsum(np.random.default_rng(0).normal(size=300))
    steps = [({"x": np.full((1, 4), value, "f")}, {"y": np.full((1, 2), value, "f")}) for value in walk]
    contract = Contract(
        (*CONTRACT.inputs, TensorSpec("h", "float32", (1,))), (*CONTRACT.outputs, TensorSpec("h_next", "float32", (1,)))
    )
    document = profile([steps], contract, {"h_next": "h"})
    assert [tensor["name"] for tensor in document["tensors"]] == ["x", "y"]
    assert document["tensors"][0]["runs"] == 60, "every fifth, which makes no more than 64 of a sample"
    assert document["tensors"][0]["effective_runs"] < 15


def test_tensors_beyond_the_eighth_are_named():
    inputs = tuple(TensorSpec(f"x{i}", "float32", (1, 4)) for i in range(10))
    feeds = {spec.name: np.ones((1, 4), "f") for spec in inputs}
    document = profile([[(feeds, {"y": np.ones((1, 2), "f")})]], Contract(inputs, CONTRACT.outputs))
    assert len(document["tensors"]) == MOST_TENSORS
    assert document["left_out"] == ["x8", "x9", "y"]


def test_the_design_of_independent_elements_is_that_of_multinomial_counts():
    """Of n independent elements in k bins, the eigenvalues are 1/n, k - 1 times."""
    histograms = np.random.default_rng(0).multinomial(64, np.full(8, 1 / 8), 20_000)
    trace, square = _design(histograms)
    assert trace == pytest.approx(7 / 64, rel=0.02)
    assert square == pytest.approx(7 / 64**2, rel=0.02)


def test_the_design_of_runs_that_are_each_in_one_bin():
    """All elements of a run are one observation: the eigenvalues are one."""
    histograms = 64 * np.random.default_rng(0).multinomial(1, np.full(8, 1 / 8), 20_000)
    trace, square = _design(histograms)
    assert trace == pytest.approx(7, rel=0.02)
    assert square == pytest.approx(7, rel=0.02)
