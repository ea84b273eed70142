"""Whether a version works on this device: the artifact's own checks before the switch, the health command after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..errors import ArtifactFailure, BundleError, DeviceUnfit, EngineMissing, InputError, SelftestFailed
from . import children
from .settings import Settings
from .slot_folder import Slot

_CLASSES: dict[int, type[ArtifactFailure]] = {
    kind.exit_code: kind for kind in (SelftestFailed, EngineMissing, BundleError, DeviceUnfit)
}


def check_artifact(artifact: Path, settings: Settings) -> None:
    """Let the artifact check itself, in a process of its own: each file's digest, then the golden samples.

    Raises BundleError, SelftestFailed (the outputs are too far off, it crashed, or took too long), EngineMissing,
    DeviceUnfit.
    """
    for command in ("verify", "selftest"):
        ended = children.run(
            [settings.python, str(artifact), command, "--json"],
            settings.selftest_timeout,
            {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        if ended.code != 0:
            raise _failure(command, ended, settings.selftest_timeout)


def _failure(command: str, ended: children.Ended, timeout: float) -> ArtifactFailure:
    """What the artifact itself says of its failure; how its process ended, where it could not say anything."""
    try:
        told: Any = json.loads(ended.output)["error"]
        kind = _CLASSES[ended.code or 0]
        return kind(str(told["what"]), str(told["why"]), str(told["fix"]))
    except (ValueError, KeyError, TypeError):
        return SelftestFailed(
            f"The artifact's {command} did not end well",
            ended.why(timeout),
            "Look at what the device lacks; if nothing, build the artifact for this device's CPU.",
        )


def check_health_command(settings: Settings) -> None:
    """Raises InputError for a command that is not there: before a switch, since nothing could be said after it."""
    if settings.health_command and shutil.which(settings.health_command[0]) is None:
        raise InputError(
            f"The health command {settings.health_command[0]} is not there, or can't be run",
            "device.conf names it: [health] command. Nothing was switched.",
            "Correct it; a relative name is looked for in $PATH.",
        )


def check_health(slot: Slot, settings: Settings) -> str | None:
    """Run the health command on the version that applications load now; returns why it failed, None when all is well.

    The command gets EDGEC_MODEL, EDGEC_SLOT (the folder that applications name), EDGEC_ARTIFACT (the version's file),
    EDGEC_SHA256 and EDGEC_VERSION ("" where it has no number) in its environment.
    """
    if not settings.health_command:
        return None
    release = slot.release
    environment = {
        "EDGEC_MODEL": release.model,
        "EDGEC_SLOT": str(slot.folder.parent),
        "EDGEC_ARTIFACT": str(slot.artifact),
        "EDGEC_SHA256": release.sha256,
        "EDGEC_VERSION": "" if release.version is None else str(release.version),
    }
    try:
        ended = children.run(settings.health_command, settings.health_timeout, environment)
    except InputError as failure:
        return f"{failure.what}. {failure.why}"
    return None if ended.code == 0 else f"The health command failed. {ended.why(settings.health_timeout)}"
