"""Measure: how fast the packed artifact is, beside the original model in ONNX Runtime.

out: latency.json {"artifact", "baseline": {"p25", "p50", "p75", "p95", "p99" in milliseconds, "histogram": {"edges_ms",
"counts"}}, "ratio_of_medians", "ratio_quartiles", "ratio_interval": [low, high] | null, "runs", "threads", "noisy",
"machine", "profile": [{"name", "operator", "milliseconds", "share"}] of the engine's steps | null, "profile_note",
"note"}. It has these keys whatever happened: figures of an artifact that can't run on this machine are null,
with 0 runs, and the note says why. The interval holds the true ratio with 95 % confidence; too few turns have none. The
machine is the processor that all was measured on, by its own name.

Both run in turns in one process, so that what else the machine does hits both alike. Only a target that this machine
can stand in for is measured: an emulator says nothing about time, and a processor nothing about an accelerator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec import worker
from edgec.backends import backend_tools
from edgec.bundle.errors import as_edgec_error
from edgec.stage import Stage, StageContext
from edgec.targets import cpu_name

if TYPE_CHECKING:
    from edgec.runners.timing import Timing

_PROFILED_SECONDS = 0.25  # about how long the engine's steps are timed


@dataclass(frozen=True)
class MeasureParams:
    """artifact: file name in the packed folder. threads: for both. seconds: about how long, warm-up included.

    accelerator: what the target computes on besides its processor, and this machine does not have.
    """

    artifact: str
    threads: int = 1
    seconds: float = 2.0
    accelerator: str | None = None


def run(ingested: Path, packed: Path, params: MeasureParams, context: StageContext) -> None:
    """Write latency.json; when the artifact can't run on this machine, without figures and with the reason.

    Raises ArtifactError for an artifact that does not verify, ToolMissing when its engine is not installed.
    """
    if params.accelerator is not None:
        why = f"Not measured: the model is to run on the target's {params.accelerator}, which is not here."
        context.write_json("latency.json", _document(params.threads, why))
        return
    document: dict[str, Any] = worker.call(
        _measure,
        {
            "ingested": ingested,
            "artifact": packed / params.artifact,
            "threads": params.threads,
            "seconds": params.seconds,
        },
        timeout=600 + 10 * params.seconds,
    )
    if document.get("noisy"):
        context.info("The machine was busy while latency was measured; take the figures as rough.")
    context.write_json("latency.json", document)


def _measure(ingested: Path, artifact: Path, threads: int, seconds: float) -> dict[str, Any]:
    """In the worker: load both, then run them in turns."""
    import warnings

    import onnxruntime

    from edgec.contract import Contract
    from edgec.reference import Reference
    from edgec.runners.timing import in_turns, probe
    from edgec.runtime import load
    from edgec.runtime.bench import profiled
    from edgec.runtime.bundle import Bundle
    from edgec.runtime.errors import ArtifactFailure, DeviceUnfit

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the artifact was made a moment ago, with this very engine
            model = load(artifact, threads)
    except DeviceUnfit as unfit:
        return _document(threads, f"Not measured: {unfit.what}.")
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    contract = Contract.read(ingested)
    feeds = probe(contract)
    original = Reference(ingested / "model.onnx", "all", threads)
    timing = in_turns(lambda: model.run(feeds), lambda: original.run(feeds), seconds)
    steps, note = profiled(Bundle.open(artifact), threads, feeds, timing.candidate["p50"], _PROFILED_SECONDS)
    return {
        **_document(threads, _beyond(model.manifest), timing, onnxruntime.__version__),
        "profile": steps,
        "profile_note": note,
    }


def _document(threads: int, note: str, timing: Timing | None = None, version: str = "") -> dict[str, Any]:
    """latency.json, of one shape with figures or without: who reads it need not know which."""
    return {
        "artifact": timing.candidate if timing else None,
        "baseline": {"engine": "onnxruntime", "version": version, **timing.baseline} if timing else None,
        "ratio_of_medians": timing.ratio if timing else None,
        "ratio_quartiles": list(timing.ratio_quartiles) if timing else None,
        "ratio_interval": list(timing.ratio_interval) if timing and timing.ratio_interval else None,
        "runs": timing.runs if timing else 0,
        "threads": threads,
        "noisy": timing.noisy if timing else False,
        "machine": cpu_name() if timing else None,
        "profile": None,
        "profile_note": "",
        "note": note,
    }


def _beyond(manifest: Mapping[str, Any]) -> str:
    """What must be said where this machine can do more than the target."""
    from edgec.targets import host_features

    if beyond := sorted(set(host_features()) - set(manifest["cpu_features"])):
        return f"This machine has {', '.join(beyond)}, which the target lacks: the target itself may be slower."
    return ""


STAGE = Stage(name="measure", tools=("onnxruntime", *backend_tools(), "numpy"), run=run)
