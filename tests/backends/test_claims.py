"""When a payload is not of the precision that it claims."""

from __future__ import annotations

import pytest

from edgec.backends.claims import SMALLER_WEIGHTS, require_claimed
from edgec.errors import InternalError
from edgec.onnx_graph.cost import StoredBytes

COUNTS = {"int8_primitives": 0, "float_primitives": 3}
HALVES = StoredBytes(2_000_000, 20_000)


@pytest.mark.parametrize("precision", SMALLER_WEIGHTS)
def test_weights_that_became_float_again_are_an_error(precision):
    undone = StoredBytes(4_000_000, 4_000_000)
    with pytest.raises(InternalError, match=r"3,980,000 bytes more in float32") as caught:
        require_claimed("TFLite", precision, COUNTS, undone, HALVES)
    assert "--precision float" in caught.value.fix


def test_one_layer_of_ten_that_became_float_again_is_an_error():
    with pytest.raises(InternalError):
        require_claimed("TFLite", "fp16", COUNTS, StoredBytes(2_200_000, 420_000), HALVES)


@pytest.mark.parametrize("precision", SMALLER_WEIGHTS)
def test_small_weights_in_two_arrangements_and_an_engines_own_constants_are_not(precision):
    require_claimed("TFLite", precision, COUNTS, StoredBytes(4_100_000, 120_000), HALVES)


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_integers_that_no_kernel_computes_are_an_error(precision):
    with pytest.raises(InternalError, match="in float"):
        require_claimed("TFLite", precision, COUNTS, HALVES, HALVES)


def test_a_float_payload_may_store_what_it_likes():
    require_claimed("TFLite", "float", COUNTS, StoredBytes(9_000_000, 9_000_000), HALVES)
