"""Installing a version: the one way, whoever brought the file.

What happens, in order, and what a power cut leaves in each step, is in docs/device-agent.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bundle import Bundle
from ..errors import BundleError, DeviceUnfit, InputError, RolledBack, SelftestFailed
from .compatibility import check, check_free_memory, needs_of
from .health import check_artifact, check_health, check_health_command
from .release import Release
from .settings import Settings
from .slot_folder import Slot
from .slots import STAGED, Slots

Check = Callable[[Path, Settings], None]

_log = logging.getLogger("edgec.device")


@dataclass(frozen=True)
class Outcome:
    """What became of an installation that did not fail.

    status: "installed"; "current" (it was there already, and is what runs); "trial" (it runs, and waits for
        `edgec-device confirm`).
    before: the version that ran until now. notes: what is in doubt, in words.
    """

    status: str
    release: Release
    before: Release | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "release": self.release.to_json(),
            "before": self.before.to_json() if self.before else None,
            "notes": self.notes,
        }


def install(
    root: Path,
    file: Path,
    release: Release,
    settings: Settings,
    *,
    retry: bool = False,
    move: bool = False,
    evidence: bytes | None = None,
    check_artifact: Check = check_artifact,
) -> Outcome:
    """Install `file`, which is `release`, and let applications load it.

    Who vouches for the file is the caller's to know; here only its SHA-256 is compared with the release's.

    retry: also a version that failed here before. move: `file` is the agent's own, and is not needed afterwards.
    evidence: the signature that vouches for it, kept beside it.

    Raises, with the version that ran before still in use: Untrusted, BundleError, DeviceUnfit, EngineMissing,
    SelftestFailed, Busy, StorageFailed, StateUnreadable; RolledBack when it ran and failed, or did so before.
    """
    slots = Slots(root, release.model, settings.keep)
    with slots.lock(settings.lock_wait):
        slots.recover()
        before = slots.current()
        if before is not None and before.release.sha256 == release.sha256 and not retry:
            return _already(slots, slots.describe(before, release), settings)
        if (why := slots.state().failed.get(release.sha256)) is not None and not retry:
            raise RolledBack(
                f"{release} failed on this device before, and is not tried again",
                why,
                "Publish another release; or, if the device was at fault: edgec-device install --retry",
                {"failed": release.sha256},
            )
        check_health_command(settings)
        notes = _check_fit(release, release.needs, settings) if release.needs else []
        there = slots.find(release.sha256)
        found = slots.describe(there, release) if there else slots.stage(file, release, move, evidence)
        notes = _check_version(slots, found, settings, check_artifact) or notes
        with slots.unused(settings.use_wait):
            slot = found if found.name != STAGED else slots.place()
            slots.switch(slot, settings.starts)
        _log.info("%s: runs now, on trial; before it %s", release, before.release if before else "nothing")
        for note in notes:
            _log.warning("%s: %s", release, note)
        return _proved(slots, slot, before, settings, notes)


def settle(root: Path, model: str, settings: Settings) -> Outcome | None:
    """Bring a trial to its end that a power cut or a restart interrupted; None where there is none to be ended.

    Raises RolledBack when the version fails now, StorageFailed, StateUnreadable, Busy.
    """
    slots = Slots(root, model, settings.keep)
    with slots.lock(settings.lock_wait):
        slots.recover(deep=False)
        current = slots.current()
        if current is None or slots.state().trial is None:
            return None
        _check_starts(slots, current)
        return _proved(slots, current, slots.previous(), settings, [])


def started(root: Path, model: str, settings: Settings) -> str:
    """The device, or the application, starts: bring the slots in order, and count the start of a version on trial.

    Returns "ready", "trial", "rolled back" (it was started too often without being confirmed) or "empty" (there is no
    version). The health command is not run: what it asks may not be up yet.

    Raises StorageFailed, StateUnreadable, Busy.
    """
    slots = Slots(root, model, settings.keep)
    with slots.lock(settings.lock_wait):
        slots.recover()
        current = slots.current()
        if current is None:
            return "empty"
        if slots.state().trial is None:
            return "ready"
        if settings.confirm == "health" and not settings.health_command:
            slots.confirm()  # its self-test was all that it had to pass, and it did before the switch
            return "ready"
        slots.count_start()
        try:
            _check_starts(slots, current)
        except RolledBack as failure:
            _log.error("%s. %s", failure.what, failure.why)
            return "rolled back"
        return "trial"


def go_back(root: Path, model: str, settings: Settings, to: str | None = None) -> tuple[Release, Release]:
    """Let applications load the version before again, or the one that `to` names by its number or by how its SHA-256
    begins; returns both: the one that was left, and the one that runs. What was left is not installed again by itself.

    Raises InputError where there is nothing to go back to; StorageFailed, StateUnreadable, Busy.
    """
    slots = Slots(root, model, settings.keep)
    with slots.lock(settings.lock_wait):
        slots.recover()
        current = slots.current()
        if current is None:
            raise InputError(f"No version of {model} is installed", f"{slots.folder} has none.", "Install one first.")
        target = None if to is None else _named(slots, to)
        if target == current:
            raise InputError(f"{current.release} runs already", "There is nothing to go back from.", "See `status`.")
        with slots.unused(settings.use_wait):
            after = slots.roll_back("Taken back by hand.", target, needed=True)
    if after is None:
        raise InputError(
            f"There is no version of {model} to go back to",
            f"{current.release} is the only one that is whole and has not failed.",
            "Install another one, or name one that failed: --to VERSION (see `status`).",
        )
    _log.warning("%s: taken back by hand, %s runs again", current.release, after.release)
    return current.release, after.release


def _already(slots: Slots, current: Slot, settings: Settings) -> Outcome:
    """The version runs already: all that may be left to do is the end of its trial."""
    if slots.state().trial is None:
        return Outcome("current", current.release, current.release)
    _check_starts(slots, current)
    return _proved(slots, current, slots.previous(), settings, [])


def _check_fit(release: Release, needs: Any, settings: Settings) -> list[str]:
    if settings.target and release.target != settings.target:
        raise DeviceUnfit(
            f"{release} is for the target {release.target}, and this device is {settings.target}",
            "device.conf says so: [device] target.",
            f"Install the artifact that was built for {settings.target}.",
        )
    return check(needs, release.target, settings.python)


def _check_version(slots: Slots, found: Slot, settings: Settings, check_artifact: Check) -> list[str]:
    """Check the artifact by what it says itself, then let it check itself. One that fails is not tried again."""
    release = found.release
    try:
        manifest = Bundle.open(found.artifact).manifest
        if (manifest["name"], manifest["target"]) != (release.model, release.target):
            raise BundleError(
                f"{release} is another artifact than was announced",
                f"It is {manifest['name']!r} for {manifest['target']!r}; announced was {release.model!r} for "
                f"{release.target!r}.",
                "Look at how it was published.",
            )
        needs = needs_of(manifest)
        notes = _check_fit(release, needs, settings)
        check_free_memory(needs)
        check_artifact(found.artifact, settings)
    except (SelftestFailed, BundleError) as failure:
        slots.note_failed(release, f"{failure.what}. {failure.why}")
        slots.discard()
        raise
    except DeviceUnfit:
        slots.discard()
        raise
    return notes


def _check_starts(slots: Slots, current: Slot) -> None:
    """Raises RolledBack when the version on trial was started too often without being confirmed."""
    trial = slots.state().trial
    if trial is not None and slots.starts() > trial.limit:
        _give_up(slots, current, f"It was started {slots.starts()} times, and nobody confirmed that it works.")


def _proved(slots: Slots, slot: Slot, before: Slot | None, settings: Settings, notes: list[str]) -> Outcome:
    """Confirm the version that runs, or go back."""
    left = before.release if before else None
    if settings.confirm == "application":
        return Outcome("trial", slot.release, left, notes)
    if (why := check_health(slot, settings)) is not None:
        _give_up(slots, slot, why)
    slots.confirm()
    _log.info("%s: confirmed", slot.release)
    return Outcome("installed", slot.release, left, notes)


def _give_up(slots: Slots, slot: Slot, why: str) -> None:
    """Take a version back without asking the applications that hold updates off: it does not work for them either."""
    after = slots.roll_back(why)
    if after is None:
        raise RolledBack(
            f"{slot.release} failed, and there is no version to go back to: it stays",
            why,
            "Publish a release that works here.",
            {"failed": slot.release.sha256, "runs": slot.release.to_json()},
        )
    raise RolledBack(
        f"{slot.release} failed, and {after.release} runs again",
        why,
        "It is not tried again; publish another release. `edgec-device log` shows what happened.",
        {"failed": slot.release.sha256, "runs": after.release.to_json()},
    )


def _named(slots: Slots, to: str) -> Slot:
    """The one installed version with this number, else the one whose SHA-256 begins so."""
    installed = slots.installed()
    found = [slot for slot in installed if to.isdecimal() and slot.release.version == int(to)] or [
        slot for slot in installed if to and slot.release.sha256.startswith(to.lower())
    ]
    if len(found) != 1:
        there = ", ".join(str(slot.release) for slot in slots.installed())
        raise InputError(
            f"{to!r} names {'no version' if not found else 'several versions'} of {slots.model}",
            f"Installed are: {there}.",
            "Give one's number, or the first characters of its SHA-256.",
        )
    return found[0]
