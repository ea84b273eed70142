"""Validate: run the payload and say what the numbers have lost, and where.

    quantization error    original in FP32  <->  quantized reference      ONNX Runtime both
    lowering error        quantized reference  <->  payload               ONNX Runtime, the artifact's engine
    total                 original in FP32  <->  payload

The payload is loaded by the engine module that the artifact carries, here or on the target's emulated device. Samples
are those that calibration did not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec import worker
from edgec.backends import backend_tools
from edgec.backends.base import Precision
from edgec.errors import EdgecError, InternalError, WorkerCrashed
from edgec.metric.request import MetricRequest
from edgec.runners import native
from edgec.runners.execution import Execution, machine_of
from edgec.samples import SampleSource
from edgec.stage import Stage, StageContext
from edgec.targets import Target

SECONDS_PER_SAMPLE = 10.0
"""What one sample of --eval adds to the time-out."""

_EMULATED_TIMES = (
    10  # each answer has a time-out of its own there (edgec/runners/emulated.py); this one is for the rest
)


@dataclass(frozen=True)
class ValidateParams:
    """target: where the payload will run. execution: where it runs now. state: (output, input) pairs.

    gate: overrides of the parity gate.
    precision: what was asked for; it decides which gate judges the artifact, and what its reference is called.
    timeout: seconds after which the engine is taken to hang.
    """

    target: Target
    execution: Execution
    state: tuple[tuple[str, str], ...] = ()
    gate: tuple[tuple[str, float], ...] = ()
    timeout: float = 3600.0
    precision: Precision = "int8"


def run(
    ingested: Path,
    quantized: Path | None,
    lowered: Path,
    samples: SampleSource | None,
    params: ValidateParams,
    context: StageContext,
    metric: MetricRequest | None = None,
    measured: Path | None = None,
) -> None:
    """Write parity.json, golden.npz and profile.json. A failed gate is a verdict in parity.json, not an error.

    golden.npz holds a few samples with the payload's own outputs; those of its reference (the quantized one, or the
    original for a float payload) where it can't run here. profile.json says what inputs and outputs look like on the
    user's data.

    ingested: model.onnx, contract.json. quantized: qdq.onnx, qparams.json; None for a float payload.
    lowered: lower.json, payload/. samples: None takes seeded random inputs, and says so.
    metric: the user's own measure; measured: metric.json, what the original reaches in it.

    Raises InternalError when the engine crashes, ToolMissing when it is not installed, DeviceError when the payload has
    instructions that the target's core lacks.
    """
    machine = machine_of(params.target, params.execution)
    limit = params.timeout + SECONDS_PER_SAMPLE * _evaluated(metric)
    try:
        verdict: dict[str, Any] = worker.call(
            _measure,
            {
                "ingested": ingested,
                "quantized": quantized,
                "lowered": lowered,
                "samples": samples,
                "metric": metric,
                "measured": measured,
                "params": params,
                "machine": machine,
                "out": context.out,
                "stage": context.stage,
            },
            listener=context.emit,
            emit_as="emit",
            timeout=_EMULATED_TIMES * limit if params.execution.place == "qemu" else limit,
        )
    except WorkerCrashed as crash:
        raise _engine_crashed(crash, params) from crash
    if not params.execution.executes:
        text = f"The artifact was not executed: {params.execution.reason}. Run its selftest on the device."
        verdict["note"] = " ".join(filter(None, [text, verdict["note"]]))
        verdict["warnings"].append(text)
    for text in verdict["warnings"]:
        context.warn(text)
    context.write_json("parity.json", verdict)


def _evaluated(metric: MetricRequest | None) -> int:
    """Samples of the user's own that the artifact runs on besides those held out."""
    return 0 if metric is None or metric.evaluation is None else len(metric.evaluation)


def _measure(**job: Any) -> dict[str, Any]:
    """In the worker: everything that needs numpy, and everything that may crash."""
    import os

    os.environ.update(native.environment(job["params"].target))
    from edgec.parity.validation import validate

    return validate(**job)


def _engine_crashed(crash: WorkerCrashed, params: ValidateParams) -> EdgecError:
    return InternalError(
        f"The engine died while it ran the artifact for {params.target.name}",
        f"{crash.what}. {crash.why}",
        "The artifact is not shipped. Another --backend may take the model; please report this one with the model.",
        crash.details,
    )


STAGE = Stage(name="validate", tools=("onnxruntime", *backend_tools(), "numpy", "pillow"), run=run)
