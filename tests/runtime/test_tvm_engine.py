"""What a compiled model is handed: arrays as its code reads them."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.runtime.engines.tvm import _fitting

DTYPE = np.dtype("float32")
NUMBERS = np.arange(6, dtype=DTYPE).reshape(2, 3)


def test_an_array_that_fits_is_not_copied():
    assert _fitting(NUMBERS, DTYPE) is NUMBERS


def unaligned() -> np.ndarray:
    return np.frombuffer(b"\0" + NUMBERS.tobytes(), np.uint8)[1:].view(DTYPE).reshape(2, 3)


@pytest.mark.parametrize(
    "array",
    [unaligned(), np.asfortranarray(NUMBERS), NUMBERS.astype(">f4"), NUMBERS.astype("float64"), NUMBERS[::-1][::-1]],
    ids=["unaligned", "columns first", "the other byte order", "another dtype", "a view of a view"],
)
def test_any_other_becomes_one(array):
    made = _fitting(array, DTYPE)
    np.testing.assert_array_equal(made, NUMBERS)
    assert made.dtype == DTYPE and made.dtype.isnative and made.flags.c_contiguous and made.flags.aligned
