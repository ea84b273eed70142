"""`edgec inspect`: the first stages of a build, then the questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import UsageError, as_edgec_errors
from edgec.events import Listener, ignore
from edgec.inspection import questions
from edgec.pipeline import Front
from edgec.result import ModelFacts
from edgec.spec import BuildSpec, Interface
from edgec.stage_runner import StageRunner
from edgec.stages import inspect as stage
from edgec.store import Store
from edgec.targets import load_target
from edgec.version import __version__


@dataclass(frozen=True)
class Inspection:
    """answers: by question, as the modules of this package give them."""

    model: ModelFacts
    target: str
    answers: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "edgec": __version__,
            "schema": 1,
            "status": "inspected",
            "exit_code": 0,
            "model": self.model.to_json(),
            "target": self.target,
            "inspection": dict(self.answers),
            "error": None,
        }


def inspect(
    spec: BuildSpec, interface: Interface = "auto", *, store: Store | None = None, listener: Listener = ignore
) -> Inspection:
    """Ask what there is to ask of the model and the one target of `spec`.

    spec: of precision float, so that it needs no calibration data; the questions are about an INT8 build all the same.
    interface: what the payload of that build would take and give.

    Raises UsageError for several targets, or one of which there is nothing to tell.
    """
    with as_edgec_errors():
        if len(spec.targets) != 1:
            raise UsageError(
                "A model is inspected for one target at a time",
                f"Given were {', '.join(spec.targets)}.",
                "Give one --target.",
            )
        target = load_target(spec.targets[0])
        if not questions(target):
            raise UsageError(
                f"There is nothing to tell about target {target.name!r} before a build",
                "What can be told is which operations an Edge TPU would run, and what machine code through TVM would "
                "take: this target has neither.",
                "Choose another --target: `edgec targets` lists them; `edgec build` tells the rest.",
            )
        store = store or Store.default()
        with store.in_use(), store.scratch() as scratch:
            runner = StageRunner(store, listener, target=target.name)
            front = Front.open(spec, runner, scratch)
            entry = runner.run(
                stage.STAGE,
                {"canonical": front.canonical},
                stage.InspectParams(target, interface, front.came_quantized),
                detail=f"for {target.name}",
            )
            return Inspection(front.facts, target.name, entry.read_json("inspect.json"))
