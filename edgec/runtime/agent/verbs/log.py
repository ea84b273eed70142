"""`edgec-device log [MODEL]`: what happened to a model's versions."""

from __future__ import annotations

import argparse
from typing import Any

from ..folder import check_device_folder, models_of
from ..slots import Slots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="this model only (default: all)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    models = models_of(options.root, options.model)
    return {
        "status": "ok",
        "models": {model: [dict(line) for line in Slots(options.root, model).state().history] for model in models},
    }


def text(document: dict[str, Any]) -> str:
    lines: list[str] = []
    for model, history in document["models"].items():
        lines.append(model)
        for each in history:
            version = "" if each["version"] is None else f" version {each['version']}"
            what = f" {each['sha256'][:12]}" if each["sha256"] else ""
            why = f"  {' '.join(str(each['why']).split())}" if each["why"] else ""
            lines.append(f"  {each['at']}  {each['event']:11}{version}{what}{why}")
    return "\n".join(lines) or "no models"
