"""The digits CNN in the repository is what its script makes, and networks learn by the right gradients."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from model_zoo import packages
from model_zoo.numpy_training import cross_entropy
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DIGITS = EXAMPLES / "digits"


@pytest.fixture(params=[("digits", 8), ("mnist", 28)], ids=lambda param: param[0])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, int]]:
    """The module of a network, and the side of its pictures in pixels."""
    folder, side = request.param
    monkeypatch.syspath_prepend(str(EXAMPLES / folder))
    yield importlib.import_module("network"), side
    sys.modules.pop("network", None)


def test_gradients_agree_with_finite_differences(network: tuple[ModuleType, int]) -> None:
    module, side = network
    rng = np.random.default_rng(0)
    parameters = module.initialize(rng)
    images, labels = rng.random((4, side, side, 1)), rng.integers(0, 10, 4)

    def loss() -> float:
        # Training updates the running statistics, which this loss does not depend on.
        logits = module.Network(dict(parameters), training=True).forward(images)
        return float(cross_entropy(logits, labels)[0])

    learner = module.Network(dict(parameters), training=True)
    learner.backward(cross_entropy(learner.forward(images), labels)[1])
    for name, gradient in learner.gradients.items():
        position = np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape)
        step = 1e-6
        parameters[name][position] += step
        above = loss()
        parameters[name][position] -= 2 * step
        below = loss()
        parameters[name][position] += step
        assert (above - below) / (2 * step) == pytest.approx(gradient[position], rel=1e-4, abs=1e-7), name


@pytest.mark.network
@pytest.mark.slow
def test_training_makes_the_very_files_of_the_repository(fetched: Callable, tmp_path: Path) -> None:
    fetched(lambda: packages.unpack(packages.SCIKIT_LEARN))
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, DIGITS / "train.py", "-o", tmp_path], env=one_thread, check=True)
    assert (tmp_path / "digits_cnn.onnx").read_bytes() == (DIGITS / "digits_cnn.onnx").read_bytes()
    names = sorted(path.name for path in (DIGITS / "calibration").iterdir())
    assert sorted(path.name for path in (tmp_path / "calibration").iterdir()) == names
    for name in names:  # pixels, not bytes: compression may differ between versions of zlib
        pictures = [np.asarray(Image.open(folder / "calibration" / name)) for folder in (tmp_path, DIGITS)]
        np.testing.assert_array_equal(*pictures)
    with np.load(tmp_path / "test.npz") as made, np.load(DIGITS / "test.npz") as kept:
        for key in ("images", "labels"):
            np.testing.assert_array_equal(made[key], kept[key])
