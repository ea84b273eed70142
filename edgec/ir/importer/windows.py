"""Pools, Resize, DepthToSpace and SpaceToDepth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgec.ir.importer import resizing
from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport
from edgec.ir.importer.resizing import Axis
from edgec.ir.importer.spatial import (
    Windows,
    add_on_image,
    from_image,
    padding,
    spatial_sizes,
    to_image,
    two,
    windows,
)
from edgec.ir.kinds import (
    AveragePool2D,
    Binary,
    Conv2D,
    DepthToSpace,
    FullyConnected,
    Gather,
    MaxPool2D,
    Pad,
    Reduce,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    SpaceToDepth,
    Transpose,
)

# --- pools ---


@imports("MaxPool")
def _max_pool(item: NodeImport) -> None:
    item.require_float(0)
    if len(item.outputs) > 1 and item.outputs[1]:
        item.refuse("the positions of its largest elements are asked for", "Leave its second result out.")
    rank = len(spatial_sizes(item, 0))
    found = windows(item, item.attribute("kernel_shape"))
    after = [a + b for a, b in zip(found.after, found.beyond, strict=True)]
    kind = MaxPool2D(two(found.kernel), two(found.stride), two(found.dilation), padding(found.before, after))
    add_on_image(item, kind, [to_image(item, item.operand(0))], 2 + rank)


@imports("AveragePool")
def _average_pool(item: NodeImport) -> None:
    item.require_float(0)
    rank = len(spatial_sizes(item, 0))
    found = windows(item, item.attribute("kernel_shape"))
    image = to_image(item, item.operand(0))
    if item.attribute("count_include_pad", 0):
        lies = padding(found.before, found.after)
        if lies.any:  # what is counted becomes part of the image; what ceil mode adds is never counted
            pad = Pad((0, lies.top, lies.left, 0), (0, lies.bottom, lies.right, 0))
            image = item.add(pad, [image], item.between("padded"))
        nothing = (0,) * rank
        found = Windows(found.kernel, found.stride, found.dilation, nothing, nothing, found.beyond)
    lies = padding(found.before, [a + b for a, b in zip(found.after, found.beyond, strict=True)])
    kernel, stride, dilation = two(found.kernel), two(found.stride), two(found.dilation)
    if dilation == (1, 1):
        add_on_image(item, AveragePool2D(kernel, stride, lies), [image], 2 + rank)
        return
    # There is no average of windows with gaps: a convolution adds up, and how many it adds up is known.
    _, rows, columns, channels = item.type(image).shape
    ones = item.add_constant("ones", np.ones((channels, *kernel, 1), np.float32))
    sums = item.add(
        Conv2D(stride, dilation, lies, groups=channels),
        [image, ones],
        item.between("sums"),
    )
    counts = np.outer(
        _inside(rows, kernel[0], stride[0], dilation[0], lies.top, lies.bottom),
        _inside(columns, kernel[1], stride[1], dilation[1], lies.left, lies.right),
    )
    share = item.add_constant("share", (1 / counts).astype(np.float32)[None, :, :, None])
    add_on_image(item, Binary("mul"), [sums, share], 2 + rank)


def _inside(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> np.ndarray:
    """How many rows of each window lie inside of the image: float64 [windows]."""
    starts = np.arange(-before, size + after - (kernel - 1) * dilation, stride)
    rows = starts[:, None] + np.arange(kernel) * dilation
    return np.asarray(((rows >= 0) & (rows < size)).sum(axis=1).astype(np.float64))


@imports("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(item: NodeImport) -> None:
    item.require_float(0)
    axes = tuple(range(2, item.type(item.operand(0)).rank))
    function = "mean" if item.node.op_type == "GlobalAveragePool" else "max"
    item.add(Reduce(function, axes, keepdims=True), [item.operand(0)])  # type: ignore[arg-type]


# --- Resize ---


@imports("Resize")
def _resize(item: NodeImport) -> None:
    item.require_float(0)
    mode = item.attribute("mode", "nearest")
    axes = _axes(item)
    transformation = item.attribute("coordinate_transformation_mode", "half_pixel")
    if item.attribute("antialias", 0) and mode != "nearest" and any(axis.scale < 1 for axis in axes.values()):
        item.refuse("it smooths before it makes the image smaller (antialias)", "Export it with antialias=0.")
    places = {number: resizing.coordinates(axis, transformation) for number, axis in axes.items()}
    if transformation == "tf_crop_and_resize":
        for number, place in places.items():
            if place.min() < 0 or place.max() > axes[number].size - 1:
                item.refuse("its region of interest reaches outside of the image", "Choose one inside, or use a Pad.")
    if not axes:
        item.rename(item.operand(0))
    elif mode == "nearest":
        _resize_nearest(item, axes, places)
    else:
        _resize_by_matrix(item, mode, axes, places)


def _axes(item: NodeImport) -> dict[int, Axis]:
    """The axes that a Resize changes."""
    shape = item.type(item.operand(0)).shape
    rank = len(shape)
    chosen = [int(axis) % rank for axis in item.attribute("axes") or range(rank)]
    sizes = [shape[axis] for axis in chosen]
    if item.has(3):
        wanted = [int(size) for size in item.required_constant(3, "size")]
        scales = [new / old for new, old in zip(wanted, sizes, strict=True)]
        policy = item.attribute("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            scale = min(scales) if policy == "not_larger" else max(scales)
            wanted = [int(np.floor(scale * size + 0.5)) for size in sizes]
            scales = [scale] * len(chosen)
    else:
        given = item.required_constant(2, "scale")
        scales = [float(scale) for scale in given]
        wanted = [int(np.floor(np.float32(scale) * np.float32(size))) for scale, size in zip(given, sizes, strict=True)]
    region = [0.0] * len(chosen) + [1.0] * len(chosen)
    if item.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        region = [float(value) for value in item.required_constant(1, "region of interest")]
    return {
        axis: Axis(sizes[i], wanted[i], scales[i], region[i], region[len(chosen) + i])
        for i, axis in enumerate(chosen)
        if wanted[i] != sizes[i] or scales[i] != 1 or (region[i], region[len(chosen) + i]) != (0.0, 1.0)
    }


def _resize_nearest(item: NodeImport, axes: dict[int, Axis], places: dict[int, np.ndarray]) -> None:
    rounding = item.attribute("nearest_mode", "round_prefer_floor")
    taken = {number: resizing.nearest_positions(places[number], axis.size, rounding) for number, axis in axes.items()}
    for align_corners, half_pixel in _KERNEL_MODES:
        if (image := _image_axes(item, axes)) and all(
            np.array_equal(taken[number], resizing.kernel_positions(axis, align_corners, half_pixel))
            for number, axis in image.items()
            if number in taken
        ):
            _resize_image(item, ResizeNearest(_size(image), align_corners, half_pixel))
            return
    value = item.operand(0)
    for number, positions in taken.items():
        index = item.add_constant(f"positions{number}", positions.astype(np.int32))
        value = item.add(Gather(number), [value, index], _name(item, taken, number))


def _resize_by_matrix(item: NodeImport, mode: str, axes: dict[int, Axis], places: dict[int, np.ndarray]) -> None:
    """Linear by the kernel that computes it, where there is one; else as a product with a matrix along each axis."""
    if mode == "linear":
        matrices = {number: resizing.linear_matrix(places[number], axis.size) for number, axis in axes.items()}
        for align_corners, half_pixel in _KERNEL_MODES:
            if (image := _image_axes(item, axes)) and all(
                np.allclose(matrices[number], _kernel_matrix(axis, align_corners, half_pixel), rtol=0, atol=_EQUAL)
                for number, axis in image.items()
                if number in matrices
            ):
                _resize_image(item, ResizeBilinear(_size(image), align_corners, half_pixel))
                return
    else:
        a, exclude = float(item.attribute("cubic_coeff_a", -0.75)), bool(item.attribute("exclude_outside", 0))
        matrices = {
            number: resizing.cubic_matrix(places[number], axis.size, a, exclude) for number, axis in axes.items()
        }
    value = item.operand(0)
    rank = item.type(value).rank
    for number, matrix in matrices.items():
        weights = item.add_constant(f"matrix{number}", matrix)
        name = _name(item, matrices, number)
        if number == rank - 1:
            value = item.add(FullyConnected(), [value, weights], name)
            continue
        swap = list(range(rank))
        swap[number], swap[-1] = rank - 1, number
        turned = item.add(Transpose(tuple(swap)), [value], item.between(f"turned{number}"))
        product = item.add(FullyConnected(), [turned, weights], item.between(f"product{number}"))
        value = item.add(Transpose(tuple(swap)), [product], name)


_KERNEL_MODES = ((False, False), (False, True), (True, False))
"""align_corners and half_pixel_centers of the kernels; they can't be asked for together."""

