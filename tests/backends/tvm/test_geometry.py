"""Where products read and write: which pixels are taken as one long row."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.kinds import Padding2D

pytest.importorskip("tvm")

from edgec.backends.tvm.lowering.geometry import Geometry, arranged, as_convolution
from edgec.backends.tvm.storage import Steps, Storage

POINT, WINDOW = np.zeros((32, 1, 1, 16), np.int8), np.zeros((32, 3, 3, 16), np.int8)
X = Storage((2, 7, 8, 16), "int8", 16)
Y = Storage((2, 7, 8, 32), "int8", 32)
BORDERED = Storage(Y.shape, "int8", 32, Padding2D(1, 1, 1, 1))


def of(x: Storage, y: Storage, *others: Storage, kind: kinds.Conv2D | None = None) -> Geometry:
    return Geometry.of(kind or kinds.Conv2D(), x, y, [other.steps for other in others])


def one_image(storage: Storage) -> Storage:
    return Storage((1, *storage.shape[1:]), storage.dtype, storage.pixel, storage.border)


def test_pixels_one_after_the_other_are_one_row_across_rows_and_images():
    geometry, _ = arranged(of(X, Y, Y), POINT)
    assert geometry.shape == (1, 1, 112)
    assert (geometry.x.column, geometry.y.column, geometry.others[0].column) == (16, 32, 32)


@pytest.mark.parametrize("places", [(X, BORDERED), (X, Y, BORDERED)], ids=["result", "what is added"])
def test_a_border_keeps_rows_apart(places):
    geometry = of(*places)
    assert arranged(geometry, POINT)[0] == geometry


def test_a_stride_keeps_rows_apart():
    half = Storage((2, 4, 8, 32), "int8", 32)
    geometry = of(X, half, kind=kinds.Conv2D(stride=(2, 1)))
    assert arranged(geometry, POINT)[0].shape == (2, 4, 8)


def test_a_window_keeps_rows_apart():
    assert arranged(of(X, Y), WINDOW)[0].shape == (2, 7, 8)


def test_what_is_read_as_one_row_wraps_where_the_result_has_a_border():
    geometry = of(one_image(X), one_image(BORDERED)).wrapped
    assert (geometry.shape, geometry.wrap) == ((1, 1, 56), 8)
    assert geometry.y == one_image(BORDERED).steps, "its rows are found by these"
    assert arranged(geometry, POINT)[0] == geometry


@pytest.mark.parametrize("places", [(X, BORDERED), (one_image(X), one_image(Y)), (one_image(BORDERED), one_image(Y))])
def test_nothing_else_wraps(places):
    """Several images; where all lies in one row; where what is read does not."""
    geometry = of(*places)
    assert geometry.wrapped is geometry


def test_a_column_of_pixels_takes_columns_for_rows_and_turns_its_weights():
    x, y = Storage((1, 9, 1, 16), "int8", 16, Padding2D(1, 1, 1, 1)), Storage((1, 9, 1, 32), "int8", 32)
    weights = np.arange(32 * 3 * 2 * 16).reshape(32, 3, 2, 16)
    geometry, turned = arranged(of(x, y), weights)
    assert geometry.shape == (1, 1, 9)
    assert geometry.x == Steps(x.steps.image, x.steps.column, x.steps.row)
    np.testing.assert_array_equal(turned, weights.swapaxes(1, 2))


def test_a_fully_connected_layer_is_a_convolution_of_one_pixel():
    assert as_convolution(kinds.FullyConnected("relu")) == kinds.Conv2D(activation="relu")
