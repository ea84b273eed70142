"""`edgec-device prune`: remove what is not needed."""

from __future__ import annotations

import argparse
from typing import Any

from ...errors import InputError
from ..folder import check_device_folder, models_of
from ..settings import LARGEST_KEEP, read_settings
from ..slots import Slots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="this model only (default: all)")
    parser.add_argument("--keep", type=int, metavar="N", help="versions that stay (default: as in device.conf)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    settings = read_settings(options.root)
    keep = settings.keep if options.keep is None else options.keep
    if not 2 <= keep <= LARGEST_KEEP:
        raise InputError(
            f"--keep {keep} is not possible",
            "A device keeps the version that runs, and one to go back to.",
            f"Give a number from 2 to {LARGEST_KEEP}.",
        )
    removed = []
    for model in models_of(options.root, options.model):
        slots = Slots(options.root, model, keep)
        with slots.lock(settings.lock_wait), slots.unused(settings.use_wait):
            slots.recover()
            if (staged := slots.staged()) is not None:
                slots.discard()
                removed.append(staged.release)
            removed += [slot.release for slot in slots.collect()]
    return {
        "status": "ok",
        "removed": [release.to_json() for release in removed],
        "bytes": sum(release.bytes for release in removed),
    }


def text(document: dict[str, Any]) -> str:
    lines = [f"{each['model']} {each['sha256'][:12]}: removed" for each in document["removed"]]
    return "\n".join([*lines, f"{document['bytes'] / 1e6:.1f} MB removed"])
