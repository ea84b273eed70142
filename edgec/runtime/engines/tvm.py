"""A model that edgec compiled to machine code: one shared library, and nothing but numpy beside it.

The library's interface is C (edgec_model.h): it describes its inputs and outputs, and computes in memory that it is
given. It needs no part of TVM, which only made its kernels.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import BundleError, EngineMissing, InputError
from ..profiles import middle_mean
from . import Step

DISTRIBUTION = ""
"""Nothing has to be installed."""

_VERSION = "1"

_FORBIDDEN = "failed to map segment"
"""What glibc says of a file on a file system that is mounted noexec."""


class _Tensor(ctypes.Structure):
    """struct edgec_tensor."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("dimensions", ctypes.c_size_t),
        ("shape", ctypes.POINTER(ctypes.c_size_t)),
        ("bytes", ctypes.c_size_t),
    )


class _Model(ctypes.Structure):
    """struct edgec_model."""

    _fields_ = (
        ("inputs", ctypes.c_size_t),
        ("input", ctypes.POINTER(_Tensor)),
        ("outputs", ctypes.c_size_t),
        ("output", ctypes.POINTER(_Tensor)),
        ("arena_bytes", ctypes.c_size_t),
        ("arena_alignment", ctypes.c_size_t),
        ("constant_bytes", ctypes.c_size_t),
        ("steps", ctypes.c_size_t),
    )


class Border:
    """One input or output, as the library describes it."""

    def __init__(self, tensor: _Tensor) -> None:
        self.name: str = tensor.name.decode()
        self.dtype = np.dtype(tensor.dtype.decode())
        self.shape = tuple(tensor.shape[axis] for axis in range(tensor.dimensions))


class TVMEngine:
    """A loaded library, with an arena and a pool of threads of its own: one run at a time. Python's threads may
    share it all the same; they wait for each other."""

    version = _VERSION

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        self._library = library
        model: _Model = library.edgec_model_describe().contents
        self._inputs = [Border(model.input[index]) for index in range(model.inputs)]
        self._outputs = [Border(model.output[index]) for index in range(model.outputs)]
        self._memory = np.empty(model.arena_bytes + model.arena_alignment, np.uint8)
        self._arena = self._memory.ctypes.data + -self._memory.ctypes.data % model.arena_alignment
        self._pool = library.edgec_pool_create(threads) if threads > 1 else None
        if threads > 1 and not self._pool:
            raise EngineMissing(
                f"The compiled model can't start {threads} threads",
                "The system gives no more.",
                "Ask for fewer: --threads 1, or threads=1 in Python.",
            )
        self._steps = model.steps if hasattr(library, "edgec_model_profile") else 0
        self._free = threading.Lock()
        # What every run needs is made once: small models take some microseconds.
        self._run: Callable[..., Any] = library.edgec_model_run
        self._given = (ctypes.c_void_p * len(self._inputs))()
        self._made = (ctypes.c_void_p * len(self._outputs))()
        self._arguments = (ctypes.addressof(self._given), ctypes.addressof(self._made), self._arena, self._pool)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; see `Engine.run`."""
        given = [_fitting(_whole(feeds[border.name], border), border.dtype) for border in self._inputs]
        made = {border.name: np.empty(border.shape, border.dtype) for border in self._outputs}
        with self._free:
            self._given[:] = [_address(array) for array in given]
            self._made[:] = [_address(array) for array in made.values()]
            failure = self._run(*self._arguments)
        assert failure == 0, failure
        return made

    def surround(self, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Let what `wrapper` makes of it take the place of the one call that leaves Python and computes the model."""
        self._run = wrapper(self._run)

    def profile(self, feeds: Mapping[str, np.ndarray], runs: int) -> list[Step] | None:
        """Time each step; see `Engine.profile`.

        A step's name: the ONNX nodes that it computes, or a part of them. Its operator: the name of its kernel.
        None for a library that was made before it could be asked.
        """
        if not hasattr(self._library, "edgec_model_profile"):
            return None
        given = [_fitting(_whole(feeds[border.name], border), border.dtype) for border in self._inputs]
        made = [np.empty(border.shape, border.dtype) for border in self._outputs]
        inputs, outputs = ((ctypes.c_void_p * len(arrays))(*map(_address, arrays)) for arrays in (given, made))
        nanoseconds = np.zeros((runs, self._steps), np.uint64)
        with self._free:
            for row in nanoseconds:
                failure = self._library.edgec_model_profile(
                    inputs, outputs, self._arena, self._pool, None, row.ctypes.data
                )
                assert failure == 0, failure
        labels = [self._library.edgec_model_step(step).decode().split("\n") for step in range(self._steps)]
        times = [middle_mean(column) / 1e6 for column in nanoseconds.T.tolist()]
        return [Step(", ".join(nodes), kernel, time) for (kernel, *nodes), time in zip(labels, times)]

    def __del__(self) -> None:
        if getattr(self, "_pool", None):
            self._library.edgec_pool_destroy(self._pool)


