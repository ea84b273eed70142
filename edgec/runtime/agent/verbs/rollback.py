"""`edgec-device rollback [MODEL]`: back to the version before, by hand."""

from __future__ import annotations

import argparse
from typing import Any

from ..folder import check_device_folder, the_model
from ..install import go_back
from ..settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="may be left out where the device has one")
    parser.add_argument(
        "--to", metavar="VERSION", help="the installed version to go to: its number, or how its SHA-256 begins"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    model = the_model(options.root, options.model)
    left, runs = go_back(options.root, model, read_settings(options.root), options.to)
    return {"status": "rolled back", "left": left.to_json(), "release": runs.to_json()}


def text(document: dict[str, Any]) -> str:
    left, runs = document["left"], document["release"]
    return f"{runs['model']}: {runs['sha256'][:12]} runs again; {left['sha256'][:12]} is not installed again by itself"
