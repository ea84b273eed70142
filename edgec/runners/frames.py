"""What a build and an emulated device say to each other: frames of named arrays over a pipe.

A frame is a mark, the length of what follows, and an .npz file without pickles. Names are kept in an array of their
own, as JSON, since a tensor's name may be any string. This file is read on both sides: it needs numpy and Python 3.9
only.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

_MARK = b"EDGF"
_HEADER = struct.Struct("<4sQ")
_CHUNK = 1 << 20


class BrokenFrame(Exception):
    """What was read is no frame."""


def send(pipe: BinaryIO, kind: str, arrays: Mapping[str, Any]) -> None:
    """Write one frame. Raises BrokenPipeError where nobody reads any more."""
    content = io.BytesIO()
    entries = {"kind": np.array(kind), "names": text(json.dumps(list(arrays)))}
    entries.update({f"{index}": np.asarray(array) for index, array in enumerate(arrays.values())})
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    pipe.write(_HEADER.pack(_MARK, len(content.getbuffer())))
    pipe.write(content.getbuffer())
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[str, dict[str, np.ndarray]] | None:
    """The next frame: its kind and its arrays. None where the other side ended; BrokenFrame for anything else."""
    header = _read(pipe, _HEADER.size)
    if not header:
        return None
    mark, length = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
    if mark != _MARK:
        raise BrokenFrame(f"it begins with {bytes(header[:4])!r}")
    content = _read(pipe, length)
    if len(content) != length:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            names: list[str] = json.loads(arrays["names"].tobytes())
            return str(arrays["kind"]), {name: arrays[f"{index}"] for index, name in enumerate(names)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BrokenFrame(f"{type(error).__name__}: {error}") from error


def text(value: str) -> np.ndarray:
    """A text of any characters as an array."""
    return np.frombuffer(value.encode("utf-8", "backslashreplace"), np.uint8)


def _read(pipe: BinaryIO, count: int) -> bytes:
    """So many bytes, fewer at the end; in chunks, so that a wrong length claims no memory."""
    content = bytearray()
    while len(content) < count:
        chunk = pipe.read(min(_CHUNK, count - len(content)))
        if not chunk:
            break
        content += chunk
    return bytes(content)
