"""What all tests share: no test sees the user's store; the digits example and emulated devices are at hand."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulated_devices import (  # noqa: F401
    aarch64_roots,
    armv7l_roots,
    rpi2_machine,
    rpi3_machine,
    rpi4_machine,
    rpi5_machine,
)

_ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory, monkeypatch):
    """Every test has a store of its own."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(folder))
    return folder


@dataclass(frozen=True)
class Example:
    """A model of examples/, its calibration data, and the recipe that belongs to them."""

    model: Path
    calibration: Path
    recipe: str


@pytest.fixture(scope="session")
def digits():
    """A small CNN that recognizes handwritten digits."""
    folder = _ROOT / "examples" / "digits"
    return Example(folder / "digits_cnn.onnx", folder / "calibration", "digits")
