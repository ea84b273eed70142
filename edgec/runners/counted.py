"""Executed instructions per inference of an artifact, on an emulated core.

One process loads the artifact and runs it a number of times; marks on both sides of each run tell what that run alone
executed, so that starting Python, loading and checking the artifact do not count. What the marks cost is measured in
the same process and subtracted. The first runs, in which engines prepare themselves and Python's interpreter adapts,
do not count either.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.bundle.write import runtime_sources
from edgec.emulator import counting
from edgec.emulator.counting import Counts
from edgec.emulator.machine import Machine
from edgec.errors import EdgecError, UsageError
from edgec.runners.emulated import ended
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure
from edgec.targets import Target

WARM_UPS = 16
"""Python's interpreter goes on adapting the code of a run until its 12th or so; engines are ready after one."""

RUNS = 3
"""Runs that count. They are equal, or nearly so."""

ENGINES = ("tflite", "tvm")
"""Engines that are counted."""

_MARKS = 4  # of one run
_SECONDS = 3600.0


@dataclass(frozen=True)
class Spread:
    """Of several runs: the one in the middle, by its total, and the totals of the least and of the most."""

    middle: Counts
    least: int
    most: int

    @classmethod
    def of(cls, counts: Sequence[Counts]) -> Spread:
        """Those of several runs, at least one."""
        ordered = sorted(counts, key=lambda each: each.total)
        return cls(ordered[len(ordered) // 2], ordered[0].total, ordered[-1].total)

    @property
    def total(self) -> int:
        return self.middle.total

    def to_json(self, *, kinds: bool) -> dict[str, Any]:
        """kinds: whether they were told apart; else they are null."""
        told = {kind: getattr(self.middle, kind) for kind in Counts.__dataclass_fields__} if kinds else None
        return {"total": self.total, "least": self.least, "most": self.most, "kinds": told}


@dataclass(frozen=True)
class Counted:
    """Instructions of one inference on one thread.

    run: of the artifact's `run`: Python, checking, converting inputs and outputs, and the engine.
    engine: of the engine's machine code alone. version: the engine's. machine: where it ran.
    """

    run: Spread
    engine: Spread
    version: str
    machine: Machine

    def to_json(self) -> dict[str, Any]:
        told = self.machine.qemu.name == "qemu-aarch64"
        return {"instructions": self.run.to_json(kinds=told), "engine_instructions": self.engine.to_json(kinds=told)}


def inferences(
    artifact: Path, target: Target, runs: int = RUNS, warm_ups: int = WARM_UPS, path: Sequence[str] = ()
) -> Counted:
    """Count an artifact on the emulated core of `target`, on its first golden sample.

    warm_ups: where only the engine's machine code matters, one does: the smallest models are then counted 2 % too
    high in LiteRT, whose call begins in Python, others exactly enough.
    path: folders that the device's Python imports from before its own.

    Raises UsageError for a target without an emulator or an engine that is not counted, ArtifactError for a damaged
    file, ToolMissing when the emulator, its plugins, a root or the engine is missing, DeviceError when the core lacks
    an instruction, WorkerCrashed and WorkerTimedOut.
    """
    try:
        engine = Bundle.open(artifact).manifest["engine"]["name"]
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    if engine not in ENGINES:
        raise UsageError(
            f"Instructions of the engine {engine} can't be counted",
            f"The emulated devices have engines for {' and '.join(ENGINES)}.",
            "Time it on the device: python3 FILE.edgec bench.",
        )
    if target.emulator is None:
        raise UsageError(
            f"{target.name} has no emulator",
            f"The description of that target ({target.arch}) has no table [emulator].",
            f"Time the artifact there instead: python3 {artifact.name} bench.",
        )
    machine = counting.counting(Machine.of(target))
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "guest.zip"
        _write_program(program)
        words = [str(artifact.absolute()), *map(str, (*counting.MARK, warm_ups, runs))]
        command, environment = machine.python(["-m", "edgec_counted", *words], [str(program), *path])
        counted = counting.run(machine.qemu, command[1:], environment, _SECONDS)
    if counted.code != 0:
        starting = not counted.marks and "Traceback" not in counted.said
        raise ended(machine, counted.code, counted.said.strip()[-2000:], loading=starting)
    told = json.loads(counted.output.splitlines()[-1])  # native libraries may have printed before
    if why := told.get("failure"):
        raise _refused(why)
    counting.require_counts(counted, 2 * _MARKS * (warm_ups + runs), artifact.name)
    return Counted(*_spreads(counted.marks, runs), version=told["version"], machine=machine)


def _refused(why: Mapping[str, Any]) -> EdgecError:
    """What the runtime raised on the device."""
    failure = ArtifactFailure(why["what"], why["why"], why["fix"], why["details"])
    failure.exit_code = why["exit_code"]
    return as_edgec_error(failure)


def _spreads(marks: Sequence[Counts], runs: int) -> tuple[Spread, Spread]:
    """Of `run` and of the engine, without what their marks cost. marks: those of all runs, then those of nothing."""
    half = len(marks) // 2
    model, nothing = (
        [part[start : start + _MARKS] for start in range(0, half, _MARKS)][-runs:]
        for part in (marks[:half], marks[half:])
    )
    costs = [
        sorted((group[last] - group[first] for group in nothing), key=lambda each: each.total)[runs // 2]
        for first, last in ((0, 3), (1, 2))
    ]
    whole = Spread.of([group[3] - group[0] - costs[0] for group in model])
    inner = Spread.of([group[2] - group[1] - costs[1] for group in model])
    return whole, inner


def _write_program(place: Path) -> None:
    own = {"edgec_counted.py": Path(__file__).with_name("counted_guest.py").read_bytes()}
    with zipfile.ZipFile(place, "w") as archive:
        for name, source in {**runtime_sources(), **own}.items():
            archive.writestr(zipfile.ZipInfo(name), source)  # not dated: a zip knows no time before 1980
