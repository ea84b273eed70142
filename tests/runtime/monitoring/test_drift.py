"""Drift: distances by hand, what chance explains, and which streams raise an alarm."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgec.runtime.errors import BundleError, InputError
from edgec.runtime.monitoring.drift import FALSE_ALARMS, Window, _chi_square, _Comparison, count_tests
from edgec.runtime.monitoring.profile import Known, read_profile
from edgec.runtime.monitoring.views import Spread, View
from tests.runtime.monitoring.models import model_of, pictures, totals

RUNS = 120


@pytest.fixture(scope="module")
def model():
    return model_of(pictures(np.random.default_rng(0), RUNS))


def judged(model, stream):
    """The findings of one window, by tensor."""
    tensors = read_profile(model)
    windows = [Window(known, len(stream)) for known in tensors]
    new = 0
    for value in stream:
        outputs = model.run({"image": value})
        differs = [
            window.add(value if window.known.view.role == "input" else outputs[window.known.view.name])
            for window in windows
        ]
        new += differs[0]
    return {window.known.view.name: window.judge(new, count_tests(tensors)) for window in windows}


def reasons(model, stream):
    return " ".join(judged(model, stream)["image"].reasons)


def comparison(spread, column, deviation, worth=100.0):
    """A comparison of one statistic; its elements are two bins that never change."""
    known = Known(
        View("x", "input", "float32", (1, 1)), spread, np.array([50, 50]), (0.5, 0.25), worth, (spread,), (deviation,)
    )
    shares = np.tile([0.5, 0.5], (len(column), 1))
    return _Comparison(known, shares, np.asarray(column, float)[:, None], len(column), 1e-4)


def test_ks_is_the_largest_distance_of_two_distributions_at_the_edges():
    spread = Spread(np.array([1.0, 2.0, 3.0]), np.array([25, 25, 25, 25]), 0.0, 4.0)
    column = [0.5] * 10 + [1.5] * 60 + [3.5] * 30  # 10, 70, 70 % below the edges; 25, 50, 75 % were
    distance, _ = comparison(spread, column, 1.0)._ks(0)
    assert distance == pytest.approx(0.2)


def test_what_chance_explains_of_ks_is_smirnovs_limit():
    spread = Spread(np.array([0.0]), np.array([50, 50]), -3.0, 3.0)
    column = np.random.default_rng(1).normal(size=400)
    made = comparison(spread, column, 1.0)
    _, chance = made._ks(0)
    assert made._regular[0] > 200
    expected = math.sqrt(-math.log(1e-4 / 2) / 2) * math.sqrt(1 / made._regular[0] + 1 / 100)
    assert chance == pytest.approx(expected)


def test_psi_by_hand():
    spread = Spread(np.array([0.0]), np.array([50, 50]), -1.0, 1.0)
    made = comparison(spread, np.random.default_rng(1).normal(size=100), 1.0)
    shifted = _Comparison(made.known, np.tile([0.8, 0.2], (100, 1)), made.summaries, 100, 1e-4)
    psi, times = shifted._psi()
    assert psi == pytest.approx(0.3 * math.log(0.8 / 0.5) - 0.3 * math.log(0.2 / 0.5))
    bound = 0.25 / 0.5 * _chi_square(1.0, 1e-4) * (1 / shifted._regular[0] + 1 / 100)
    assert times == pytest.approx((0.3**2 / 0.5 * 2) / bound)


@pytest.mark.parametrize(
    ("freedom", "tail", "expected"),
    [
        (1, 1e-3, 10.828),
        (5, 1e-3, 20.515),
        (10, 1e-3, 29.588),
        (1, 1e-4, 15.137),
        (3, 1e-4, 21.108),
        (15, 1e-4, 44.263),
    ],
)
def test_chi_square_is_near_the_table(freedom, tail, expected):
    assert 1 <= _chi_square(freedom, tail) / expected < 1.08


def test_elements_that_come_in_clusters_are_judged_as_clusters():
    """Windows of the very runs that the profile is of: the share of alarms is what was promised, or less."""
    rng = np.random.default_rng(5)
    known = read_profile(model_of(pictures(rng, 300)))[0]
    alarms = 0
    for _ in range(40):
        window = Window(known, 100)
        for value in pictures(rng, 100):
            window.add(value)
        finding = window.judge(100, 11)
        alarms += finding.psi_times > 1
    assert alarms <= 1


@pytest.mark.parametrize("seed", range(6))
def test_a_stream_that_did_not_change_raises_no_alarm(model, seed):
    found = judged(model, pictures(np.random.default_rng(100 + seed), 150))
    assert not any(finding.reasons for finding in found.values())


@pytest.mark.parametrize("seed", range(6))
def test_one_scene_for_long_raises_no_alarm(model, seed):
    rng = np.random.default_rng(200 + seed)
    (scene,) = pictures(rng, 1)
    stream = [scene + rng.normal(0, 0.02, scene.shape).astype(np.float32) for _ in range(150)]
    found = judged(model, stream)
    assert not any(finding.reasons for finding in found.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_few_scenes_one_after_the_other_raise_no_alarm(model, seed):
    rng = np.random.default_rng(300 + seed)
    stream = [
        scene + rng.normal(0, 0.02, scene.shape).astype(np.float32) for scene in pictures(rng, 5) for _ in range(30)
    ]
    found = judged(model, stream)
    assert not any(finding.reasons for finding in found.values())


def blurred(value):
    return (value + np.roll(value, 1, 2) + np.roll(value, 1, 3) + np.roll(value, 2, 3) + np.roll(value, 2, 2)) / 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value, rng: value - 2, "its mean is lower"),
        (lambda value, rng: value * 0.2, "its values vary less"),
        (lambda value, rng: value * 128 + 127, "of its elements lie outside of all that the profile saw"),
        (lambda value, rng: blurred(value), "it is smoother"),
        (lambda value, rng: value + rng.normal(0, 0.5, value.shape), "it is rougher"),
        (lambda value, rng: value[:, ::-1], "channel 0 is weaker beside the others"),
        (lambda value, rng: rng.normal(0, 0.5, value.shape), "it is rougher"),
        (lambda value, rng: np.where(rng.random(value.shape) < 0.1, np.nan, value), "are NaN or infinite"),
        (lambda value, rng: np.zeros_like(value) - 1, "its values vary less than in any run of the profile"),
    ],
    ids=["dark", "faint", "scale", "blurred", "noisy", "channel order", "noise", "nan", "black"],
)
def test_a_changed_stream_is_told_and_how(model, change, said):
    rng = np.random.default_rng(7)
    stream = [np.asarray(change(value, rng), np.float32) for value in pictures(rng, 150)]
    assert said in reasons(model, stream)


def test_ids_are_compared_by_their_bins():
    rng = np.random.default_rng(0)

    def tokens(count, most):
        return [np.floor(most * rng.random((1, 64)) ** 2).astype(np.int64) for _ in range(count)]

    def scores(feeds):
        return totals({"image": feeds["image"].astype(np.float32)})

    model = model_of(tokens(100, 40), shape=(1, 64), dtype="int64", function=scores)
    assert "image" in judged(model, tokens(100, 40))
    assert not judged(model, tokens(100, 40))["image"].reasons
    assert "distributed otherwise" in reasons(model, [value + 100 for value in tokens(100, 40)])
    assert "more zeros" in reasons(model, tokens(100, 4))


def test_a_profile_of_few_runs_is_not_enough():
    with pytest.raises(InputError, match="can't be watched for drift") as refused:
        read_profile(model_of(pictures(np.random.default_rng(0), 10)))
    assert "10 independent runs" in refused.value.why


def test_an_artifact_of_an_older_edgec_has_no_profile(model):
    model = model_of()
    del model.manifest["files"]["profile.json"]
    with pytest.raises(InputError, match="can't be watched") as refused:
        read_profile(model)
    assert "before there was one" in refused.value.why


@pytest.mark.parametrize("text", [b"{}", b"[]", b"nonsense", b'{"schema": 2}', b'{"schema": 1, "tensors": [{}]}'])
def test_a_profile_that_makes_no_sense_is_refused(text):
    model = model_of()
    model.bundle.files["profile.json"] = text
    with pytest.raises(BundleError, match="can't be understood"):
        read_profile(model)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("counts", [10**30] * 16),
        ("counts", [-1] * 16),
        ("design", [float("nan"), 1]),
        ("design", [1]),
        ("minimum", 1e999),
        ("not_finite", -1),
    ],
)
def test_a_profile_of_impossible_numbers_is_refused(place, wrong):
    model = model_of(pictures(np.random.default_rng(0), 30))
    document = json.loads(model.bundle.files["profile.json"])
    document["tensors"][0]["elements"][place] = wrong
    model.bundle.files["profile.json"] = json.dumps(document).replace("Infinity", "1e999").encode()
    with pytest.raises(BundleError, match="can't be understood"):
        read_profile(model)


def test_a_finding_is_plain_json(model):
    found = judged(model, pictures(np.random.default_rng(9), 60))["image"].to_json()
    assert found["runs"] == 60
    assert found["ks"].keys() == found["ks_chance"].keys() == {
        "mean", "spread", "roughness", "channel 0", "channel 1", "channel 2",
    }  # fmt: skip
    assert FALSE_ALARMS == 1e-3
