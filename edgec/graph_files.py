"""The folder that Netron and Model Explorer open: asked of the stage `graph`, put beside the report.

Runs in the process that the user started: no numpy, no native library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgec.errors import EdgecError
from edgec.graph_view.measures import FILES
from edgec.outcome import Outcome
from edgec.output_folder import write_whole
from edgec.stage_runner import StageRunner
from edgec.stages import graph
from edgec.store import Entry

SUFFIX = ".graph"
_INPUTS = ("canonical", "analyzed", "quantized", "lowered", "packed", "diagnosed")


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
    target = outcome.target.name
    runner = StageRunner(runner.store, runner.listener, target=target)
    made = {
        "canonical": outcome.canonical,
        "analyzed": outcome.analyzed,
        "quantized": outcome.quantized,
        "lowered": outcome.lowered,
        "packed": outcome.packed,
    }
    validated = outcome.validated
    params = graph.GraphParams(
        name=f"{outcome.spec.artifact_name}-{target}",
        target=target,
        backend=outcome.backend,
        precision=outcome.precision,
        artifact=outcome.artifact.path.name if outcome.artifact is not None else None,
        here=validated is not None and validated.read_json("parity.json")["runner"] == "native",
    )
    entry = make_graph(runner, made, params)
    stages, notes = (*outcome.stages, *runner.records), (*outcome.notes, *runner.notes)
    return replace(outcome, stages=stages, notes=notes), entry


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