def load(files: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> TVMEngine:
    """Load a compiled model; see `open_engine`."""
    libraries = [content for name, content in files.items() if name.endswith(".so")]
    if len(libraries) != 1:
        raise BundleError(
            "The artifact's payload is incomplete", "It should be one shared library.", "Build the artifact again."
        )
    return TVMEngine(_declared(_opened(libraries[0])), threads or len(os.sched_getaffinity(0)))


def _opened(content: bytes) -> ctypes.CDLL:
    """The library, from a temporary file; from memory where there is no folder for such files, or one that forbids
    code (mounted noexec).

    Raises EngineMissing with what the linker said.
    """
    try:
        with _in_a_file(content) as path:
            return ctypes.CDLL(path)
    except OSError as error:
        failure = error
    try:
        return ctypes.CDLL(_in_memory(content))
    except (OSError, AttributeError):  # as above; Python was built without memfd_create
        forbidden = _FORBIDDEN in str(failure)
    raise EngineMissing(
        "The compiled model can't be loaded here",
        f"{failure}." + (" The folder for temporary files forbids code (noexec)." if forbidden else ""),
        "Name a folder that allows it in the variable TMPDIR."
        if forbidden
        else "Build the artifact for this device: another architecture, or a C library that is as old.",
    ) from failure


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions."""
    library.edgec_model_describe.restype = ctypes.POINTER(_Model)
    library.edgec_pool_create.restype = ctypes.c_void_p
    library.edgec_pool_destroy.argtypes = [ctypes.c_void_p]
    library.edgec_model_run.argtypes = [ctypes.c_void_p] * 4
    if hasattr(library, "edgec_model_profile"):  # not in libraries that older versions of edgec made
        library.edgec_model_profile.argtypes = [ctypes.c_void_p] * 6
        library.edgec_model_step.restype = ctypes.c_char_p
        library.edgec_model_step.argtypes = [ctypes.c_size_t]
    return library


def _whole(array: np.ndarray, border: Border) -> np.ndarray:
    """The array, which has all that the library will read: that knows no size but the model's."""
    if array.shape != border.shape:
        raise InputError(
            f"Input {border.name!r} was given the shape {array.shape}",
            f"The compiled model reads {border.shape}.",
            "Give an array of that shape.",
        )
    return array


def _fitting(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array as the library reads it: itself, in most cases."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, dtype, ["C", "ALIGNED"])


def _address(array: np.ndarray) -> int:
    """Where an array begins. Through the buffer protocol, which takes a sixth of the time that array.ctypes.data or
    array.__array_interface__ do; ctypes takes no buffer that is read-only."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # told from Python 3.12 on
    address: int = array.__array_interface__["data"][0]
    return address


def _in_memory(content: bytes) -> str:
    """The path of a file without a place. It stays open: the linker takes a path that it has seen before for the same
    library, and the number of a closed file is soon another one's."""
    descriptor = os.memfd_create("model.so")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return f"/proc/self/fd/{descriptor}"


@contextmanager
def _in_a_file(content: bytes) -> Iterator[str]:
    """A file that the linker can open; it may go once that is done."""
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(content)
        file.flush()
        yield file.name
