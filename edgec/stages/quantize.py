"""Quantize: the one QDQ reference that all backends lower from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.metric.request import MetricRequest
from edgec.quantization.profiles import Profile
from edgec.samples import SampleSource
from edgec.stage import Stage, StageContext


@dataclass(frozen=True)
class QuantizeParams:
    """profiles: in the order of preference. keep_float: nodes to leave alone. state: (output, input) pairs.

    gate: overrides of the parity gate. reduced_range: keep weights within [-63, 63], for processors whose sums of two
        products saturate at 16 bits. per_tensor: operators whose weights must share one scale. against_int16: why
        there are no 16-bit activations, "" where there are. against_products_of_activations: why a MatMul of two
        activations is not quantized, "" where it is.
    force, forbid: recovery passes that the result has in any case, or never. search_seconds: CPU seconds for the search
        instead of its own budget. max_float_macs, min_int8_macs: shares of all multiply-accumulates.
    """

    profiles: tuple[Profile, ...] = ("strict", "islands")
    keep_float: tuple[str, ...] = ()
    state: tuple[tuple[str, str], ...] = ()
    gate: tuple[tuple[str, float], ...] = ()
    reduced_range: bool = False
    per_tensor: tuple[str, ...] = ()
    against_int16: str = ""
    against_products_of_activations: str = ""
    force: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    search_seconds: float | None = None
    max_float_macs: float = 0.10
    min_int8_macs: float = 0.0


def run(
    simplified: Path,
    calibrated: Path | None,
    samples: SampleSource | None,
    params: QuantizeParams,
    context: StageContext,
    metric: MetricRequest | None = None,
) -> None:
    """Write qdq.onnx, qparams.json and quantize.json. A failed gate is a verdict in quantize.json, not an error.

    simplified: model.onnx, contract.json. calibrated: statistics.npz; not needed for a model that is quantized already.
    metric: the user's own measure, where it has a limit: candidates that fall by more do not pass.

    What was tried is kept in the context's journal, so that a build that was killed goes on where it was.

    Raises UsageError for a node in keep_float that the model does not have, and for a forced pass that can't be had.
    """
    from edgec.quantization.memory import keep_freed_memory
    from edgec.quantization.qdq_reference import write_reference

    keep_freed_memory()
    write_reference(simplified, calibrated, samples, params, context, metric)


STAGE = Stage("quantize", ("onnx", "onnxruntime", "numpy", "pillow"), run)
