"""TensorFlow Lite's interpreter on the CPU: ai-edge-litert, or tflite-runtime on devices that have no other."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import BundleError, EngineMissing, InputError

DISTRIBUTION = "ai-edge-litert"

NO_PROFILE = (
    "the Python API of LiteRT and tflite-runtime gives no times of operators; their benchmark_model program does "
    "(--enable_op_profiling), on the .tflite file that `extract` writes"
)

_INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_OPTIONS = {"inputs", "outputs"}
_EDGETPU = "edgetpu"
"""Option of a payload that was compiled for an Edge TPU: the compiled file, and the library that runs it."""

_DELEGATE = re.compile(r"libedgetpu[A-Za-z0-9.-]*")


class Border:
    """One input or output: where it is in the file, and how it differs from the contract."""

    def __init__(self, option: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        self.name: str = option["name"]
        self.index: int = details["index"]
        self.dtype = np.dtype(option["dtype"])
        self.permutation: list[int] | None = option["permutation"]
        self.scale = None if option["scale"] is None else np.float32(option["scale"])
        self.zero_point: int = option["zero_point"] or 0
        self.contract = np.dtype(option.get("contract") or "float32")  # of floats; artifacts of old do not say it

    def stored(self, array: np.ndarray) -> np.ndarray:
        """From the contract to the file. Raises InputError for an integer that the file's type can't hold."""
        if self.permutation is not None:
            array = array.transpose(self.permutation)
        if self.scale is not None:
            limits = np.iinfo(self.dtype)
            steps = np.rint(array.astype(np.float32, copy=False) / self.scale)
            array = np.clip(steps + self.zero_point, limits.min, limits.max)
        elif array.dtype != self.dtype and array.dtype.kind != "f":
            self._require_room(array)
        with np.errstate(over="ignore"):  # a double beyond float32 is infinite, as it is to the model
            return np.asarray(array, dtype=self.dtype, order="C")

    def given(self, array: np.ndarray) -> np.ndarray:
        """From the file to the contract."""
        if self.scale is not None:
            array = (array.astype(np.float32) - np.float32(self.zero_point)) * self.scale
        if self.permutation is not None:
            array = np.ascontiguousarray(array.transpose(np.argsort(self.permutation)))
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(self.contract, copy=False)
        return array

    def _require_room(self, array: np.ndarray) -> None:
        limits = np.iinfo(self.dtype)
        if array.size and (array.max() > limits.max or array.min() < limits.min):
            raise InputError(
                f"Input {self.name!r} holds a value that does not fit into {self.dtype}",
                "The model computes this input in fewer bits; it would silently use another value.",
                f"Keep the values of this input between {limits.min} and {limits.max}.",
            )


class TFLiteEngine:
    """A .tflite file in an interpreter.

    inputs, outputs: in the model's order.
    """

    def __init__(self, interpreter: Any, inputs: Sequence[Border], outputs: Sequence[Border], version: str) -> None:
        self.version = version
        self._interpreter = interpreter
        self._inputs = {border.name: border for border in inputs}
        self._outputs = tuple(outputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; see `Engine.run`. Raises InputError for an integer that the file's type can't hold."""
        for name, array in feeds.items():
            border = self._inputs[name]
            self._interpreter.set_tensor(border.index, border.stored(np.asarray(array)))
        self._interpreter.invoke()
        return {border.name: border.given(self._interpreter.get_tensor(border.index)) for border in self._outputs}

    def surround(self, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Let what `wrapper` makes of it take the place of the one call that leaves Python and computes the model."""
        self._interpreter.invoke = wrapper(self._interpreter.invoke)

    def profile(self, feeds: Mapping[str, np.ndarray], runs: int) -> None:
        """None: see NO_PROFILE."""


def load(files: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> TFLiteEngine:
    """Load a .tflite file; see `open_engine`."""
    if not set(options) >= _OPTIONS or not files:
        raise BundleError(
            "The artifact's payload is incomplete",
            "TensorFlow Lite needs model.tflite and a description of its inputs and outputs.",
            "Build the artifact again.",
        )
    if unknown := sorted(set(options) - _OPTIONS - {_EDGETPU}):
        raise EngineMissing(
            f"The artifact asks the engine for {unknown[0]!r}, which this runtime does not know",
            "It was made by a newer edgec.",
            "Use the runtime that the artifact carries: python3 FILE.edgec run ...",
        )
    interpreter, version = _chosen(files, options.get(_EDGETPU), threads)
    inputs = borders(options["inputs"], interpreter.get_input_details())
    outputs = borders(options["outputs"], interpreter.get_output_details())
    return TFLiteEngine(interpreter, inputs, outputs, version)


def _chosen(files: Mapping[str, bytes], edgetpu: Mapping[str, Any] | None, threads: int) -> tuple[Any, str]:
    """The compiled file on the Edge TPU where there is one, else the same model on the CPU; the version says which."""
    content = next(iter(files.values()))
    if edgetpu is None:
        return _interpreter(content, threads)
    if not _DELEGATE.fullmatch(edgetpu["delegate"]):
        raise BundleError(
            f"The artifact names {edgetpu['delegate']!r:.60} as the library that runs the Edge TPU",
            "It would be loaded from wherever the name says, and that has to be where the system keeps its libraries.",
            "Build the artifact again.",
        )
    if edgetpu["file"] not in files:
        raise BundleError(
            "The artifact's payload is incomplete",
            f"It should hold {edgetpu['file']}, which the Edge TPU runs.",
            "Build the artifact again.",
        )
    try:
        delegate = _delegate(edgetpu["delegate"])
    except (OSError, ValueError) as error:  # no such library; no such device
        why = str(error).strip().splitlines()
        interpreter, version = _interpreter(content, threads)
        return interpreter, f"{version}, on the CPU: {edgetpu['delegate']}: {why[0] if why else type(error).__name__}"
    interpreter, version = _interpreter(files[edgetpu["file"]], threads, [delegate])
    return interpreter, f"{version}, with {edgetpu['delegate']}"


def _delegate(library: str) -> Any:
    """What hands operators over to a library. Raises OSError without the library, ValueError without the device."""
    ctypes.CDLL(library)  # the interpreters raise the same, and print a traceback of their own beside it
    for _, module in _importable([]):
        return module.load_delegate(library)
    raise OSError("no interpreter is installed")


def borders(options: Sequence[Mapping[str, Any]], details: Sequence[Mapping[str, Any]]) -> list[Border]:
    """Inputs or outputs as the artifact's options tell of them, found among the interpreter's `details`."""
    by_name = {item["name"]: item for item in details}
    try:
        return [Border(option, by_name[option["index_name"]]) for option in options]
    except KeyError as error:
        raise BundleError(
            "The artifact's payload does not fit its description",
            f"The .tflite file has no input or output called {error.args[0]!r}, only {', '.join(map(repr, by_name))}.",
            "Build the artifact again.",
        ) from error


def _interpreter(content: bytes, threads: int, delegates: Sequence[Any] = ()) -> tuple[Any, str]:
    """An interpreter with its tensors allocated, and the version of its package."""
    failures: list[str] = []
    for package, module in _importable(failures):
        try:
            # Importing an interpreter beside a numpy that it was not made for can succeed; only this does not.
            interpreter = module.Interpreter(
                model_content=content, num_threads=threads or None, experimental_delegates=list(delegates) or None
            )
            interpreter.allocate_tensors()
        except (ImportError, SystemError) as error:
            failures.append(f"{package}: {type(error).__name__}: {error}. tflite-runtime 2.14 needs numpy<2.")
            continue
        except (ValueError, RuntimeError) as error:
            raise EngineMissing(
                f"{package} {_version(package)} can't load the model",
                str(error).strip().splitlines()[0],
                "Install the version that made the artifact, or a newer one: "
                f"python3 -m pip install --upgrade {DISTRIBUTION}",
            ) from error
        return interpreter, _version(package)
    raise EngineMissing(
        "TensorFlow Lite can't be used here",
        "\n".join(failures),
        f"Install it for this Python: python3 -m pip install {DISTRIBUTION} "
        '(on 32-bit ARM: python3 -m pip install tflite-runtime "numpy<2")',
    )


def _importable(failures: list[str]) -> Iterator[tuple[str, Any]]:
    """The interpreters that can be imported, with the names of their packages; of others, `failures` says why."""
    for name in _INTERPRETERS:
        package = name.split(".")[0]
        reason = _against(package)
        if reason is not None:
            failures.append(reason)
            continue
        try:
            module = import_module(name)
        except ImportError as error:
            failures.append(f"{type(error).__name__}: {error}.")
            continue
        yield package, module


def _against(package: str) -> str | None:
    """Why a package can't work here, as far as that can be told without importing it.

    Every tflite-runtime up to its last release, 2.14, was compiled for numpy 1. Its metadata does not say so, and
    beside numpy 2 it prints tracebacks of its own before it fails.
    """
    version = _version(package)
    if package == "tflite_runtime" and _numbers(np.__version__) >= (2,) and () < _numbers(version) <= (2, 14):
        return f"tflite-runtime {version} was compiled for numpy 1, and numpy {np.__version__} is installed: numpy<2."
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; none of one that is not known."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return "unknown"
