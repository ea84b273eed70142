"""`edgec inspect`: the first stages of a build, the analysis, then further questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgec.errors import EdgecError, ModelRefused, UnsupportedOp, UsageError, as_edgec_errors
from edgec.events import Listener, ignore
from edgec.inspection import questions
from edgec.pipeline.analysis import analyzed
from edgec.pipeline.front import Front
from edgec.result import ModelFacts
from edgec.spec import BuildSpec, Interface
from edgec.stage_runner import StageRunner
from edgec.stages import inspect as stage
from edgec.store import Store
from edgec.targets import Target, load_target
from edgec.version import __version__
from edgec.worker import Worker

_SLOW = frozenset({"machine_code"})
"""Questions that take seconds, and are put only where someone asked for the answer."""


@dataclass(frozen=True)
class OpenDimensions:
    """Inputs that the model leaves open.

    inputs: their dimensions as the model has them, a name where one is open; None where not even their number is known.
    assumed: the sizes that were inspected instead. flags: what freezes them to these sizes.
    """

    inputs: Mapping[str, list[int | str] | None]
    assumed: Mapping[str, list[int]]
    flags: str


@dataclass(frozen=True)
class TargetInspection:
    """analysis: docs/inspect.md describes it. answers: by question. unanswered: why others have no answer."""

    target: Target
    analysis: Mapping[str, Any]
    answers: Mapping[str, Any]
    unanswered: Mapping[str, EdgecError]

    @property
    def refusal(self) -> EdgecError | None:
        """The error that a build would end with, whatever the backend: where none of them takes every node."""
        support = self.analysis["support"]
        if any(item["status"] in ("all", None) for item in support.values()):
            return None
        reasons, remedies = [], []
        for name, item in support.items():
            refused = [node for node in item["nodes"] if node["effect"] == "refused"]
            told = refused[0] if refused else None
            more = f" ({len(refused) - 1} more)" if len(refused) > 1 else ""
            node = f"node {told['node']!r} ({told['operator']}): {told['reason']}{more}" if told else item["reason"]
            reasons.append(f"{name}: {node}")
            remedies += [entry["remedy"] for entry in refused if entry["remedy"]]
        return UnsupportedOp(
            f"No backend of {self.target.name} takes all operators of the model",
            "\n".join(reasons),
            "\n".join(dict.fromkeys(remedies)) or "Choose another --target: `edgec targets` lists them.",
            {"target": self.target.name, "support": support},
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target.name,
            "title": self.target.title,
            "analysis": self.analysis,
            "answers": dict(self.answers),
            "unanswered": {name: error.to_json() for name, error in self.unanswered.items()},
        }


@dataclass(frozen=True)
class Inspection:
    """Of one model. opened: None where it leaves nothing open."""

    model: ModelFacts
    opened: OpenDimensions | None
    targets: tuple[TargetInspection, ...]

    @property
    def refusal(self) -> EdgecError | None:
        return next((found.refusal for found in self.targets if found.refusal is not None), None)

    def to_json(self) -> dict[str, Any]:
        error = self.refusal
        return {
            "edgec": __version__,
            "schema": 2,
            "status": "inspected" if error is None else "unsupported",
            "exit_code": 0 if error is None else error.exit_code,
            "model": self.model.to_json(),
            "open": asdict(self.opened) if self.opened is not None else None,
            "inspections": [found.to_json() for found in self.targets],
            "error": error and error.to_json(),
        }


def inspect(
    spec: BuildSpec,
    interface: Interface = "auto",
    *,
    machine_code: bool = False,
    store: Store | None = None,
    listener: Listener = ignore,
) -> Inspection:
    """Ask what there is to ask of the model and the targets of `spec`.

    spec: of precision float, so that it needs no calibration data; answers are about an INT8 build all the same. Where
        the model leaves dimensions open that its shapes don't fix, likely sizes stand in.
    interface: what the payload of that build would take and give. machine_code: whether to generate it for its size.

    Raises ModelRefused and UnsupportedOp as a build does, UsageError where there is no machine code to ask about.
    """
    with as_edgec_errors():
        targets = [load_target(name) for name in spec.targets]
        if machine_code and not any("machine_code" in questions(target) for target in targets):
            raise UsageError(
                f"There is no machine code to tell of for {', '.join(target.name for target in targets)}",
                "It is made by the backend tvm, which these targets do not list or which has no kernels for them.",
                "Leave --machine-code out, or choose another --target: `edgec targets` lists them.",
            )
        store = store or Store.default()
        with store.in_use(), store.scratch() as scratch, Worker() as worker:
            runner = StageRunner(store, listener, reused=worker)  # its stages load the same libraries, one by one
            front, opened = _front(spec, runner, scratch)
            found = tuple(_one(target, front, interface, machine_code) for target in targets)
            return Inspection(front.facts, opened, found)


def _front(spec: BuildSpec, runner: StageRunner, scratch: Path) -> tuple[Front, OpenDimensions | None]:
    """The model in its normal form, with likely sizes where it leaves some open."""
    try:
        return Front.open(spec, runner, scratch), None
    except ModelRefused as refusal:
        if "likely" not in refusal.details:
            raise
        why: dict[str, EdgecError] = {}
        for likely in refusal.details["likely"]:
            flags = " ".join(f"--shape {name}={'x'.join(map(str, sizes))}" for name, sizes in likely.items())
            if flags in why:
                continue
            assumed = {name: tuple(sizes) for name, sizes in likely.items()}
            try:
                front = Front.open(replace(spec, shapes={**spec.shapes, **assumed}), runner, scratch)
            except EdgecError as error:
                why[flags] = error
            else:
                return front, OpenDimensions(refusal.details["open"], likely, flags)
        tried = "\n".join(f"  {flags}: {error.what}" for flags, error in why.items())
        raise ModelRefused(
            refusal.what,
            f"{refusal.why}\nIt can't be inspected with sizes that are guesses:\n{tried}",
            refusal.fix,
            refusal.details,
        ) from refusal


def _one(target: Target, front: Front, interface: Interface, machine_code: bool) -> TargetInspection:
    runner = front.runner.for_target(target.name)
    analysis = analyzed(front, target, runner).read_json("analysis.json")
    answers: dict[str, Any] = {}
    unanswered: dict[str, EdgecError] = {}
    for question in questions(target):
        if question in _SLOW and not machine_code:
            continue
        try:
            answers[question] = runner.run(
                stage.STAGE,
                {"canonical": front.canonical},
                stage.InspectParams(question, target, interface, front.came_quantized),
                detail=f"{question.replace('_', ' ')} for {target.name}",
            ).read_json("inspect.json")
        except UnsupportedOp as error:
            unanswered[question] = error
    return TargetInspection(target, analysis, answers, unanswered)
