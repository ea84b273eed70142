"""Tiles of dense products: which ones are chosen, and those that store several pixels at once or run over rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.backends.tvm.tiles import Core, cheapest_tile
from edgec.ir import kinds
from edgec.ir.kinds import Padding2D
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import HOST_RUNS_IT, differences, engine_of

runs = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")
CORE = Core(32, 2, 2, 2.5, 4, 0, (4.5, 6.5, 9), (6.5, 9), 20, 0, 1)


@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 5, 9, 72])
@pytest.mark.parametrize("columns", [1, 7, 14, 49, 12544])
@pytest.mark.parametrize("registers", [16, 32])
def test_a_tile_fits_into_registers_and_into_the_row(vectors, columns, registers):
    core = replace(CORE, registers=registers)
    width, most = cheapest_tile(core, vectors, columns, steps=16)
    assert 1 <= width <= columns and 1 <= most <= vectors
    assert width * most <= registers


def test_a_row_is_divided_without_computing_much_twice():
    width, _ = cheapest_tile(CORE, vectors=12, columns=49, steps=16)
    assert -(-49 // width) * width <= 50


def test_many_inputs_take_as_many_products_as_registers_allow():
    """A step of few products waits for loads, or for the sums of the step before."""
    width, most = cheapest_tile(CORE, vectors=4, columns=56, steps=144)
    assert width * most >= 14


@pytest.fixture
def cases():
    return Cases(0)


@runs
@pytest.mark.parametrize("activation", ["none", "relu6"])
def test_short_pixels_are_stored_several_at_once(tmp_path, cases, activation):
    for outputs in (1, 9, 16, 17, 32):
        for width in (1, 2, 3, 5, 14, 23):
            window = 3 if width > 3 else 1
            x = cases.activations((2, window, width, 12))
            kind = kinds.Conv2D(activation=activation)
            name = cases.product(kind, x, (window, window, 12), outputs)
            cases.result(name, f"{width - window + 1} pixels of {outputs}")
    assert_exact(cases, tmp_path)


@runs
def test_tiles_run_over_the_rows_of_a_result_with_a_border(tmp_path, cases):
    """A pointwise convolution, alone and with a sum, whose result is padded for the next layer."""
    for images, height, width, inputs, outputs in (
        (1, 7, 7, 24, 72),
        (1, 1, 9, 3, 20),
        (2, 5, 3, 16, 40),
        (1, 8, 2, 8, 8),
    ):
        x = cases.activations((images, height, width, inputs))
        wide = Padding2D(1, 2, 2, 1)
        first = cases.product(kinds.Conv2D(), x, (1, 1, inputs), outputs)
        y = cases.product(kinds.Conv2D(padding=wide, groups=outputs), first, (3, 3, 1), outputs)
        cases.result(y, f"{images} x {height} x {width} of {inputs} to {outputs}")
        square = cases.product(kinds.Conv2D(), y, (1, 1, outputs), outputs)
        total = cases.sum(square, y)
        last = cases.product(kinds.Conv2D(padding=wide), total, (2, 2, outputs), 5)
        cases.result(last, f"a sum of {images} x {height} x {width} of {outputs}")
    assert_exact(cases, tmp_path)


def assert_exact(cases: Cases, folder) -> None:
    graph = cases.finish()
    found = differences(graph, engine_of(graph, folder), cases.feeds(graph))
    assert not {cases.labels[name]: count for name, count in found.items() if count}
