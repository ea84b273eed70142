"""`edgec-device status`: which versions are there, which one runs, which failed. Needs no rights but to read."""

from __future__ import annotations

import argparse
from typing import Any

from ..folder import check_device_folder, models_of
from ..settings import read_settings
from ..slot_folder import Slot
from ..slots import Slots
from ..version import VERSION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="this model only (default: all)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    settings = read_settings(options.root)
    models = models_of(options.root, options.model)
    return {
        "status": "ok",
        "agent": VERSION,
        "root": str(options.root),
        "id": settings.id,
        "target": settings.target,
        "channel": settings.channel,
        "repository": settings.repository,
        "models": {model: _model(Slots(options.root, model, settings.keep)) for model in models},
    }


def _model(slots: Slots) -> dict[str, Any]:
    current, previous, state = slots.current(), slots.previous(), slots.state()
    trial = None
    if state.trial is not None and current is not None and current.release.sha256 == state.trial.sha256:
        trial = {"starts": slots.starts(), "limit": state.trial.limit}
    return {
        "path": str(slots.folder),
        "current": _version(current),
        "previous": _version(previous),
        "installed": [_version(slot) for slot in slots.installed()],
        "staged": _version(slots.staged()),
        "trial": trial,
        "failed": dict(state.failed),
        "held": slots.in_use(),
    }


def _version(slot: Slot | None) -> dict[str, Any] | None:
    return None if slot is None else {"slot": slot.name, **slot.release.to_json()}


def text(document: dict[str, Any]) -> str:
    follows = (
        f"channel {document['channel']} of {document['repository']}" if document["repository"] else "no repository"
    )
    lines = [
        f"device      {document['id'] or 'without an id'}",
        f"target      {document['target'] or 'any that fits'}",
        f"follows     {follows}",
    ]
    for model, found in document["models"].items():
        lines += ["", model]
        current, previous = found["current"], found["previous"]
        if current is None:
            lines.append("  no version runs")
        for version in found["installed"]:
            lines.append(f"  {version['slot']}  {_line(version)}{_role(version, current, previous, found)}")
        if found["staged"]:
            lines.append(f"  -  {_line(found['staged'])}  ready, waits for its slot")
        gone = set(found["failed"]) - {version["sha256"] for version in found["installed"]}
        lines += [f"  -  {sha256[:12]}  failed: {' '.join(found['failed'][sha256].split())}" for sha256 in sorted(gone)]
        if found["held"]:
            lines.append("  an application holds updates off")
    return "\n".join(lines)


def _line(version: dict[str, Any]) -> str:
    number = "" if version["version"] is None else f"version {version['version']}  "
    return f"{number}{version['sha256'][:12]}  {version['bytes'] / 1e6:.2f} MB"


def _role(version: dict[str, Any], current: Any, previous: Any, found: dict[str, Any]) -> str:
    role = ""
    if current is not None and version["slot"] == current["slot"]:
        role = "  runs"
        if found["trial"]:
            role += f", on trial: {found['trial']['starts']} of {found['trial']['limit']} starts"
    elif previous is not None and version["slot"] == previous["slot"]:
        role = "  to go back to"
    if version["sha256"] in found["failed"]:
        role += f"  failed: {' '.join(found['failed'][version['sha256']].split())}"
    return role
