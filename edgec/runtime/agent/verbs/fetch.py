"""`edgec-device fetch`: download what `update` would install, and leave it at that."""

from __future__ import annotations

import argparse
from typing import Any

from ..folder import check_device_folder
from ..settings import read_settings
from ..update import text, update

__all__ = ["add_arguments", "run", "text"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="these models alone (default: those of device.conf, which may be all)",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    return update(read_settings(options.root), options.models, install_too=False)
