"""The algebra of orders, against numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgec.ir.passes.layout.orders import (
    between,
    channels_last,
    compose,
    identity,
    inverse,
    order_name,
    permuted,
    significant,
)

TENSOR = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("first", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("second", list(itertools.permutations(range(3))))
def test_orders_compose_as_transposes_do(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    twice = TENSOR.transpose(first).transpose(second)
    np.testing.assert_array_equal(twice, TENSOR.transpose(compose(first, second)))
    np.testing.assert_array_equal(TENSOR, TENSOR.transpose(first).transpose(inverse(first)))
    moved = TENSOR.transpose(first).transpose(between(first, second))
    np.testing.assert_array_equal(moved, TENSOR.transpose(second))
    assert permuted(TENSOR.shape, first) == TENSOR.transpose(first).shape


def test_dimensions_of_one_element_do_not_count() -> None:
    assert significant((1, 6, 1, 1), (0, 2, 3, 1)) == significant((1, 6, 1, 1), identity(4))
    assert significant((1, 6, 1, 2), (0, 2, 3, 1)) != significant((1, 6, 1, 2), identity(4))


def test_orders_have_names() -> None:
    assert [order_name(channels_last(rank)) for rank in (3, 4, 5)] == ["nlc", "nhwc", "ndhwc"]
    assert order_name((0, 2, 1, 3)) == "0213"
    assert channels_last(2) == (0, 1)
