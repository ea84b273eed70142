"""`edgec-device fetch --oci` and `install --oci`: a device's own target from a registry, vouched for by its keys."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ArtifactFailure, Busy, InputError
from .. import storage
from ..install import Outcome, install
from ..locks import held
from ..release import Release
from ..settings import Settings
from ..signatures import envelope_beside
from ..slot_folder import Slot
from ..slots import Slots
from ..vouched import vouched_release
from . import pull
from .reference import parse_reference
from .registry import Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--oci",
        metavar="REF",
        help="from a registry: HOST/REPOSITORY[:TAG][@sha256:DIGEST]; the artifact for this device's target",
    )
    parser.add_argument("--older", action="store_true", help="with --oci: also an older release than the one that runs")
    parser.add_argument(
        "--plain-http", action="store_true", help="with --oci: without TLS, also where the registry is another machine"
    )


def check_arguments(options: argparse.Namespace) -> None:
    """Raises InputError for options that do nothing without --oci."""
    if options.oci is None and (options.older or options.plain_http):
        flag = "--older" if options.older else "--plain-http"
        raise InputError(f"{flag} is for --oci", "There is no --oci.", "Leave it out, or say from which registry.")


def fetch(options: argparse.Namespace, settings: Settings, folder: Path) -> tuple[Path, Release, bytes | None]:
    """(artifact, release, signature): what the registry has for this device, downloaded into `folder` and vouched for.

    Raises Untrusted, Unreachable, DeviceUnfit, StorageFailed; nothing is kept of what is not trusted.
    """
    registry, found, _ = _found(options, settings)
    return _fetched(registry, found, settings, folder, options.unsigned)


def fetch_and_install(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Install what the registry has for this device; what runs already is not downloaded again.

    Raises as `fetch` and `install` do, and Busy when another agent downloads.
    """
    registry, found, running = _found(options, settings)
    if (
        running is not None
        and f"sha256:{running.release.sha256}" == found.content.artifact.digest
        and not options.retry
    ):
        return install(settings.root, running.artifact, running.release, settings)
    folder = settings.root / "downloads" / "oci"
    storage.make_folder(folder)
    with held(folder / "lock", settings.lock_wait, _busy(folder)):
        path, release, evidence = _fetched(registry, found, settings, folder, options.unsigned)
        outcome = install(settings.root, path, release, settings, retry=options.retry, move=True, evidence=evidence)
        for left in folder.iterdir():
            if left.name != "lock":
                storage.remove(left)
    return outcome


def _found(options: argparse.Namespace, settings: Settings) -> tuple[Registry, pull.Found, Slot | None]:
    """The registry, what it has for this device's target, and what runs of that model."""
    registry = Registry(parse_reference(options.oci), plain_http=options.plain_http)
    found = pull.find(registry, settings.target or None)
    running = Slots(settings.root, found.content.model).current()
    pull.check_order(found, running.release if running else None, options.older)
    return registry, found, running


def _fetched(
    registry: Registry, found: pull.Found, settings: Settings, folder: Path, unsigned: bool
) -> tuple[Path, Release, bytes | None]:
    path = pull.fetch(registry, found, folder, unsigned)
    try:
        release, evidence = vouched_release(path, settings, f"oci {found.reference}", unsigned)
        pull.check_is(found, release.model, release.target)
    except ArtifactFailure:
        storage.remove(path)
        storage.remove(envelope_beside(path))
        raise
    return path, replace(release, version=found.content.version), evidence


def _busy(folder: Path) -> Busy:
    return Busy(
        "Another edgec-device downloads from a registry", f"It holds {folder / 'lock'}.", "Try again when it is done."
    )


def fetched(path: Path, release: Release) -> dict[str, Any]:
    """The document of `edgec-device fetch --oci`."""
    return {"status": "fetched", "file": str(path), "release": release.to_json()}


def text(document: dict[str, Any]) -> str:
    release = document["release"]
    return f"{release['model']} {release['version']} {release['sha256'][:12]}: fetched, {document['file']}"
