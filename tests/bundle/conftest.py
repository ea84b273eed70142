"""Small artifacts that the tests of the bundle read; built once."""

from __future__ import annotations

import pytest

from tests.bundle.artifacts import RECIPE, build
from tests.contract import models


@pytest.fixture(scope="session")
def cnn(tmp_path_factory):
    """A quantized CNN that takes images; its output is quantized in steps of 1/32."""
    return build(tmp_path_factory.mktemp("cnn"), models.conv_int8(), "int8", recipe=RECIPE, steps={"scores": 1 / 32})


@pytest.fixture(scope="session")
def lstm(tmp_path_factory):
    """A float LSTM with its state."""
    state = (("h_next", "h"), ("c_next", "c"))
    return build(tmp_path_factory.mktemp("lstm"), models.recurrent(), "float", state=state)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """Two inputs, outputs of every dtype, and names that are no identifiers."""
    return build(tmp_path_factory.mktemp("mixed"), models.outputs_of_every_kind(), "float")
