"""Count: how many instructions the packed artifact executes in an inference, on the target's emulated core.

out: instructions.json {"core", "engine", "run", "note"}: of the engine's machine code alone, and of all of `run`. Where
they could not be counted both are null, and the note says why.

A measure of work, not of time: it serves to compare artifacts for a device that is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.backends import backend_tools
from edgec.errors import EdgecError
from edgec.stage import Stage, StageContext
from edgec.targets import Target


@dataclass(frozen=True)
class CountParams:
    """artifact: file name in the packed folder. emulator: what the device is emulated by, part of the result's key."""

    artifact: str
    target: Target
    emulator: tuple[str, str]


def run(packed: Path, params: CountParams, context: StageContext) -> None:
    """Write instructions.json.

    An artifact that is finished and proven is not lost to a count that fails, whatever the reason.
    """
    from edgec.runners.counted import inferences

    document: dict[str, object] = {"core": None, "engine": None, "run": None, "note": ""}
    try:
        counted = inferences(packed / params.artifact, params.target)
    except EdgecError as error:
        document["note"] = f"Not counted: {error.what}."
        context.warn(f"Instructions were not counted: {error.what}. {error.fix}")
    else:
        document |= {"core": counted.machine.core, "engine": counted.engine.total, "run": counted.run.total}
    context.write_json("instructions.json", document)


STAGE = Stage(name="count", tools=(*backend_tools(), "numpy"), run=run)
