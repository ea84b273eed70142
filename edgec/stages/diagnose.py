"""Diagnose: why a quantized model differs from the original, layer by layer.

Leaves diagnosis.json and, where something fails, the smallest part of the model that fails by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec import worker
from edgec.backends import backend_tools
from edgec.errors import InternalError, WorkerCrashed
from edgec.runners import native
from edgec.runners.execution import Execution, machine_of
from edgec.samples import SampleSource
from edgec.stage import Stage, StageContext
from edgec.targets import Target


@dataclass(frozen=True)
class DiagnoseParams:
    """name: what files are called after. target: where the payload will run. execution: where it runs now.

    state: (output, input) pairs. gate: overrides of the parity gate.
    given: the model came with a quantization of its own.
    same_build: whether the artifact, where there is one, holds what was lowered.
    """

    name: str
    target: Target
    execution: Execution
    state: tuple[tuple[str, str], ...] = ()
    gate: tuple[tuple[str, float], ...] = ()
    given: bool = False
    same_build: bool = True
    timeout: float = 3600.0


def run(
    ingested: Path,
    floats: Path,
    quantized: Path | None,
    calibrated: Path | None,
    lowered: Path | None,
    artifact: Path | None,
    samples: SampleSource,
    evaluation: SampleSource | None,
    params: DiagnoseParams,
    context: StageContext,
) -> None:
    """Write diagnosis.json, and NAME-smallest.onnx, -inputs.npz and .py where a part of the model fails by itself.

    ingested: the original: model.onnx, contract.json. floats: the float model that was quantized: model.onnx.
    quantized: qdq.onnx; None for a build without one. calibrated: statistics.npz, None where there was no calibration.
    lowered: lower.json, payload/; artifact: an .edgec file; what runs is the artifact's payload, or the lowered one.
    evaluation: data to judge by in place of the part of `samples` that calibration did not see.

    Raises UsageError when the models do not belong together, InternalError when the engine crashes.
    """
    job: dict[str, Any] = {
        "ingested": ingested,
        "floats": floats,
        "quantized": quantized,
        "calibrated": calibrated,
        "lowered": lowered,
        "artifact": artifact,
        "samples": samples,
        "evaluation": evaluation,
        "params": params,
        "machine": machine_of(params.target, params.execution),
        "out": context.out,
        "stage": context.stage,
    }
    try:
        document = worker.call(_diagnose, job, listener=context.emit, emit_as="emit", timeout=params.timeout)
    except WorkerCrashed as crash:
        raise InternalError(
            f"The engine died while it ran the model for {params.target.name}",
            f"{crash.what}. {crash.why}",
            "Please report it with the model; `edgec diagnose` of the model without the artifact may still work.",
            crash.details,
        ) from crash
    context.write_json("diagnosis.json", document)


def _diagnose(**job: Any) -> dict[str, Any]:
    """In the worker: everything that needs numpy, and everything that may crash."""
    import os

    os.environ.update(native.environment(job["params"].target))
    from edgec.diagnosis.examination import examine

    return examine(**job)


STAGE = Stage("diagnose", ("onnx", "onnxruntime", *backend_tools(), "numpy", "pillow"), run)
