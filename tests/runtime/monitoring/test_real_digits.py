"""Drift on real pictures: the digits example, as it was built, and digits that it was not built with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgec.runtime
from edgec.runtime.monitoring.watch import DriftWatch

WINDOW = 150
TEST = Path(__file__).parents[3] / "examples" / "digits" / "test.npz"


@pytest.fixture(scope="module")
def model(built_digits):
    return edgec.runtime.load(built_digits.store.parent / "dist" / "digits_cnn-host.edgec")


@pytest.fixture(scope="module")
def unseen():
    with np.load(TEST) as archive:
        return (archive["images"][:, None, None] / 255).astype(np.float32)


def reasons(model, stream):
    watch = DriftWatch(model, WINDOW, 1.0, None)
    for number, value in enumerate(stream):
        watch.look({"image": value}, model.run(value), number)
    assert watch.windows == 1
    return {finding.tensor: " ".join(finding.reasons) for finding in watch.findings}


def drawn(unseen, seed):
    return unseen[np.random.default_rng(seed).integers(0, len(unseen), WINDOW)]


@pytest.mark.parametrize("seed", range(5))
def test_other_digits_raise_no_alarm(model, unseen, seed):
    assert not any(reasons(model, drawn(unseen, seed)).values())


@pytest.mark.parametrize("index", range(5))
def test_one_digit_for_long_raises_no_alarm(model, unseen, index):
    rng = np.random.default_rng(index)
    stream = [unseen[index * 7] + rng.normal(0, 0.01, (1, 1, 8, 8)).astype(np.float32) for _ in range(WINDOW)]
    assert not any(reasons(model, stream).values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value, rng: value * 0.4, "its mean is lower"),
        (lambda value, rng: 1 - value, "its mean is higher"),
        (lambda value, rng: rng.random(value.shape), "it is rougher"),
        (lambda value, rng: value * 255, "lie outside of all that the profile saw"),
        (lambda value, rng: value * 0, "its values vary less than in any run of the profile"),
    ],
    ids=["dark", "negative", "noise", "scale", "black"],
)
def test_what_changed_is_told(model, unseen, change, said):
    rng = np.random.default_rng(0)
    assert said in reasons(model, [change(value, rng).astype(np.float32) for value in drawn(unseen, 0)])["image"]
