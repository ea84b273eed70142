"""`edgec-device install`: an artifact that somebody brought, without a network; or one from a registry."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..folder import check_device_folder
from ..install import install
from ..oci import device as oci
from ..settings import read_settings
from ..vouched import vouched_release


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE.edgec", help="its signature is FILE.edgec.dsse.json beside it"
    )
    oci.add_arguments(parser)
    parser.add_argument("--unsigned", action="store_true", help="without a signature, on a device that trusts no keys")
    parser.add_argument("--retry", action="store_true", help="also a version that failed on this device before")
    parser.add_argument("--move", action="store_true", help="move the file instead of copying it: saves the space")
    parser.add_argument("--origin", default="file", choices=("file", "ssh"), help="how it came (default: file)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    settings = read_settings(options.root)
    oci.check_arguments(options)
    if (options.file is None) == (options.oci is None):
        raise InputError("Nothing says what to install", "It is a file, or --oci REF.", "Give one of the two.")
    if options.oci is not None:
        return oci.fetch_and_install(options, settings).to_json()
    release, evidence = vouched_release(options.file, settings, options.origin, options.unsigned)
    outcome = install(
        options.root, options.file, release, settings, retry=options.retry, move=options.move, evidence=evidence
    )
    return outcome.to_json()


def text(document: dict[str, Any]) -> str:
    release = document["release"]
    what = f"{release['model']} {release['sha256'][:12]}"
    told = {
        "installed": f"{what}: runs now",
        "current": f"{what}: ran already",
        "trial": f"{what}: runs now, on trial until `edgec-device confirm {release['model']}`",
    }[document["status"]]
    return "\n".join([told, *(f"  note: {note}" for note in document["notes"])])
