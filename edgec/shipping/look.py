"""What boards have, and going back on them to a version that they had before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.errors import ConnectionLost, DeviceError, UsageError
from edgec.shipping.agent_on_board import AgentOnBoard
from edgec.shipping.hosts import Host
from edgec.shipping.on_boards import Sessions, Work
from edgec.shipping.reports import BoardReport, ModelReport, Step, Tell


def look(host: Host, sessions: Sessions, tell: Tell, report: BoardReport) -> None:
    """What a board has: its agent, its models, their versions. Nothing is brought there. Raises EdgecError."""
    tell(Step(host, "connecting"))
    with sessions.open(host, making=False) as agent:
        _asked(agent, report)


def rolling_back(model: str | None, to: str | None) -> Work:
    """Go back to the version before, or to the installed one with this number, or whose SHA-256 begins so."""

    def roll_back(host: Host, sessions: Sessions, tell: Tell, report: BoardReport) -> None:
        tell(Step(host, "connecting"))
        with sessions.open(host, making=False) as agent:
            models = _asked(agent, report)
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


def _asked(agent: AgentOnBoard, report: BoardReport) -> Mapping[str, Any]:
    """What the agent says of its models, by their names; `report` is filled with it."""
    report.root = agent.root
    report.agent = {"before": agent.before.version, "after": agent.before.version}
    if not agent.before.version:
        return {}
    told = agent.ask("check")
    report.device = {**told["device"], "free_bytes": told["free_bytes"]}
    models: Mapping[str, Any] = agent.ask("status")["models"] if told["initialized"] else {}
    report.installed = models
    for name, found in models.items():
        current = found["current"]
        result = "nothing runs" if current is None else "on trial" if found["trial"] else "runs"
        report.models.append(ModelReport(name, None, current, current, result))
    return models


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
