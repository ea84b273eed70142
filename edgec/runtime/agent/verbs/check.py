"""`edgec-device check`: what this device is, and whether artifacts fit it. Changes nothing."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...device import architecture, cpu_features, glibc
from ...errors import ArtifactFailure, DeviceUnfit, InputError
from .. import storage
from ..compatibility import check, memory_bytes
from ..folder import models_of
from ..release import Release
from ..settings import FILE, Settings, read_settings
from ..signatures import public_keys
from ..slot_folder import release_of
from ..slots import Slots
from ..version import VERSION
from ..vouched import trusted_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="an artifact, or a JSON list of releases as `install` keeps them: what would be needed for each is looked "
        "for on this device",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The device, whom it trusts, its models, and for each release whether it fits, and in which slot it already is."""
    settings = read_settings(options.root)
    python = platform.python_version()
    libc = glibc()
    features = cpu_features()
    return {
        "status": "ok",
        "agent": VERSION,
        "root": str(options.root),
        "initialized": (options.root / FILE).is_file(),
        "free_bytes": storage.free_bytes(_existing(options.root)),
        "device": {
            "arch": architecture(),
            "cpu_features": None if features is None else sorted(features),
            "glibc": None if libc is None else ".".join(map(str, libc)),
            "memory_bytes": memory_bytes(),
            "python": python,
            "target": settings.target or None,
        },
        "trusted_root": (options.root / "trust" / "root.json").is_file(),
        "trusted": [key.keyid for key in public_keys(trusted_keys(settings))],
        "models": {name: _running(Slots(options.root, name)) for name in models_of(options.root)},
        "releases": [_judged(settings, release) for release in _releases(options.files)],
    }


def text(document: dict[str, Any]) -> str:
    device = document["device"]
    memory = device["memory_bytes"]
    lines = [
        f"{device['arch']}, {'glibc ' + device['glibc'] if device['glibc'] else 'no glibc'}, Python {device['python']}"
        + (f", {memory / 1e6:.0f} MB of memory" if memory else "")
        + f", {document['free_bytes'] / 1e6:.0f} MB free in {document['root']}",
        f"trusts {len(document['trusted'])} key{'' if len(document['trusted']) == 1 else 's'} of makers of artifacts"
        + (", and a repository" if document["trusted_root"] else ""),
    ]
    for each in document["releases"]:
        name = f"{each['release']['model']} for {each['release']['target']}"
        if each["error"]:
            lines += [f"{name}: does not fit", *(f"  {each['error'][part]}" for part in ("what", "why", "fix"))]
        else:
            there = f", is in slot {Path(each['slot']).parent.name}" if each["slot"] else ""
            lines += [f"{name}: fits{there}", *(f"  note: {note}" for note in each["notes"])]
    return "\n".join(line for line in lines if line.strip())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())


def _running(slots: Slots) -> dict[str, Any]:
    current, state = slots.current(), slots.state()
    return {
        "current": current.release.to_json() if current else None,
        "trial": state.trial is not None,
        "failed": dict(state.failed),
    }


def _releases(files: Iterable[Path]) -> list[Release]:
    found: list[Release] = []
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file} can't be read", f"The system says: {error.strerror}.", "Check it.") from error
        if not content.startswith(b"["):
            found.append(release_of(file, "file"))
            continue
        try:
            found += [Release.from_json(each) for each in json.loads(content.decode())]
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} is no list of releases", f"{error}.", "Name an artifact.") from error
    return found


def _judged(settings: Settings, release: Release) -> dict[str, Any]:
    """Whether a release fits this device. slot: its file, where it is already installed."""
    notes: list[str] = []
    error = None
    try:
        if settings.target and release.target != settings.target:
            raise DeviceUnfit(
                f"{release.model} is for {release.target}, and this device is a {settings.target}",
                "The device's target is in device.conf: [device] target.",
                f"Build it for {settings.target}.",
            )
        notes = check(release.needs, release.target, settings.python)
    except ArtifactFailure as failure:
        error = {
            "kind": type(failure).__name__,
            "exit_code": failure.exit_code,
            "what": failure.what,
            "why": failure.why,
            "fix": failure.fix,
        }
    slot = Slots(settings.root, release.model).find(release.sha256)
    return {
        "release": release.to_json(),
        "fits": error is None,
        "notes": notes,
        "error": error,
        "slot": str(slot.artifact) if slot else None,
    }
