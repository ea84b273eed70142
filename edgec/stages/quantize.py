"""Quantize: the one QDQ reference that all backends lower from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.samples import SampleSource
from edgec.stage import Stage, StageContext


@dataclass(frozen=True)
class QuantizeParams:
    """profile: "auto", "strict" or "islands". keep_float: nodes to leave alone. state: (output, input) pairs.

    gate: overrides of the parity gate. reduced_range: keep weights within [-63, 63], for processors whose sums of two
        products saturate at 16 bits.
    """

    profile: str = "auto"
    keep_float: tuple[str, ...] = ()
    state: tuple[tuple[str, str], ...] = ()
    gate: tuple[tuple[str, float], ...] = ()
    reduced_range: bool = False


def run(
    simplified: Path,
    calibrated: Path | None,
    samples: SampleSource | None,
    params: QuantizeParams,
    context: StageContext,
) -> None:
    """Write qdq.onnx, qparams.json and quantize.json. A failed gate is a verdict in quantize.json, not an error.

    simplified: model.onnx, contract.json. calibrated: statistics.npz; not needed for a model that is quantized already.

    Raises UsageError for a node in keep_float that the model does not have.
    """
    from edgec.quantization.qdq_reference import write_reference

    write_reference(simplified, calibrated, samples, params, context)


STAGE = Stage("quantize", ("onnx", "onnxruntime", "numpy", "pillow"), run)
