"""Writing what moves elements."""

from __future__ import annotations

import numpy as np

from edgec.backends.tflite.schema import generated, options
from edgec.backends.tflite.writer.graph_writer import Site, Tensor, write_kind
from edgec.ir.graph import TensorType
from edgec.ir.kinds import (
    BroadcastTo,
    Concat,
    DepthToSpace,
    Gather,
    GatherND,
    OneHot,
    Pad,
    Reshape,
    Reverse,
    ScatterND,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
)

_SHAPE_IN_OPTIONS = 8
"""Dimensions that a reader takes from RESHAPE's options; it refuses the file for more."""


@write_kind.register
def _(kind: Reshape, site: Site) -> None:
    if not kind.shape:  # an empty shape would be a constant without data
        site.emit("SQUEEZE", options("SqueezeOptions", squeezeDims=np.array([], np.int32)))
        return
    told = kind.shape if len(kind.shape) <= _SHAPE_IN_OPTIONS else ()  # the operand counts
    table = options("ReshapeOptions", newShape=np.array(told, np.int32))
    site.emit("RESHAPE", table, inputs=[*site.inputs, site.integers("shape", kind.shape)])


@write_kind.register
def _(kind: Transpose, site: Site) -> None:
    permutation = site.integers("permutation", kind.permutation)
    site.emit("TRANSPOSE", options("TransposeOptions"), inputs=[*site.inputs, permutation])


@write_kind.register
def _(kind: Concat, site: Site) -> None:
    site.emit("CONCATENATION", options("ConcatenationOptions", axis=kind.axis))


@write_kind.register
def _(kind: Split, site: Site) -> None:
    axis, count = site.number("axis", kind.axis), len(kind.sizes)
    if len(set(kind.sizes)) == 1 and site.type(0).dtype != "int64":  # 2.14 has no SPLIT of int64
        site.emit("SPLIT", options("SplitOptions", numSplits=count), inputs=[axis, *site.inputs])
    else:
        sizes = site.integers("sizes", kind.sizes)
        site.emit("SPLIT_V", options("SplitVOptions", numSplits=count), inputs=[*site.inputs, sizes, axis])


@write_kind.register
def _(kind: Slice, site: Site) -> None:
    if all(stride == 1 for stride in kind.stride):
        begin = site.integers("begin", kind.begin)
        size = site.integers("size", site.result.shape)
        site.emit("SLICE", options("SliceOptions"), inputs=[*site.inputs, begin, size])
        return
    to_the_end = sum(1 << axis for axis, end in enumerate(kind.end) if end < 0)
    ranges = [
        site.integers(name, values)
        for name, values in (("begin", kind.begin), ("end", kind.end), ("stride", kind.stride))
    ]
    site.emit("STRIDED_SLICE", options("StridedSliceOptions", endMask=to_the_end), inputs=[*site.inputs, *ranges])


@write_kind.register
def _(kind: Pad, site: Site) -> None:
    amounts = site.writer.constant(
        f"{site.name}/padding", np.array(list(zip(kind.before, kind.after, strict=True)), np.int32)
    )
    if kind.mode != "constant":
        modes = {"reflect": generated.MirrorPadMode.REFLECT, "symmetric": generated.MirrorPadMode.SYMMETRIC}
        table = options("MirrorPadOptions", mode=modes[kind.mode])
        site.emit("MIRROR_PAD", table, inputs=[*site.inputs, amounts])
        return
    value = padding_value(kind, site.type(0))
    quantization = site.type(0).quantization
    if value == (quantization.zero_point[0] if quantization is not None else 0):
        site.emit("PAD", options("PadOptions"), inputs=[*site.inputs, amounts])
    else:
        constant = site.writer.constant(f"{site.name}/value", value.reshape(1), quantization)
        site.emit("PADV2", options("PadV2Options"), inputs=[*site.inputs, amounts, constant])


def padding_value(kind: Pad, x: TensorType) -> np.ndarray:
    """What a Pad writes around x, as a scalar of x's own dtype."""
    if x.quantization is None:
        return np.array(kind.value, x.dtype)
    limits = np.iinfo(x.dtype)
    steps = np.rint(np.float32(kind.value) / np.float32(x.quantization.scale[0])) + x.quantization.zero_point[0]
    return np.array(np.clip(steps, limits.min, limits.max), x.dtype)


@write_kind.register
def _(kind: Gather, site: Site) -> None:
    site.emit("GATHER", options("GatherOptions", axis=kind.axis, batchDims=kind.batch_dims))


@write_kind.register
def _(kind: GatherND, site: Site) -> None:
    site.emit("GATHER_ND", options("GatherNdOptions"))


@write_kind.register
def _(kind: ScatterND, site: Site) -> None:
    indices, updates = site.input(1), site.input(2)  # what is scattered into is zeros, in a legal graph
    shape = site.integers("shape", site.result.shape)
    site.emit("SCATTER_ND", options("ScatterNdOptions"), inputs=[indices, updates, shape])


@write_kind.register
def _(kind: Tile, site: Site) -> None:
    site.emit("TILE", options("TileOptions"), inputs=[*site.inputs, site.integers("repeats", kind.repeats)])


@write_kind.register
def _(kind: BroadcastTo, site: Site) -> None:
    operands = [*site.inputs, site.integers("shape", kind.shape)]
    site.emit("BROADCAST_TO", options("BroadcastToOptions"), inputs=operands)


@write_kind.register
def _(kind: OneHot, site: Site) -> None:
    indices, on, off = site.inputs
    depth: Tensor = site.number("depth", kind.depth)
    site.emit("ONE_HOT", options("OneHotOptions", axis=kind.axis), inputs=[indices, depth, on, off])


@write_kind.register
def _(kind: Reverse, site: Site) -> None:
    site.emit("REVERSE_V2", options("ReverseV2Options"), inputs=[*site.inputs, site.integers("axes", kind.axes)])


@write_kind.register
def _(kind: DepthToSpace, site: Site) -> None:
    site.emit("DEPTH_TO_SPACE", options("DepthToSpaceOptions", blockSize=kind.block))


@write_kind.register
def _(kind: SpaceToDepth, site: Site) -> None:
    site.emit("SPACE_TO_DEPTH", options("SpaceToDepthOptions", blockSize=kind.block))
