"""Metric: the user's own measure of the original model.

It comes before the long work, so that a metric that fails, or labels that do not match, are told at once.

    out: metric.json (what the original reaches, on how many samples)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.metric.request import MetricRequest
from edgec.samples import SampleSource
from edgec.stage import Stage, StageContext


@dataclass(frozen=True)
class MetricParams:
    """state: (output, input) pairs of a recurrent model."""

    state: tuple[tuple[str, str], ...] = ()


def run(
    ingested: Path,
    samples: SampleSource | None,
    request: MetricRequest,
    params: MetricParams,
    context: StageContext,
) -> None:
    """Measure `ingested`/model.onnx.

    samples: the calibration data; None needs a request that names data of its own.

    Raises UsageError for a metric that can't be loaded, fails or gives no number, CalibrationDataError for data or
    labels that do not fit.
    """
    from edgec.contract import Contract
    from edgec.metric.measure import Measure

    measure = Measure(request, samples, Contract.read(ingested), dict(params.state), ingested / "model.onnx")
    for text in measure.doubts():
        context.warn(text)
    context.info(f"{request.name} is {measure.original:.6g} for the original, on {len(measure)} samples")
    context.write_json("metric.json", {"name": request.name, "original": measure.original, "samples": len(measure)})


STAGE = Stage("metric", ("onnxruntime", "numpy", "pillow"), run)
