"""Arrays in one .npz file, with bytes that depend on the arrays alone."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAX_MEMBERS = 65535  # what a zip without extensions can hold
_ENTRY_MARK = b"PK\1\2"
_KINDS = "biufU"
_READERS: Mapping[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MAX_HEADER = 1 << 16  # bytes; it is parsed as Python, whose parser takes much more memory than that
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, KeyError, TypeError)
"""What zipfile and numpy raise, besides ValueError, for a file that was made to confuse them."""


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` under their names, which may be any strings (numpy.savez takes some for its own arguments)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz that `write_npz` wrote, from somebody who may not be trusted.

    Arrays are numbers, booleans or text, never objects, and read-only: views of `content`, so no claim of a header
    takes memory. Raises ValueError, with the reason, for anything else; nothing deflated is ever inflated.
    """
    if (count := content.count(_ENTRY_MARK)) > _MAX_MEMBERS:  # zipfile makes an object of each before it can be asked
        raise ValueError(f"it holds more than {_MAX_MEMBERS} arrays ({count})")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if (claimed := sum(entry.file_size for entry in entries)) > len(content):
                raise ValueError(f"its arrays claim to have {claimed} bytes, and the file has {len(content)}")
            arrays = {}
            for entry in entries:
                name = entry.filename[: -len(".npy")] if entry.filename.endswith(".npy") else entry.filename
                if entry.compress_type != zipfile.ZIP_STORED or name in arrays:
                    raise ValueError(f"{name!r:.60} is compressed, or there twice")
                arrays[name] = _array(archive.read(entry), name)
            return arrays
    except _UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _array(data: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an .npy file."""
    stream = io.BytesIO(data)
    magic = data[: np.lib.format.MAGIC_LEN]
    version = np.lib.format.read_magic(stream) if magic.startswith(b"\x93NUMPY") and len(magic) == 8 else None
    if (
        version is None
        or version not in _READERS
        or int.from_bytes(data[8:12] if version == (2, 0) else data[8:10], "little") > _MAX_HEADER
    ):
        raise ValueError(f"{name!r:.60} has a header of another kind, or a huge one")
    try:
        shape, by_columns, dtype = _READERS[version](stream)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:  # of Python's parser, for nesting
        raise ValueError(f"the header of {name!r:.60} can't be understood") from error
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise ValueError(f"{name!r:.60} holds {dtype!s:.40}, which is not numbers")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name!r:.60} claims to be {'x'.join(map(str, shape))!s:.60} of {dtype}, and is not")
    array: np.ndarray = np.frombuffer(data, dtype, count, stream.tell()) if count else np.empty(0, dtype)
    return array.reshape(shape, order="F" if by_columns else "C")
