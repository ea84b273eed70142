"""`edgec-device fetch`: download what `update` would install, or what a registry has, and leave it at that."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..folder import check_device_folder
from ..oci import device as oci
from ..settings import read_settings
from ..update import text as of_models
from ..update import update


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="these models alone (default: those of device.conf, which may be all)",
    )
    oci.add_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="with --oci: where to (default: here)")
    parser.add_argument("--unsigned", action="store_true", help="with --oci: without a signature, trusting no keys")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    oci.check_arguments(options)
    settings = read_settings(options.root)
    if options.oci is None:
        if options.output is not None or options.unsigned:
            raise InputError("-o and --unsigned are for --oci", "There is no --oci.", "Leave them out.")
        return update(settings, options.models, install_too=False)
    if options.models:
        raise InputError("--oci names one model by itself", f"{options.models[0]!r} is another word.", "Leave it out.")
    path, release, _ = oci.fetch(options, settings, options.output or Path())
    return oci.fetched(path, release)


def text(document: dict[str, Any]) -> str:
    return oci.text(document) if "file" in document else of_models(document)