_EQUAL = 1e-5
"""Shares of neighbours that differ by less are the same: coordinates in float32 of images of any practical size."""


def _kernel_matrix(axis: Axis, align_corners: bool, half_pixel: bool) -> np.ndarray:
    return resizing.linear_matrix(resizing.kernel_coordinates(axis, align_corners, half_pixel), axis.size)


def _image_axes(item: NodeImport, axes: dict[int, Axis]) -> dict[int, Axis]:
    """Both (or the only) spatial axes, also one that stays as it is; none where the operand is no image, or other
    axes change."""
    shape = item.type(item.operand(0)).shape
    if len(shape) not in (3, 4) or min(axes) < 2:
        return {}
    return {axis: axes.get(axis) or Axis(shape[axis], shape[axis], 1.0) for axis in range(2, len(shape))}


def _size(image: dict[int, Axis]) -> tuple[int, int]:
    return two([axis.resized for axis in image.values()])


def _resize_image(item: NodeImport, kind: ResizeNearest | ResizeBilinear) -> None:
    add_on_image(item, kind, [to_image(item, item.operand(0))], item.type(item.operand(0)).rank)


def _name(item: NodeImport, axes: Iterable[int], number: int) -> str:
    """The node's result for the last axis; a name in between for those before it."""
    return item.outputs[0] if number == list(axes)[-1] else item.between(f"along{number}")


