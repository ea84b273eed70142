"""The table of layers and the histograms that a report shows of a quantized model."""

import numpy as np

from edgec.quantization.layer_table import COLUMNS, MOST_RANGES, layers, ranges
from edgec.quantization.qparams import QParams
from edgec.quantization.recipe import Recipe
from tests.quantization.shop import PLAIN, mlp, outlier_net, workshop

RECIPE = Recipe("strict", "minmax")


def made(shop, recipe=RECIPE):
    placement = shop.place(recipe)
    return shop.variant(recipe), placement, shop.scales(recipe, placement).slots


def test_layers_come_in_the_graphs_order_with_their_precision_and_cost():
    shop = workshop(mlp(PLAIN), keep_float=["last"])
    variant, placement, scales = made(shop, Recipe("strict", "minmax", keep_float=frozenset({"last"})))
    table = layers(variant.graph, placement, scales, shop.cost, {"first": 31.234})
    assert [(row["node"], row["fused"], row["precision"]) for row in table] == [
        ("first", ["Relu"], "int8"),
        ("last", [], "float"),
    ]
    assert [row["isolated_db"] for row in table] == [31.23, None]
    assert sum(row["macs"] for row in table) == shop.macs


def test_a_layer_with_wider_integers_says_so():
    shop = workshop(mlp(PLAIN))
    variant, placement, scales = made(shop)
    wide = {slot: QParams(p.scale, 0, 16) if slot == "m" else p for slot, p in scales.items()}
    assert [row["precision"] for row in layers(variant.graph, placement, wide, shop.cost, {})] == ["int16", "int16"]


def test_ranges_of_the_weakest_layer_come_first_with_all_values_in_their_columns():
    shop = workshop(outlier_net())
    variant, placement, scales = made(shop)
    found = ranges(placement, scales, variant.statistics, ["narrow"])
    assert [item["why"] for item in found[:2]] == ["read by narrow", "written by narrow"]
    for item in found:
        seen = variant.statistics[item["tensor"]]
        histogram, grid = item["histogram"], item["grid"]
        assert len(histogram["counts"]) == COLUMNS
        assert sum(histogram["counts"]) == seen.histogram.sum()
        assert histogram["low"] <= min(grid["low"], item["minimum"])
        assert histogram["high"] >= max(grid["high"], item["maximum"])
        assert item["clipped_share"] == 0  # min and max were the range


def test_what_a_range_leaves_out_is_counted_and_shown():
    shop = workshop(mlp(PLAIN))
    variant, placement, scales = made(shop)
    seen = variant.statistics["x"]
    half = QParams(scales["x"].scale / 2, 0)
    found = ranges(placement, {**scales, "x": half}, variant.statistics, [])
    (item,) = found
    assert (item["tensor"], item["why"]) == ("x", "clipped")
    outside = np.abs(seen.bin_centers()) > half.high
    assert item["clipped_share"] > 0.001
    assert abs(item["clipped_share"] - seen.histogram[outside].sum() / seen.histogram.sum()) < 0.01
    assert len(found) <= MOST_RANGES
