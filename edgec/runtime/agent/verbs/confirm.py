"""`edgec-device confirm [MODEL]`: the version on trial is good."""

from __future__ import annotations

import argparse
from typing import Any

from ...errors import InputError
from ..folder import check_device_folder, the_model
from ..install import settle
from ..settings import read_settings
from ..slots import Slots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="may be left out where the device has one")
    parser.add_argument(
        "--if-healthy",
        action="store_true",
        help="run the health command first, and go back to the version before when it fails",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    settings = read_settings(options.root)
    model = the_model(options.root, options.model)
    slots = Slots(options.root, model, settings.keep)
    if options.if_healthy:
        if settings.confirm != "health":
            raise InputError(
                "Here the application confirms versions, not the health command",
                "device.conf says so: [health] confirm = application.",
                "Leave --if-healthy out where the application is satisfied.",
            )
        outcome = settle(options.root, model, settings)
        if outcome is not None:
            return {"status": "confirmed", "release": outcome.release.to_json()}
        current = slots.current()
    else:
        with slots.lock(settings.lock_wait):
            slots.recover(deep=False)
            current = slots.confirm()
    if current is None:
        raise InputError(f"No version of {model} is installed", f"{slots.folder} has none.", "Install one first.")
    return {"status": "confirmed", "release": current.release.to_json()}


def text(document: dict[str, Any]) -> str:
    return f"{document['release']['model']}: {document['release']['sha256'][:12]} is confirmed"
