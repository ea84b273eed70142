"""What the model is like on a target, before anything is made of it."""

from __future__ import annotations

from edgec.errors import EdgecError
from edgec.pipeline.front import Front
from edgec.stage_runner import NOT_MADE, StageRunner
from edgec.stages import analyze, peaks
from edgec.store import Entry
from edgec.targets import Target, cpu_name


def analyzed(front: Front, target: Target, runner: StageRunner) -> Entry:
    """What the model is like on the target: the stage analyze, with what this machine can do where it is the target."""
    known = None
    if target.here and target.performance is None:
        known = runner.run(peaks.STAGE, {}, peaks.PeaksParams(cpu_name()))
    return runner.run(
        analyze.STAGE,
        {"canonical": front.canonical, **({"peaks": known} if known is not None else {})},
        analyze.AnalyzeParams(target, front.came_quantized),
        detail=f"for {target.name}",
    )


def analyzed_if_possible(front: Front, target: Target, runner: StageRunner) -> Entry | None:
    """The same; None, with a warning, where it fails: a build does not need it."""
    try:
        return analyzed(front, target, runner)
    except EdgecError as error:
        runner.note("analyze", f"The model could not be analyzed, which the build does not need: {error.what}")
        return None


def activation_bytes(analysis: Entry | None) -> dict[str, int] | None:
    """What activations need at their peak, as "float32" and as "int8"; None where it is not known (yet)."""
    if analysis is None or analysis.digest == NOT_MADE:
        return None
    peak = analysis.read_json("analysis.json")["totals"]["activation_peak_bytes"]
    return {kind: int(peak[kind]) for kind in ("float32", "int8")}
