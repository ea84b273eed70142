"""`edgec-device boot`: at the start of the device, and before an application starts.

It looks after every model, whatever it finds in one, and does not wait: where another agent is at work, that one has
put things in order, and may itself wait for the application that starts now.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from typing import Any

from ...errors import ArtifactFailure, Busy
from ..folder import check_device_folder, models_of
from ..install import started
from ..settings import read_settings

_log = logging.getLogger("edgec.device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="this model only (default: all)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    settings = replace(read_settings(options.root), lock_wait=0.0)
    found: dict[str, str] = {}
    failures: list[ArtifactFailure] = []
    for model in models_of(options.root, options.model):
        try:
            found[model] = started(options.root, model, settings)
        except Busy:
            found[model] = "busy"
        except ArtifactFailure as failure:
            found[model] = "failed"
            failures.append(failure)
            _log.error("%s: %s. %s", model, failure.what, failure.why)
    if failures:  # after all others were looked at
        failures[0].details["models"] = found
        raise failures[0]
    return {"status": "ok", "models": found}


def text(document: dict[str, Any]) -> str:
    return "\n".join(f"{model}: {state}" for model, state in document["models"].items()) or "no models"
