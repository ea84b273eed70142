"""Headers of .npy and .npz files, read without numpy and without trust.

The format is numpy's (NEP 1). Listing runs in the main process, which loads neither numpy nor any native library.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgec.errors import CalibrationDataError

MAX_MEMBER_BYTES = 2 << 30
"""An array inside an .npz is decompressed into memory: larger ones are refused."""

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 1 << 16
_NUMBERS = re.compile(r"^[<>|=]?([biufc])(\d+)$")


@dataclass(frozen=True)
class ArrayHeader:
    """kind: numpy's letter: b(ool), i(nteger), u(nsigned), f(loat), c(omplex). item_bytes: of one element."""

    kind: str
    item_bytes: int
    shape: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """numpy's name of the dtype."""
        names = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
        return names[self.kind] + ("" if self.kind == "b" else str(self.item_bytes * 8))


def read_headers(path: Path) -> dict[str | None, ArrayHeader]:
    """The arrays of an .npz by name, or the one array of an .npy under None.

    Raises CalibrationDataError for a file that is damaged, that holds Python objects, or that unpacks to too much.
    OSError passes through.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return {None: _read(stream, path.stat().st_size, str(path))}
    with path.open("rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return {member.filename[:-4]: _of_member(path, archive, member) for member in _members(archive)}
        except CalibrationDataError:
            raise
        except Exception as error:  # zipfile answers damaged archives with many kinds of exceptions
            raise _damaged(str(path), f"{type(error).__name__}: {error}.") from error


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if member.filename.endswith(".npy")]


def _of_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ArrayHeader:
    where = f"{path}, array {member.filename[:-4]!r},"
    if member.file_size > MAX_MEMBER_BYTES:
        raise CalibrationDataError(
            f"{where} is too large",
            f"It unpacks to {member.file_size / 2**30:.1f} GiB; the limit is {MAX_MEMBER_BYTES >> 30} GiB.",
            "Save large sets as .npy (numpy.save): those are read piece by piece.",
        )
    with archive.open(member) as packed:
        return _read(packed, member.file_size, where)


def _read(stream: IO[bytes], size: int, where: str) -> ArrayHeader:
    """The header at the start of `stream`, which has `size` bytes."""
    start = stream.read(8)
    if start[:6] != _MAGIC:
        raise _damaged(where, "It does not begin as numpy's format does." if start else "It is empty.")
    width, layout = (2, "<H") if start[6] == 1 else (4, "<I")
    counted = stream.read(width)
    length = struct.unpack(layout, counted)[0] if len(counted) == width else _MAX_HEADER_BYTES + 1
    if length > _MAX_HEADER_BYTES:
        raise _damaged(where, "Its header is cut off, or far too long.")
    text = stream.read(length)
    try:
        header = ast.literal_eval(text.decode("utf-8"))
        descr, shape = header["descr"], header["shape"]
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("its shape is not a tuple of sizes")
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise _damaged(where, f"Its header can't be understood ({error}).") from error
    if isinstance(descr, str) and "O" in descr:
        raise CalibrationDataError(
            f"{where} holds pickled Python objects",
            "Unpickling a file can run any program that is hidden in it, so edgec does not.",
            "Save plain numbers: numpy.save(path, numpy.stack(list_of_arrays)), or one file for each sample.",
        )
    match = _NUMBERS.match(descr) if isinstance(descr, str) else None
    if match is None or match[1] == "c":
        raise CalibrationDataError(
            f"{where} does not hold plain numbers",
            f"Its dtype is {descr!r}.",
            "Save numbers of a dtype that the model takes.",
        )
    result = ArrayHeader(match[1], int(match[2]), shape)
    claimed = math.prod(shape) * result.item_bytes
    if claimed != size - 8 - width - length:
        raise _damaged(where, f"It should have {claimed} bytes of numbers, and has {size - 8 - width - length}.")
    return result


def _damaged(where: str, why: str) -> CalibrationDataError:
    return CalibrationDataError(f"{where} is damaged, or not an array file", why, "Save it again, or leave it out.")
