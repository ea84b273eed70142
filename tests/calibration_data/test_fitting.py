"""Only what can't change a number is done silently."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.calibration_data.fitting import Arrangement, find_arrangement, fit, wrong_shape
from edgec.contract import TensorSpec
from edgec.errors import CalibrationDataError


def spec(dtype: str = "float32", shape: tuple[int, ...] = (1, 3, 8, 8)) -> TensorSpec:
    return TensorSpec("x", dtype, shape)


class TestShapes:
    @pytest.mark.parametrize(
        ("shape", "given_shape", "expected"),
        [
            ((1, 2048), (2048,), Arrangement()),
            ((1, 2048), (9, 2048), Arrangement(samples=9)),
            ((1, 1), (5, 1), Arrangement(samples=5)),
            ((1,), (5,), Arrangement(samples=5)),
            ((), (), Arrangement()),
            ((), (4,), Arrangement(samples=4)),
            ((1, 3), (3, 1), None),
            ((1, 3, 8, 8), (8, 8, 3), None),
            ((2, 3), (2, 3), Arrangement()),
        ],
    )
    def test_one_sample_or_a_leading_axis_of_samples(self, shape, given_shape, expected):
        assert find_arrangement(given_shape, spec(shape=shape), 1, sequence=False) == expected

    def test_rows_of_a_batch(self):
        wanted = spec(shape=(4, 10))
        assert find_arrangement((4, 10), wanted, 4, False) == Arrangement()
        assert find_arrangement((10,), wanted, 4, False) == Arrangement(row=True)
        assert find_arrangement((9, 10), wanted, 4, False) == Arrangement(samples=9, row=True)
        assert find_arrangement((9, 10), wanted, 1, False) is None

    def test_time_comes_first_for_a_recurrent_model(self):
        wanted = spec(shape=(1, 10))
        assert find_arrangement((7, 10), wanted, 1, True) == Arrangement(steps=7)
        assert find_arrangement((7, 1, 10), wanted, 1, True) == Arrangement(steps=7)
        assert find_arrangement((3, 7, 10), wanted, 1, True) == Arrangement(samples=3, steps=7)
        assert find_arrangement((1, 10), wanted, 1, True) == Arrangement()

    @pytest.mark.parametrize(
        ("shape", "hint"),
        [
            ((8, 8, 3), r"NHWC data for an NCHW model. .*transpose\(2, 0, 1\)"),
            ((5, 8, 8, 3), r"transpose\(0, 3, 1, 2\)"),
            ((192,), "reshape it"),
            ((7, 192), "reshape it"),
            ((1, 3, 9, 9), "--shape x=1x3x9x9.*--preprocess"),
            ((3, 9, 9), "--shape x=1x3x9x9"),
            ((40, 1, 8, 8), "^If these are images"),
        ],
    )
    def test_a_wrong_shape_comes_with_what_was_probably_meant(self, shape, hint):
        error = wrong_shape("a.npy", shape, spec(), sequence=False)
        assert "a.npy" in error.what and "1x3x8x8" in error.why and error.details["got"] == list(shape)
        assert re.search(hint, error.fix)

    def test_elements_that_only_fit_over_all_samples_are_no_reason_to_reshape(self):
        fix = wrong_shape("a.npy", (40, 3, 32, 32), spec(shape=(1, 3, 64, 64)), sequence=False).fix
        assert "--shape x=1x3x32x32" in fix and "reshape" not in fix


class TestValues:
    @pytest.mark.parametrize(
        ("given_dtype", "wanted"),
        [
            ("float64", "float32"),
            ("float16", "float32"),
            (">f4", "float32"),
            ("int64", "int32"),
            ("int32", "int64"),
            ("uint8", "int64"),
            ("bool", "int64"),
            ("int64", "float32"),
            ("uint8", "uint8"),
        ],
    )
    def test_numbers_that_keep_their_value_are_converted(self, given_dtype, wanted):
        array = np.array([0, 1, 1, 0]).astype(given_dtype)
        result = fit(array, spec(wanted, (1, 4)), (1, 4), "a.npy")
        assert result.dtype == np.dtype(wanted) and result.dtype.isnative and result.tolist() == [[0, 1, 1, 0]]

    @pytest.mark.parametrize(
        ("array", "wanted", "message"),
        [
            (np.array([2**31]), "int32", "can't hold"),
            (np.array([-1]), "uint8", "can't hold"),
            (np.array([2**63], np.uint64), "int64", "can't hold"),
            (np.array([2**24 + 1]), "float32", "can't hold"),
            (np.array([1e300]), "float32", "can't hold"),
            (np.array([70000.0]), "float16", "can't hold"),
            (np.array([1.0]), "int64", r"x\.astype\('int64'\)"),
            (np.array([1]), "bool", r"x\.astype\(bool\)"),
            (np.array([0.0]), "string", "can't be calibrated"),
        ],
    )
    def test_numbers_that_would_change_are_refused(self, array, wanted, message):
        with pytest.raises(CalibrationDataError, match=message):
            fit(array, spec(wanted, (1,)), (1,), "a.npy")

    def test_raw_pixels_are_not_guessed_at(self):
        with pytest.raises(CalibrationDataError, match="--preprocess"):
            fit(np.zeros((3, 8, 8), np.uint8), spec(), (1, 3, 8, 8), "a.npy")

    @given(st.integers(0, 191), st.sampled_from([np.nan, np.inf, -np.inf]))
    def test_what_is_not_finite_is_named_with_its_index(self, at, value):
        array = np.zeros(192)
        array[at] = value
        index = list(np.unravel_index(at, (3, 8, 8)))
        with pytest.raises(CalibrationDataError, match=r"a\.npy holds values that are not finite") as caught:
            fit(array.reshape(3, 8, 8), spec(), (1, 3, 8, 8), "a.npy")
        assert f"at index {[int(i) for i in index]}; 1 of 192" in caught.value.why

    def test_arrays_in_fortran_order_keep_their_meaning(self):
        array = np.asfortranarray(np.arange(192.0).reshape(3, 8, 8))
        assert np.array_equal(fit(array, spec(), (1, 3, 8, 8), "a.npy")[0], array)
