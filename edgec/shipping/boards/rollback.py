"""Going back on boards to a version that they had before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.errors import ConnectionLost, DeviceError, UsageError
from edgec.shipping.boards.hosts import Host
from edgec.shipping.boards.parallel import Sessions, Work
from edgec.shipping.boards.reports import BoardReport, Step, Tell
from edgec.shipping.boards.status import ask_status


def rolling_back(model: str | None, to: str | None) -> Work:
    """Go back to the version before, or to the installed one with this number, or whose SHA-256 begins so."""

    def roll_back(host: Host, sessions: Sessions, tell: Tell, report: BoardReport) -> None:
        tell(Step(host, "connecting"))
        with sessions.open(host, making=False) as agent:
            models = ask_status(agent, report)
            if not models:
                raise DeviceError(
                    f"There is nothing to roll back on {host.name}",
                    f"{report.root} there has no models." if report.agent["before"] else "It has no device agent.",
                    f"Deploy an artifact first: edgec deploy {host.name} FILE.edgec",
                )
            name = _named(host, model, models)
            tell(Step(host, f"going back to another version of {name}"))
            report.models = [each for each in report.models if each.model == name]
            report.installed = {}  # what it was before
            (changed,) = report.models
            arguments = [] if to is None else ["--to", _sha256_of(to, models[name])]
            try:
                told = agent.ask("rollback", name, *arguments, alone=True)
            except ConnectionLost:
                changed.result = "connection lost"
                raise
            except DeviceError as error:
                changed.result, changed.error = "failed", error
                return
            changed.result, changed.after = "rolled back", told["release"]

    return roll_back


def _named(host: Host, model: str | None, models: Mapping[str, Any]) -> str:
    there = ", ".join(models)
    if model is None and len(models) > 1:
        raise UsageError(
            f"Which model is meant on {host.name} is not clear", f"It has {there}.", "Name one: --model NAME"
        )
    if model is not None and model not in models:
        raise UsageError(f"There is no model {model} on {host.name}", f"It has {there}.", "Check --model.")
    return model or next(iter(models))


def _sha256_of(to: str, found: Mapping[str, Any]) -> str:
    """The SHA-256 of the installed release with that number, else what may be the beginning of one."""
    return next((each["sha256"] for each in found["installed"] if str(each["version"]) == to), to)
