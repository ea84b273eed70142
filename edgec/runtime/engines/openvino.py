"""OpenVINO's CPU engine, for an IR of model.xml and model.bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BundleError, EngineMissing, InputError
from ..profiles import middle_mean
from . import Step

DISTRIBUTION = "openvino"

_INT32 = np.iinfo(np.int32)
_CONFIG = {"inference_precision": "INFERENCE_PRECISION_HINT", "snippets": "SNIPPETS_MODE"}
"""Options of the artifact that are properties of OpenVINO."""

_ALWAYS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}
"""One inference at a time, as fast as it goes. Threads are not bound to cores: every process would choose the same
ones, and wait there for the others (all cores in use: 2.9 ms unbound, 9.9 ms bound; no difference when idle).

Where weights are int8 and activations float, OpenVINO would round the activations to int8 as well, unasked (error at
43 dB instead of 126 dB). An artifact computes what its graph says."""


class OpenVINOEngine:
    """An IR, compiled for the CPU of this machine.

    outputs: the model's outputs in its order. OpenVINO may know one tensor by several names, also by inner ones.
    """

    def __init__(self, compiled: Any, tensor: Any, outputs: Sequence[str], version: str) -> None:
        self.version = version
        self._tensor = tensor  # the class openvino.Tensor
        self._request = compiled.create_infer_request()
        self._inputs = tuple(frozenset(port.get_names()) for port in compiled.inputs)
        # Shapes are static, so OpenVINO writes every result to the same place.
        self._outputs = {name: self._request.get_output_tensor(index).data for index, name in enumerate(outputs)}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; see `Engine.run`.

        Raises InputError for an int64 value beyond 32 bits: OpenVINO computes int64 in int32, and would wrap it.
        """
        fed = {name: _fitting(name, array) for name, array in feeds.items()}  # OpenVINO does not keep arrays alive
        for name, array in fed.items():
            self._request.set_input_tensor(self._index(name), self._tensor(array, shared_memory=True))
        self._request.infer(share_outputs=True)  # what it returns is not used: collecting it costs more than a copy
        return {name: array.copy() for name, array in self._outputs.items()}

    def profile(self, feeds: Mapping[str, np.ndarray], runs: int) -> list[Step] | None:
        """See `Engine.profile`: None, unless the engine was loaded for it. Steps have the names of the IR's layers."""
        spent: dict[str, list[float]] = {}
        operators: dict[str, str] = {}
        for _ in range(runs):
            self.run(feeds)
            for each in self._request.get_profiling_info():
                if each.status == each.status.EXECUTED:
                    operators[each.node_name] = f"{each.node_type} ({each.exec_type})"
                    spent.setdefault(each.node_name, []).append(each.real_time.total_seconds() * 1e3)
        return [Step(name, operators[name], middle_mean(times)) for name, times in spent.items()] or None

    def _index(self, name: str) -> int:
        return next(index for index, names in enumerate(self._inputs) if name in names)


def _fitting(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype == np.int64 and array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
        raise InputError(
            f"Input {name!r} holds a value that does not fit into 32 bits",
            "OpenVINO computes 64-bit integers in 32 bits; it would silently use another value.",
            f"Keep the values of this input between {_INT32.min} and {_INT32.max}.",
        )
    return np.require(array, requirements=("C", "W"))  # OpenVINO takes no read-only memory


def load(files: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> OpenVINOEngine:
    """Compile an IR; see `open_engine`."""
    return _compiled(files, options, threads, {})


def load_for_profile(files: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> OpenVINOEngine:
    """Compile an IR such that its layers are timed."""
    return _compiled(files, options, threads, {"PERF_COUNT": True})


def _compiled(
    files: Mapping[str, bytes], options: Mapping[str, Any], threads: int, more: Mapping[str, Any]
) -> OpenVINOEngine:
    try:
        import openvino
    except ImportError as error:
        raise EngineMissing(
            "OpenVINO can't be used here",
            f"{type(error).__name__}: {error}.",
            "Install it for this Python: python3 -m pip install openvino",
        ) from error
    if "outputs" not in options or len(files) != 2:
        raise BundleError(
            "The artifact's payload is incomplete",
            "OpenVINO needs model.xml, model.bin and the names of the outputs.",
            "Build the artifact again.",
        )
    if unknown := sorted(set(options) - set(_CONFIG) - {"outputs"}):
        raise EngineMissing(
            f"The artifact asks the engine for {unknown[0]!r}, which this runtime does not know",
            "It was made by a newer edgec.",
            "Use the runtime that the artifact carries: python3 FILE.edgec run ...",
        )
    config: dict[str, Any] = {_CONFIG[name]: options[name] for name in _CONFIG if name in options}
    config.update(_ALWAYS, **more)
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    xml, weights = files.values()
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(xml, weights), "CPU", config)
    except RuntimeError as error:
        raise EngineMissing(
            f"OpenVINO {openvino.__version__} can't load the model",
            str(error).strip().splitlines()[-1],
            "Install the version that made the artifact, or a newer one: python3 -m pip install --upgrade openvino",
        ) from error
    return OpenVINOEngine(compiled, openvino.Tensor, options["outputs"], str(openvino.__version__).split("-")[0])
