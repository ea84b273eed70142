"""Content-defined chunks: a file cut where its content says so, so that equal parts of two files are equal chunks.

A chunk ends where a rolling hash of the 32 bytes before it is small. An insertion moves all that follows, but not these
places relative to the content; so a device that has one version needs only the chunks of the next that differ.

The hash is Gear (Xia et al., "Ddelta", Performance Evaluation 79, 2014): h = 2 h + GEAR[byte], modulo 2^32, in which a
byte is shifted out after 32 more. Sizes are kept near the mean by FastCDC's normalized chunking (Xia et al., USENIX ATC
2016): a boundary is four times as rare before the mean, and four times as frequent behind it.

An index is a file of the repository, signed like every other: its magic, the artifact's bytes and SHA-256, the number
of chunks, and for each its bytes and the first 16 bytes of its SHA-256. Those tell chunks apart and find damage early;
what vouches for the artifact is the digest of the whole.

`edgec.shipping.repository.chunking` makes the same cuts with numpy; here is what a device needs, which has none.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

SMALLEST, MEAN, LARGEST = 2 << 10, 8 << 10, 32 << 10
"""Bytes of a chunk; the last one of a file may be smaller."""

WINDOW = 32
STRICT, LAX = (1 << 32) // (MEAN * 4), (1 << 32) // (MEAN // 4)
"""A chunk ends where the hash is below: STRICT while it is smaller than MEAN, LAX from there."""

GEAR = struct.unpack("<256I", b"".join(hashlib.sha256(b"edgec gear %d" % n).digest() for n in range(32)))
"""256 numbers that look random, and are the same everywhere."""

LARGEST_INDEX = 64 << 20
"""Bytes: that of the largest artifact has a sixth of it."""

_MASK = (1 << 32) - 1
_MAGIC = b"edgec chunks 1\n\0"
_HEAD = struct.Struct("<16sQ32sI")
_CHUNK = struct.Struct("<I16s")

Bytes = Union[bytes, mmap.mmap]


@dataclass(frozen=True)
class Chunk:
    """size: in bytes. digest: the first 16 bytes of its SHA-256."""

    size: int
    digest: bytes


@dataclass(frozen=True)
class Index:
    """The chunks of a file in their order; size (bytes) and sha256 (hex) of the whole."""

    size: int
    sha256: str
    chunks: tuple[Chunk, ...]

    def pack(self) -> bytes:
        """As a file."""
        head = _HEAD.pack(_MAGIC, self.size, bytes.fromhex(self.sha256), len(self.chunks))
        return head + b"".join(_CHUNK.pack(chunk.size, chunk.digest) for chunk in self.chunks)

    @classmethod
    def unpack(cls, data: bytes) -> Index:
        """Raises ValueError for what is not an index."""
        try:
            magic, size, sha256, count = _HEAD.unpack_from(data)
        except struct.error:
            raise ValueError("it is shorter than the head of an index") from None
        if magic != _MAGIC:
            raise ValueError("it does not begin as an index of this version does")
        if len(data) != _HEAD.size + count * _CHUNK.size:
            raise ValueError(f"it is not as long as an index of {count} chunks")
        chunks = tuple(Chunk(*_CHUNK.unpack_from(data, _HEAD.size + n * _CHUNK.size)) for n in range(count))
        if sum(chunk.size for chunk in chunks) != size or any(not 0 < chunk.size <= LARGEST for chunk in chunks):
            raise ValueError("its chunks do not make up the file")
        return cls(size, sha256.hex(), chunks)


def digest_of(content: bytes) -> bytes:
    """What tells a chunk from others."""
    return hashlib.sha256(content).digest()[:16]


def index_of(path: Path) -> Index:
    """Cut a file, in pure Python; `edgec.shipping.repository.chunking` has the fast one."""
    if path.stat().st_size == 0:
        return Index(0, hashlib.sha256().hexdigest(), ())
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return index_from(data, cuts(data))


def index_from(data: Bytes, ends: Iterator[int]) -> Index:
    """The index of bytes that are cut at `ends`."""
    whole, chunks, start = hashlib.sha256(), [], 0
    for end in ends:
        content = data[start:end]
        whole.update(content)
        chunks.append(Chunk(len(content), digest_of(content)))
        start = end
    return Index(start, whole.hexdigest(), tuple(chunks))


def cuts(data: Bytes) -> Iterator[int]:
    """Where chunks end: positions, the last one the end of the data."""
    start, size = 0, len(data)
    while start < size:
        start = _next_cut(data, start, size)
        yield start


def _next_cut(data: Bytes, start: int, size: int) -> int:
    if size - start <= SMALLEST:
        return size
    position, gear, mask = start + SMALLEST, GEAR, _MASK
    rolling = 0
    for byte in data[position - WINDOW : position]:
        rolling = (rolling << 1) + gear[byte] & mask
    for limit, below in ((MEAN, STRICT), (LARGEST, LAX)):
        if rolling < below:
            return position
        for byte in data[position : min(start + limit, size)]:
            rolling = (rolling << 1) + gear[byte] & mask
            position += 1
            if rolling < below:
                return position
    return position