# --- blocks of pixels and channels ---


@imports("DepthToSpace")
def _depth_to_space(item: NodeImport) -> None:
    block = int(item.attribute("blocksize"))
    image = to_image(item, item.operand(0))
    if item.attribute("mode", "DCR") == "CRD":  # channels ordered (channel, row, column) become (row, column, channel)
        image = _turned_channels(item, image, item.type(image).shape[3] // block**2, block**2)
    add_on_image(item, DepthToSpace(block), [image], 4)


@imports("SpaceToDepth")
def _space_to_depth(item: NodeImport) -> None:
    block = int(item.attribute("blocksize"))
    image = item.add(SpaceToDepth(block), [to_image(item, item.operand(0))], item.between("nhwc"))
    if item.attribute("mode", "DCR") == "CRD":
        image = _turned_channels(item, image, block**2, item.type(image).shape[3] // block**2)
    from_image(item, image, 4)


def _turned_channels(item: NodeImport, image: str, outer: int, inner: int) -> str:
    """Channels ordered (outer, inner) as (inner, outer)."""
    batch, rows, columns, channels = item.type(image).shape
    split = item.add(Reshape((batch * rows * columns, outer, inner)), [image], item.between("blocks"))
    turned = item.add(Transpose((0, 2, 1)), [split], item.between("turned"))
    return item.add(Reshape((batch, rows, columns, channels)), [turned], item.between("ordered"))
