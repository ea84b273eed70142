"""Tiles of depthwise convolutions: which ones there are, which is chosen, and that no result depends on them."""

from __future__ import annotations

import random

import pytest

from edgec.ir import kinds
from edgec.ir.kinds import Padding2D
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from edgec.backends.tvm.isa import NEEDED, named
from edgec.backends.tvm.kernels import depthwise_tiles
from edgec.backends.tvm.kernels.depthwise import Depthwise, Window
from edgec.backends.tvm.kernels.depthwise_tiles import Work, pixels_together, tiles
from edgec.backends.tvm.storage import Steps
from tests.backends.tvm.compiled import X86, differences, engine_of, runs_here


def kernel_of(isa, channels=144, side=14, window=(3, 3), stride=1):
    row = (side * stride + 4) * channels
    steps = Steps(0, row * stride, channels * stride)
    y, taps = Steps(0, side * channels, channels), Steps(0, row, channels)
    return Depthwise(1, side, side, steps, y, window, taps, 4 * isa.lanes, channels)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("stride", [1, 2])
def test_the_cheapest_tile_is_one_of_those_that_fit(name, stride):
    isa = named(name)
    for side in (1, 2, 7, 14):
        kernel = kernel_of(isa, side=side, window=(5, 5), stride=stride)
        found = list(tiles(kernel, isa))
        chosen = depthwise_tiles.cheapest(kernel, isa)
        assert chosen in found and len(set(found)) == len(found)
        assert depthwise_tiles.cost(chosen, isa) == min(depthwise_tiles.cost(tile, isa) for tile in found)
        for tile in found:
            assert tile.height <= side and tile.width * tile.pixels <= side
            assert 4 * tile.height * tile.width < isa.registers
            assert (tile.form == "apart") == (isa.apart is not None)


def test_pixels_are_taken_together_where_they_fill_vectors_better():
    isa = named("avx512_vnni")
    assert pixels_together(kernel_of(isa, channels=144)) == [1, 2, 3, 4]
    assert pixels_together(kernel_of(isa, channels=64)) == [1]
    assert pixels_together(kernel_of(isa, channels=16)) == [1, 2, 3, 4]
    assert pixels_together(kernel_of(isa, channels=144, stride=2)) == [1], "their windows are farther apart"


def test_work_is_what_a_tile_takes():
    """A 3x3 window, two rows of two results: 4 rows are interleaved, each of 4 columns."""
    isa = named("avx512_vnni")
    kernel = next(
        tile for tile in tiles(kernel_of(isa), isa) if (tile.height, tile.width, tile.form) == (2, 2, "columns")
    )
    work = Work.of(kernel, registers=32, pairs=False)
    assert work == Work(products=4 * 3 * 4, interleaved=4 * 8, loads=16, weights=4 * 3 * 2, results=4, beyond=0)


def test_a_window_that_fills_no_four_needs_less_interleaving():
    assert Window.of(5, 1, 1, 1).columns == (0, 1, 2, 3, 4, 4, 4, 4)
    assert Window.of(5, 1, 1, 2).columns == (0, 1, 2, 3, 4, 5, 4, 5)
    taps = [seen for four, _, seen in Window.of(5, 1, 1, 2).products if four]
    assert taps == [(4, -1, -1, -1), (3, 4, -1, -1)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.skipif(not runs_here(name), reason="lacking")) for name in X86]
)
def test_results_do_not_depend_on_tiles(tmp_path, monkeypatch, name):
    """Every layer with a tile of its own, drawn from all that fit."""
    draw = random.Random(name)
    monkeypatch.setattr(depthwise_tiles, "cheapest", lambda kernel, isa: draw.choice(list(tiles(kernel, isa))))
    cases = Cases(3)
    for channels, window, stride in (
        (144, 3, 1),
        (48, 5, 1),
        (16, 3, 1),
        (33, 3, 2),
        (96, 5, 1),
        (80, 5, 2),
        (24, 2, 1),
    ):
        for dilation in (1, 2) if stride == 1 else (1,):
            x = cases.activations((1, 9, 11, channels))
            around = Padding2D(1, 0, 2, 1)
            kind = kinds.Conv2D((stride, stride), (dilation, dilation), around, channels)
            cases.result(cases.product(kind, x, (window, window, 1), channels), f"{channels} {window} {stride}")
    graph = cases.finish()
    found = differences(graph, engine_of(graph, tmp_path, isa=name), cases.feeds(graph))
    assert {cases.labels[name]: count for name, count in found.items() if count} == {}
