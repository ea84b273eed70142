"""Pools and Resize compute what ONNX Runtime computes, by a kernel that devices have wherever one is the same."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edgec.errors import UnsupportedOp
from edgec.ir.kinds import AveragePool2D, MaxPool2D
from tests.ir.importer.comparison import agree, assert_same_as_onnxruntime, imported, labels, model_of, node

# --- pools ---

POOLS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 7, 6), {"kernel_shape": [3, 2]}),
    "strides": ((1, 3, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 3]}),
    "dilations": ((1, 3, 9, 8), {"kernel_shape": [3, 2], "dilations": [2, 3]}),
    "dilations and pads": ((1, 3, 9, 8), {"kernel_shape": [3, 3], "dilations": [2, 2], "pads": [2, 1, 1, 2]}),
    "pads": ((1, 3, 5, 6), {"kernel_shape": [3, 3], "pads": [1, 2, 0, 1], "strides": [2, 2]}),
    "same upper": ((1, 3, 7, 8), {"kernel_shape": [4, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 3, 7, 8), {"kernel_shape": [4, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((1, 3, 7, 8), {"kernel_shape": [4, 3], "auto_pad": "VALID", "strides": [2, 2]}),
    "ceil": ((1, 3, 8, 7), {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}),
    "ceil and pads": ((1, 3, 8, 7), {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    "ceil, last window outside": ((1, 3, 4, 4), {"kernel_shape": [1, 1], "strides": [2, 2], "ceil_mode": 1}),
    "ceil, last window in padding": (
        (1, 2, 2, 2), {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    ),
    "1-D": ((2, 3, 9), {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}),
    "1-D ceil": ((2, 3, 8), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", POOLS)
def test_max_pool(case: str) -> None:
    shape, attributes = POOLS[case]
    graph = agree(node("MaxPool", ["x"], **attributes), {"x": shape}, opset=22)
    assert len([operation for operation in graph.operations if isinstance(operation.kind, MaxPool2D)]) == 1


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("case", POOLS)
def test_average_pool(case: str, count_include_pad: int) -> None:
    shape, attributes = POOLS[case]
    item = node("AveragePool", ["x"], count_include_pad=count_include_pad, **attributes)
    graph = agree(item, {"x": shape}, opset=22)
    averaged = [operation for operation in graph.operations if isinstance(operation.kind, AveragePool2D)]
    assert len(averaged) == (0 if "dilations" in attributes else 1)


def test_positions_of_a_max_pool_are_refused() -> None:
    item = node("MaxPool", ["x"], ["y", "where"], kernel_shape=[2, 2])
    with pytest.raises(UnsupportedOp, match="positions of its largest"):
        imported(model_of(item, {"x": (1, 3, 4, 4)}, outputs=("y", "where")))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (2, 3, 5, 4, 2)])
@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools_reduce_in_the_order_of_the_model(op: str, shape: tuple[int, ...]) -> None:
    graph = agree(node(op, ["x"]), {"x": shape})
    assert labels(graph) == ["reduce_mean" if op == "GlobalAveragePool" else "reduce_max"]


# --- Resize ---

SIZES = [(4, 8), (4, 12), (6, 3), (5, 7), (7, 5), (3, 1), (1, 4), (9, 3), (10, 16), (5, 5)]


def _resized(rank: int, size: tuple[int, int], by: str, opset: int = 19, **attributes: Any) -> Any:
    """A model that resizes the last two (or the only) spatial dimensions."""
    before, after = size
    shape = (1, 2, *([before + 1] if rank == 4 else []), before)
    wanted = (1, 2, *([after + 2] if rank == 4 else []), after)
    if by == "sizes":
        return model_of(
            node("Resize", ["x", "", "", "sizes"], **attributes),
            {"x": shape},
            {"sizes": np.array(wanted, np.int64)},
            opset=opset,
        )
    scales = np.array([new / old for new, old in zip(wanted, shape, strict=True)], np.float32)
    return model_of(node("Resize", ["x", "", "scales"], **attributes), {"x": shape}, {"scales": scales}, opset=opset)


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("nearest_mode", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize_nearest(coordinates: str, nearest_mode: str, rank: int) -> None:
    for size, by in itertools.product(SIZES, ("sizes", "scales")):
        model = _resized(
            rank, size, by, mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=nearest_mode
        )
        assert_same_as_onnxruntime(model, tolerance=0)


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize_linear(coordinates: str) -> None:
    for size, by in itertools.product(SIZES, ("sizes", "scales")):
        model = _resized(4, size, by, mode="linear", coordinate_transformation_mode=coordinates)
        assert_same_as_onnxruntime(model, tolerance=1e-5)


@pytest.mark.parametrize("exclude_outside", [0, 1])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize_cubic(coordinates: str, exclude_outside: int) -> None:
    for size, by in itertools.product(SIZES, ("sizes", "scales")):
        model = _resized(
            4, size, by, mode="cubic", coordinate_transformation_mode=coordinates, exclude_outside=exclude_outside
        )
        assert_same_as_onnxruntime(model, tolerance=2e-5)


@pytest.mark.parametrize(
    ("mode", "coordinates", "nearest_mode", "kind"),
    [
        ("nearest", "asymmetric", "floor", "ResizeNearest"),
        ("nearest", "half_pixel", "round_prefer_floor", "ResizeNearest"),
        ("nearest", "half_pixel", "round_prefer_ceil", "ResizeNearest"),
        ("nearest", "align_corners", "round_prefer_ceil", "ResizeNearest"),
        ("nearest", "asymmetric", "ceil", "Gather"),
        ("linear", "asymmetric", None, "ResizeBilinear"),
        ("linear", "half_pixel", None, "ResizeBilinear"),
        ("linear", "pytorch_half_pixel", None, "ResizeBilinear"),
        ("linear", "align_corners", None, "ResizeBilinear"),
        ("cubic", "half_pixel", None, "FullyConnected"),
    ],
)
def test_an_image_twice_as_large_is_resized_by_a_kernel_where_there_is_one(
    mode: str, coordinates: str, nearest_mode: str | None, kind: str
) -> None:
    item = node(
        "Resize",
        ["x", "", "scales"],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=nearest_mode,
    )
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    graph = agree(item, {"x": (1, 3, 6, 5)}, scales, tolerance=1e-5)
    assert kind in labels(graph)


def test_a_scale_that_is_not_the_ratio_of_sizes_counts() -> None:
    for mode in ("nearest", "linear", "cubic"):
        scales = {"scales": np.array([1, 1, 1.3, 0.7], np.float32)}
        agree(node("Resize", ["x", "", "scales"], mode=mode), {"x": (1, 3, 8, 9)}, scales, tolerance=1e-5)


def test_a_resize_to_the_same_size_does_nothing() -> None:
    graph = assert_same_as_onnxruntime(_resized(3, (5, 5), "scales", mode="nearest"))
    assert labels(graph) == ["Reshape"]


def test_channels_can_be_resized() -> None:
    scales = {"scales": np.array([1, 2, 2, 1], np.float32)}
    graph = agree(node("Resize", ["x", "", "scales"]), {"x": (1, 3, 4, 5)}, scales)
    assert labels(graph) == ["Gather", "Gather"]


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_sizes_of_some_axes(mode: str, policy: str) -> None:
    item = node("Resize", ["x", "", "", "sizes"], mode=mode, axes=[2, 3], keep_aspect_ratio_policy=policy)
    sizes = {"sizes": np.array([7, 11], np.int64)}
    agree(item, {"x": (1, 3, 4, 5)}, sizes, opset=19, tolerance=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_region_inside_of_the_image_is_resized(mode: str) -> None:
    item = node("Resize", ["x", "roi", "", "sizes"], mode=mode, coordinate_transformation_mode="tf_crop_and_resize")
    roi = np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 0.7], np.float32)
    constants = {"roi": roi, "sizes": np.array([1, 3, 5, 4], np.int64)}
    agree(item, {"x": (1, 3, 8, 9)}, constants, tolerance=1e-5)
    outside = {**constants, "roi": np.array([0, 0, -0.5, 0.1, 1, 1, 0.8, 1.7], np.float32)}
    with pytest.raises(UnsupportedOp, match="region of interest reaches outside"):
        imported(model_of(item, {"x": (1, 3, 8, 9)}, outside))


def test_smoothing_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="antialias"):
        imported(_resized(4, (8, 4), "sizes", mode="linear", antialias=1))


# --- blocks ---


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_to_space(mode: str, block: int) -> None:
    item = node("DepthToSpace", ["x"], blocksize=block, mode=mode)
    agree(item, {"x": (2, 5 * block**2, 3, 4)}, tolerance=0)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth(block: int) -> None:
    item = node("SpaceToDepth", ["x"], blocksize=block)
    agree(item, {"x": (2, 5, 3 * block, 4 * block)}, tolerance=0)
