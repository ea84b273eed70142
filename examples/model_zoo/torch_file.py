"""Read the weights out of a PyTorch file without PyTorch, and without running what the file says.

A file of torch.save (before version 1.6, or with the old serialization) is a sequence of pickles followed by raw
buffers. A pickle can call any function, so the unpickler here knows three names and refuses every other.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Parameter name to array. Raises pickle.UnpicklingError for anything but a plain file of tensors."""
    with path.open("rb") as stream:
        header = [_Unpickler(stream).load() for _ in range(3)]
        if header[:2] != [_MAGIC, _PROTOCOL] or header[2].get("little_endian") is not True:
            raise pickle.UnpicklingError(f"{path.name} is not a file of torch.save in its old format")
        unpickler = _Unpickler(stream)
        tensors = unpickler.load()
        for key in _Unpickler(stream).load():
            unpickler.storages[key].read(stream)
    return {name: tensor.array() for name, tensor in tensors.items()}


class _Storage:
    """A raw buffer, filled after the pickle that refers to it was read."""

    def __init__(self, dtype: np.dtype[Any], count: int) -> None:
        self._dtype = dtype
        self._count = count
        self.values = np.empty(0, dtype)

    def read(self, stream: BinaryIO) -> None:
        (count,) = struct.unpack("<q", stream.read(8))
        if count != self._count:
            raise pickle.UnpicklingError(f"a buffer of {count} elements where {self._count} were announced")
        self.values = np.frombuffer(stream.read(count * self._dtype.itemsize), self._dtype)


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]

    def array(self) -> np.ndarray:
        values = self.storage.values
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides)) < 0 or last >= values.size:
            raise pickle.UnpicklingError("a tensor that reaches beyond its buffer")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False)


def _rebuild_tensor(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no business in a file of weights")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, *_view = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"an unknown reference: {kind!r}")
        return self.storages.setdefault(key, _Storage(dtype, count))
