"""The folder that Netron and Model Explorer open: asked of the stage `graph`, put beside the report.

Runs in the process that the user started: no numpy, no native library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.candidates.asked import backend_of
from edgec.errors import EdgecError
from edgec.graph_view.measures import FILES
from edgec.outcome import Outcome
from edgec.output_folder import write_whole
from edgec.spec import BuildSpec
from edgec.stage_runner import StageRunner
from edgec.stages import graph
from edgec.store import Entry
from edgec.targets import Target

if TYPE_CHECKING:
    from edgec.pipeline.target_path import TargetPath

SUFFIX = ".graph"
_INPUTS = ("canonical", "analyzed", "quantized", "lowered", "measured", "diagnosed")


def make_graph(runner: StageRunner, made: Mapping[str, Entry | None], params: graph.GraphParams) -> Entry | None:
    """The stage's result, of what a build or a diagnosis made: by input of the stage; what is missing is None.

    None, with a warning, where it can't be made: nothing else depends on it.
    """
    try:
        return runner.run(
            graph.STAGE, {name: made.get(name) for name in _INPUTS}, params, detail=f"for {params.target}"
        )
    except EdgecError as error:
        runner.note("graph", f"The graph for viewers could not be made: {error.what}")
        return None


def graph_of(outcome: Outcome, runner: StageRunner) -> tuple[Outcome, Entry | None]:
    """The graph of what a build came to, and the outcome with the stage among its own."""
    runner = StageRunner(runner.store, runner.listener, target=outcome.target.name)
    made = {
        "canonical": outcome.canonical,
        "analyzed": outcome.analyzed,
        "quantized": outcome.quantized,
        "lowered": outcome.lowered,
        "measured": outcome.measured,
    }
    entry = make_graph(runner, made, params_of(outcome.spec, outcome.target, outcome.precision))
    stages, notes = (*outcome.stages, *runner.records), (*outcome.notes, *runner.notes)
    return replace(outcome, stages=stages, notes=notes), entry


def foresee_graph(path: TargetPath, analyzed: Entry) -> None:
    """The same stage for a plan: of what the only way to an artifact will come to."""
    spec, target = path.spec, path.target
    made = {
        "canonical": path.front.canonical,
        "analyzed": analyzed,
        "quantized": path.quantized,
        "lowered": path.lowered,
        "measured": path.measured,
    }
    make_graph(path.runner, made, params_of(spec, target, path.precision))


def params_of(spec: BuildSpec, target: Target, precision: str) -> graph.GraphParams:
    """precision: that was reached."""
    return graph.GraphParams(f"{spec.artifact_name}-{target.name}", target.name, backend_of(spec, target), precision)


def publish_graph(entry: Entry, place: Path) -> Path:
    """Put the files into the folder `place`; those of an earlier build, which this one did not make, go."""
    place.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        file = entry.path / graph.FOLDER / name
        if file.is_file():
            write_whole(place / name, file.read_bytes())
        else:
            (place / name).unlink(missing_ok=True)
    return place
