"""A model with probes as ONNX Runtime sessions that write into the accumulators' buffers."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from edgec.quantization import probes
from edgec.quantization.observers import Observed
from edgec.quantization.probes import Findings, Group

_WEIGHTS = "weights.bin"


class ProbedSession:
    """Runs a model and its probes; starts with all of them, goes on with fewer after each `slim`.

    model: path of an ONNX file, external data beside it. opset: its version of the standard operators. outputs: its
    outputs. tensors: what to observe, without aliases. wanted: elements of a tensor's sample per run.
    """

    def __init__(self, model: Path, opset: int, outputs: Sequence[str], tensors: list[Observed], wanted: int) -> None:
        self._outputs = tuple(outputs)
        fragment, groups = probes.instrument(opset, tensors, wanted)
        # Serialized messages put end to end are one message with all their fields: the weights need not be copied.
        serialized = model.read_bytes() + fragment.SerializeToString()
        self._scratch = tempfile.TemporaryDirectory(prefix="edgec-calibrate-")
        self._optimized = Path(self._scratch.name) / "optimized.onnx"
        options = _options(model.parent)
        options.optimized_model_filepath = str(self._optimized)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        options.add_session_config_entry("session.disable_prepacking", "1")  # not worth it for the few runs it serves
        self._use(_session(serialized, options), groups)

    @property
    def groups(self) -> Sequence[Group]:
        """What the probes find at present."""
        return self._groups

    def slim(self, settled: Mapping[str, Collection[str]], means: bool) -> None:
        """Go on without the probes that are not needed any more; see probes.slim."""
        del self._session, self._binding
        graph = onnx.load(str(self._optimized), load_external_data=False)
        groups = probes.slim(graph, self._groups, self._outputs, settled, means)
        probes.order(graph, self._outputs)
        options = _options(Path(self._scratch.name))
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.execution_order = (
            ort.ExecutionOrder.PRIORITY_BASED
        )  # of two nodes that are ready, the first in the file
        self._use(_session(graph.SerializeToString(), options), groups)
        onnx.save(graph, str(self._optimized))

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, npt.NDArray[Any]], Findings]:
        """Run one step. The findings' vectors are overwritten by the next run."""
        binding = self._binding
        for name, value in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self._fresh:  # else the last run's array would be written to again, whatever this run's shape
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        found = binding.get_outputs()
        outputs = {name: found[i].numpy() for i, name in enumerate(self._outputs)}
        loose = {i: found[self._position[i]].numpy() for i in self._position}
        return outputs, Findings(self._vectors, loose)

    def _use(self, session: Any, groups: Sequence[Group]) -> None:
        """Bind the outputs of `session`: the samples and extremes to vectors, once and for all."""
        self._session = session
        self._groups = tuple(groups)
        self._binding = self._session.io_binding()
        loose = [group.output for group in groups if group.kind not in probes.CONCATENATED]
        self._fresh = [*self._outputs, *loose]
        for name in self._outputs:
            self._binding.bind_output(name)
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        self._position: dict[int, int] = {}
        for kind in probes.CONCATENATED:
            own = [group for group in groups if group.kind == kind]
            if not own:
                continue
            self._vectors[kind] = np.empty(sum(group.size for group in own), np.float32)
            at = 0
            for group in own:  # ONNX Runtime writes each group where it belongs in the vector of its kind
                part = self._vectors[kind][at : at + group.size]
                self._binding.bind_output(group.output, "cpu", 0, np.float32, group.shape, part.ctypes.data)
                at += group.size
        bound = len(self._outputs) + sum(group.kind in probes.CONCATENATED for group in groups)
        for index, group in enumerate(groups):
            if group.kind not in probes.CONCATENATED:
                self._binding.bind_output(group.output)
                self._position[index] = bound
                bound += 1


def _session(model: bytes, options: Any) -> Any:
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options(folder: Path) -> Any:
    """Session options: one thread, quiet, weights looked up in `folder`."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return options
