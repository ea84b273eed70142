"""Bounds by hand: peaks of 10 and 40 GMAC/s over a memory of 1 GB/s."""

from __future__ import annotations

import pytest

from edgec.inspection.layers import Bytes, Layer
from edgec.inspection.roofline import Roofline, amdahl, whole_gain

ROOF = Roofline("by hand", 1, 10.0, 40.0, 1.0)
HEAVY = Layer("heavy", "Conv", "h", (1,), 10**9, 0, Bytes(40 * 10**6, 10 * 10**6))
LIGHT = Layer("light", "Add", "l", (1,), 0, 0, Bytes(40 * 10**6, 10 * 10**6))
TURNING = Layer("turning", "Conv", "t", (1,), 10**9, 0, Bytes(80 * 10**6, 40 * 10**6))
NOTHING = Layer("view", "Reshape", "v", (1,), 0, 0, Bytes())
UNKNOWN = Layer("unknown", "NonZero", "u", None, 0, 0, None)


@pytest.mark.parametrize(
    ("layer", "float32", "int8", "gain"),
    [
        (HEAVY, (0.1, "compute"), (0.025, "compute"), 4.0),
        (LIGHT, (0.04, "memory"), (0.01, "memory"), 4.0),
        (TURNING, (0.1, "compute"), (0.04, "memory"), 2.5),
    ],
)
def test_the_longer_of_both_bounds_a_layer(layer, float32, int8, gain):
    assert ROOF.seconds(layer, int8=False) == pytest.approx(float32)
    assert ROOF.seconds(layer, int8=True) == pytest.approx(int8)
    assert ROOF.int8_gain(layer) == pytest.approx(gain)


@pytest.mark.parametrize("layer", [NOTHING, UNKNOWN])
def test_nothing_bounds_what_computes_and_moves_nothing(layer):
    assert ROOF.seconds(layer, int8=False) is None
    assert ROOF.int8_gain(layer) is None


def test_what_stays_as_it_is_limits_the_whole():
    assert amdahl([1.0, 1.0], [None, 4.0]) == pytest.approx(2 / 1.25)
    assert amdahl([], []) is None


def test_layers_weigh_what_they_were_measured_to_take_and_at_the_roof_where_they_were_not():
    layers = [HEAVY, TURNING, NOTHING]
    measured = whole_gain(layers, ROOF, {"heavy": 3.0, "turning": 1.0}, set())
    assert measured == pytest.approx(4 / (3 / 4 + 1 / 2.5))
    assert whole_gain(layers, ROOF, None, set()) == pytest.approx(0.2 / (0.025 + 0.04))
    assert whole_gain(layers, ROOF, None, {"heavy"}) == pytest.approx(0.2 / (0.1 + 0.04))


def test_an_activation_that_the_measured_engine_did_not_fuse_does_not_limit_what_int8_gives():
    measured = {"heavy": 1.0, "view": 5.0}
    assert whole_gain([HEAVY, NOTHING], ROOF, measured, set()) == pytest.approx(4.0)
    assert whole_gain([HEAVY, UNKNOWN], ROOF, {"heavy": 1.0, "unknown": 1.0}, set()) == pytest.approx(2 / 1.25)
