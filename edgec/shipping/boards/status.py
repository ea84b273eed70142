"""What boards have: their agents, their models, and the versions of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.shipping.boards.agent import AgentOnBoard
from edgec.shipping.boards.hosts import Host
from edgec.shipping.boards.parallel import Sessions
from edgec.shipping.boards.reports import BoardReport, ModelReport, Step, Tell


def look(host: Host, sessions: Sessions, tell: Tell, report: BoardReport) -> None:
    """What a board has: its agent, its models, their versions. Nothing is brought there. Raises EdgecError."""
    tell(Step(host, "connecting"))
    with sessions.open(host, making=False) as agent:
        ask_status(agent, report)


def ask_status(agent: AgentOnBoard, report: BoardReport) -> Mapping[str, Any]:
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
