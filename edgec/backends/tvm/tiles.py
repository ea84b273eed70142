"""How many sums are kept in registers: rules per shape. Found by measuring on AVX-512 (32 registers)."""

from __future__ import annotations


def dense_tile(vectors: int, rows: int, columns: int, taps: int) -> tuple[int, int]:
    """Pixels and vectors of output channels of a tile of a dense product.

    vectors: of all output channels. rows, columns: of the result. taps: of the window.

    A tile of m pixels and n vectors keeps m * n sums; each step loads n vectors of weights and m words of activations
    for m * n products. 7 x 4 is best although one sum is spilled, but in a loop over a window it is spilled in every
    iteration: 1.5 times slower.
    """
    if rows * columns == 1:
        return 1, min(vectors, 8)
    if vectors == 1:
        width, most = 28, 1
    elif taps > 1 and vectors > 2:
        width, most = (14, 2) if columns >= 14 else (7, 3)
    elif vectors == 2:
        width, most = (7 if taps > 1 else 14), 2
    else:
        width, most = 7, 3 if vectors == 3 or (vectors % 4 == 1 and vectors % 3 == 0) else 4
    return even_width(columns, width), most


def depthwise_width(taps: int, stride: int, columns: int, pixels: int) -> int:
    """Results of a tile of a depthwise convolution with windows of `taps` columns: vectors, of `pixels` pixels each."""
    wanted = 1 if pixels > 1 else (2 if taps <= 4 else 4) // (2 if stride > 1 else 1)
    return max(1, min(wanted, columns // pixels))


def pixels_of_vector(pixel: int, vector: int, stride: int, columns: int) -> int:
    """How many neighbouring pixels of a depthwise convolution one vector of bytes can hold; 1 where it holds a part."""
    pixels = vector // pixel
    whole = pixels * pixel == vector and stride == 1 and columns >= pixels
    return pixels if whole else 1


def even_width(columns: int, most: int) -> int:
    """The width of as few tiles as `most` allows, all about as wide: what overlaps is computed twice."""
    tiles = -(-columns // most)
    return -(-columns // tiles)
