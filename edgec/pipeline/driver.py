"""`build` walks the stages for all targets; `plan` walks them without working."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from edgec import worker
from edgec.candidates.attempts import attempts, ways
from edgec.errors import EdgecError, ParityGateError, ToolMissing, UsageError, as_edgec_errors
from edgec.events import Listener, ignore
from edgec.graph_files import foresee_graph
from edgec.output_folder import check_writable
from edgec.parity.thresholds import Gate
from edgec.pipeline.analysis import activation_bytes, analyzed
from edgec.pipeline.front import Front
from edgec.pipeline.target_build import build_target, impossible
from edgec.pipeline.target_path import TargetPath
from edgec.result import BuildResult, StageRecord, TargetBuild
from edgec.runners.execution import Execution
from edgec.spec import BuildSpec
from edgec.stage import as_pairs
from edgec.stage_runner import StageRunner
from edgec.store import Store
from edgec.targets import Target, load_target


def build(spec: BuildSpec, *, store: Store | None = None, listener: Listener = ignore, jobs: int = 1) -> BuildResult:
    """Build `spec` for all its targets.

    Errors of one target do not stop the others: they are in its TargetBuild. An error that concerns all of them (the
    model, the specification, the calibration data) is raised.
    """
    with as_edgec_errors():
        store = store or Store.default()
        targets = _targets(spec)
        Gate.from_overrides(as_pairs(spec.gate))
        check_writable(spec.output)
        found = ways(spec, targets)
        with store.in_use(), store.scratch() as scratch:
            front = Front.open(spec, StageRunner(store, listener), scratch)
            builds = _each(lambda target: build_target(target, front, found[target.name]), targets, jobs)
    return BuildResult(front.facts, builds)


def _targets(spec: BuildSpec) -> list[Target]:
    """The targets of `spec`. Raises UsageError for two descriptions of one name: their artifacts have one place."""
    targets: dict[str, tuple[str, Target]] = {}
    for asked in spec.targets:
        target = load_target(asked)
        if target.name in targets:
            raise UsageError(
                f"{targets[target.name][0]} and {asked} are both called {target.name!r}",
                "The name of the target is part of the artifact's: one would replace the other.",
                f'Change `name = "{target.name}"` in one of them, or build them into two folders (-o).',
            )
        targets[target.name] = asked, target
    return [target for _, target in targets.values()]


def _each(work: Callable[[Target], TargetBuild], targets: Sequence[Target], jobs: int) -> tuple[TargetBuild, ...]:
    """`work` for every target, up to `jobs` at a time; the threads only wait for worker processes."""
    if jobs == 1:
        return tuple(work(target) for target in targets)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return tuple(pool.map(work, targets))
        except KeyboardInterrupt:
            with worker.interrupting():
                pool.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass(frozen=True)
class Plan:
    """stages: what is to be done, and what is there. missing: targets that can't be built as things are, and why.

    candidates: of a search, by target: what would be tried, each with the reason if it can't be. What need not be
    built after all is only known from the figures of those before it.
    """

    stages: list[StageRecord]
    missing: dict[str, ToolMissing]
    candidates: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def plan(spec: BuildSpec, *, store: Store | None = None) -> Plan:
    """What `build` would do: every stage of every target, and whether its result is already there.

    The model is really read (so that what is wrong with it shows now); nothing else is run, and nothing is written to
    the output folder. Of a target whose emulator is missing, only the analysis and the stages that all targets share
    are known; of one with several ways to an artifact, not the graph for viewers, which will be of the kept one.
    """
    with as_edgec_errors():
        store = store or Store.default()
        records: dict[str, StageRecord] = {}
        targets = _targets(spec)
        found = {target.name: attempts(spec, target) for target in targets}
        missing: dict[str, ToolMissing] = {}
        for target in targets:
            if isinstance(error := found[target.name][0].where, ToolMissing):
                missing[target.name] = error
            elif isinstance(error, EdgecError):
                raise error
        with store.in_use(), store.scratch() as scratch:
            front = Front.open(spec, StageRunner(store, ignore, foresee=True), scratch)
            for target in targets:
                runner = front.runner.for_target(target.name)
                analysis = analyzed(front, target, runner)
                for way in found[target.name]:
                    if not isinstance(way.where, Execution):
                        continue
                    path = TargetPath(
                        way.spec,
                        target,
                        front,
                        runner,
                        way.spec.precision,
                        way.where,
                        activation_bytes=activation_bytes(analysis),
                    )
                    with contextlib.suppress(ParityGateError):  # known to fail: what comes after will not be reached
                        path.artifact()
                        if len(found[target.name]) > 1:
                            path.count()
                    if spec.graph and len(found[target.name]) == 1:
                        foresee_graph(path, analysis)
                for record in runner.records:
                    records.setdefault(f"{record.key} {record.name} {record.detail}", record)
        candidates = {
            target.name: [(way.name, impossible(way)) for way in found[target.name]]
            for target in targets
            if spec.search
        }
        return Plan(list(records.values()), missing, candidates)
