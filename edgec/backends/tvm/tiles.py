"""How wide tiles are. Rules per shape, found by measuring on AVX-512."""

from __future__ import annotations


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
