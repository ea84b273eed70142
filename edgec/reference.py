"""ONNX Runtime as the reference executor.

The original model and the quantized reference run here, single-threaded and with a stated optimization level, so that
the numbers in a report are the same on every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from edgec.samples import Feeds

Optimization = Literal["none", "basic", "all"]


def open_session(model: Path | bytes, optimization: Optimization = "basic", threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    optimization: "none" runs every node as written, which is what a quantized reference needs; "basic" folds constants;
        "all" is what a user of ONNX Runtime gets by default.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = {
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }[optimization]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Reference:
    """A model that can be run on feeds; outputs come back by name."""

    def __init__(self, model: Path | bytes, optimization: Optimization = "basic", threads: int = 1) -> None:
        self._session = open_session(model, optimization, threads)
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run one step; `outputs` limits what is returned (default: all)."""
        names = list(self.outputs if outputs is None else outputs)
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
