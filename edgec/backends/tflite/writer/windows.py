"""Writing what slides a window over an image, or lays a new grid over it."""

from __future__ import annotations

from typing import Any

from edgec.backends.tflite.schema import PADDINGS, options
from edgec.backends.tflite.writer.graph_writer import Site, write_kind
from edgec.backends.tflite.writer.padding import scheme
from edgec.ir.kinds import AveragePool2D, MaxPool2D, ResizeBilinear, ResizeNearest


@write_kind.register
def _(kind: MaxPool2D, site: Site) -> None:
    assert kind.dilation == (1, 1), site.name
    site.emit("MAX_POOL_2D", _pool(kind, site))


@write_kind.register
def _(kind: AveragePool2D, site: Site) -> None:
    site.emit("AVERAGE_POOL_2D", _pool(kind, site))


@write_kind.register(ResizeNearest)
@write_kind.register(ResizeBilinear)
def _(kind: ResizeNearest | ResizeBilinear, site: Site) -> None:
    bilinear = isinstance(kind, ResizeBilinear)
    table = options(
        "ResizeBilinearOptions" if bilinear else "ResizeNearestNeighborOptions",
        alignCorners=kind.align_corners,
        halfPixelCenters=kind.half_pixel_centers,
    )
    operands = [*site.inputs, site.integers("size", kind.size)]
    site.emit("RESIZE_BILINEAR" if bilinear else "RESIZE_NEAREST_NEIGHBOR", table, inputs=operands)


def _pool(kind: MaxPool2D | AveragePool2D, site: Site) -> Any:
    padding = scheme(site.type(0).shape[1:3], kind.kernel, kind.stride, (1, 1), kind.padding)
    assert padding is not None, site.name  # the legal graph pads explicitly
    return options(
        "Pool2DOptions",
        padding=PADDINGS[padding],
        strideH=kind.stride[0],
        strideW=kind.stride[1],
        filterHeight=kind.kernel[0],
        filterWidth=kind.kernel[1],
    )
