"""What convolutions and pools share: images in N, H, W, C, and where their windows lie.

ONNX has N, C and then any number of spatial dimensions; here there are one (written as a row, H = 1) or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.ir.importer.node import NodeImport
from edgec.ir.kinds import Kind, Padding2D, Reshape, Transpose


@dataclass(frozen=True)
class Windows:
    """Windows over the spatial dimensions of an image, each a tuple of one or two.

    before, after: padding, with what `auto_pad` means written out. beyond: rows and columns that ceil mode lets the
    last window reach over the padding.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    beyond: tuple[int, ...]


def windows(item: NodeImport, kernel: Sequence[int]) -> Windows:
    """The windows of a Conv or a pool of `kernel` over its first operand, as its attributes place them."""
    sizes = spatial_sizes(item, 0)
    rank = len(sizes)
    stride = spatial_attribute(item, "strides", rank)
    dilation = spatial_attribute(item, "dilations", rank)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    automatic = item.attribute("auto_pad", "NOTSET")
    beyond = [0] * rank
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        given = [
            split_padding(max((-(-size // step) - 1) * step + length - size, 0), automatic)
            for size, step, length in zip(sizes, stride, reach, strict=True)
        ]
        before, after = [first for first, _ in given], [last for _, last in given]
    else:
        before, after = explicit_pads(item, rank) if automatic == "NOTSET" else ([0] * rank, [0] * rank)
        if item.attribute("ceil_mode", 0):
            for i, size in enumerate(sizes):
                padded = size + before[i] + after[i]
                count = -(-(padded - reach[i]) // stride[i]) + 1
                if (count - 1) * stride[i] >= size + before[i]:  # a window that lies beyond the image is left out
                    count -= 1
                beyond[i] = max((count - 1) * stride[i] + reach[i] - padded, 0)
    return Windows(tuple(kernel), stride, dilation, tuple(before), tuple(after), tuple(beyond))


def spatial_sizes(item: NodeImport, position: int) -> tuple[int, ...]:
    """The sizes of an image's spatial dimensions, of which there are one or two."""
    shape = item.type(item.operand(position)).shape
    if len(shape) not in (3, 4):
        item.refuse(
            f"it works over {max(len(shape) - 2, 0)} spatial dimensions; 1 and 2 can be compiled",
            "Replace it by operators over images (2-D) or sequences (1-D).",
        )
    return shape[2:]


def spatial_attribute(item: NodeImport, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with one number a spatial dimension."""
    return tuple(int(value) for value in item.attribute(name) or [default] * rank)


def explicit_pads(item: NodeImport, rank: int) -> tuple[list[int], list[int]]:
    """What the attribute `pads` adds before and after each spatial dimension."""
    pads = [int(value) for value in item.attribute("pads") or [0] * 2 * rank]
    if min(pads, default=0) < 0:
        item.refuse(f"its padding {pads} is negative", "Cut the image with a Slice before it instead.")
    return pads[:rank], pads[rank:]


def split_padding(total: int, automatic: str) -> tuple[int, int]:
    """How SAME_UPPER and SAME_LOWER share out padding: an odd row lies after, or before, the image."""
    small, large = total // 2, total - total // 2
    return (small, large) if automatic == "SAME_UPPER" else (large, small)


def two(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    """Numbers of one or two spatial dimensions as those of rows and columns: a single one is that of the columns."""
    rows, columns = (fill, *values) if len(values) == 1 else values
    return rows, columns


def padding(before: Sequence[int], after: Sequence[int]) -> Padding2D:
    """Padding before and after each spatial dimension as that of an image."""
    (top, left), (bottom, right) = two(before, 0), two(after, 0)
    return Padding2D(top, bottom, left, right)


def to_image(item: NodeImport, value: str) -> str:
    """`value` [N, C, L] or [N, C, H, W] as [N, 1, L, C] or [N, H, W, C]."""
    shape = item.type(value).shape
    if len(shape) == 4:
        return item.permuted(value, (0, 2, 3, 1), "nhwc")
    batch, channels, length = shape
    columns = item.permuted(value, (0, 2, 1), "nlc")
    return item.builder.add(Reshape((batch, 1, length, channels)), [columns], f"{value}/nhwc", origin=(item.node.name,))


def add_on_image(item: NodeImport, kind: Kind, inputs: Sequence[str], rank: int) -> None:
    """Add an operation on images as the node's: its result has `rank` dimensions in ONNX's order again."""
    from_image(item, item.add(kind, inputs, item.between("nhwc")), rank)


def from_image(item: NodeImport, image: str, rank: int) -> None:
    """Write the node's result, of `rank` dimensions in ONNX's order, from an image [N, H, W, C]."""
    if rank == 4:
        item.add(Transpose((0, 3, 1, 2)), [image])
        return
    batch, _, length, channels = item.type(image).shape
    item.add(Transpose((0, 2, 1)), [item.add(Reshape((batch, length, channels)), [image], item.between("nlc"))])
