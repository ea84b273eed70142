"""What is counted about a layer: channels that hide behind others, dead ones, values on and beyond a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.diagnosis.layers import Grid
from edgec.diagnosis.meters import ErrorMeter, RangeMeter

GRID = Grid(step=0.1, low=-12.8, high=12.7, zero_point=0)


def test_one_loud_channel_does_not_hide_the_others():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(1, 8, 20, 20))
    clean[:, 3] *= 1000
    meter = ErrorMeter(1)
    meter.add(clean, clean + rng.normal(size=clean.shape))
    assert meter.overall_db > 45
    assert meter.db == meter.typical_db == pytest.approx(0, abs=1)
    assert set(meter.dead) == set(range(8)) - {3}


def test_channels_that_stand_still_have_nothing_to_lose():
    clean = np.random.default_rng(0).normal(size=(1, 4, 9, 9))
    clean[:, 1] = 5.0
    meter = ErrorMeter(1)
    meter.add(clean, clean + 0.001)
    assert np.isnan(meter.channels_db()[1])
    assert meter.moving == 3
    assert meter.dead == ()


def test_a_candidate_that_is_not_finite_is_the_worst_there_is():
    meter = ErrorMeter(None)
    meter.add(np.ones(4), np.array([1, np.nan, 1, 1]))
    assert meter.overall_db == -120


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 1000))
def test_runs_add_up_to_one(parts, seed):
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=(3, sum(parts)))
    noisy = clean + 0.1 * rng.normal(size=clean.shape)
    whole, pieces = ErrorMeter(0), ErrorMeter(0)
    whole.add(clean, noisy)
    for start, count in zip(np.cumsum([0, *parts]), parts, strict=False):
        pieces.add(clean[:, start : start + count], noisy[:, start : start + count])
    assert pieces.overall_db == pytest.approx(whole.overall_db)
    np.testing.assert_allclose(pieces.channels_db(), whole.channels_db(), atol=1e-6)


def test_what_rounds_to_the_last_step_is_not_clipped():
    meter = RangeMeter(GRID, None)
    meter.add(np.array([-12.84, 12.74, 0.0, 12.8, 99.0], np.float32))
    assert meter.clipped_share == pytest.approx(2 / 5)


def test_steps_used_are_those_between_the_extremes():
    meter = RangeMeter(GRID, None)
    meter.add(np.array([0.0, 1.0], np.float32))
    assert meter.steps_used == 11
    meter.add(np.array([-500.0, 500.0], np.float32))
    assert meter.steps_used == GRID.steps == 256


@settings(max_examples=50, deadline=None)
@given(st.floats(-50, 50, width=32))
def test_a_grid_rounds_as_quantize_and_dequantize_do(value):
    rounded = float(GRID.rounded(np.array([value], np.float32))[0])
    assert GRID.low - 1e-5 <= rounded <= GRID.high + 1e-5
    if GRID.low <= value <= GRID.high:
        assert abs(rounded - value) <= GRID.step / 2 + 1e-5
