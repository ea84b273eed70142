"""What is played while storage fails, and what has to hold afterwards, wherever it failed.

Each scenario has a folder that `prepare` makes once: `root`, the device's, and the artifacts 1.edgec, 2.edgec, 3.edgec.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from edgec.runtime import slot as applications
from edgec.runtime.agent import install as installing
from edgec.runtime.agent.install import Outcome, go_back, install, started
from edgec.runtime.agent.release import Release
from edgec.runtime.agent.settings import Settings
from edgec.runtime.agent.slot_folder import release_of
from edgec.runtime.agent.slots import Slots
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure, RolledBack

logging.disable(logging.CRITICAL)

# What runs programs, or asks the machine, is not what is tried here.
installing.check = lambda needs, target, python: []  # type: ignore[assignment]
installing.check_free_memory = lambda needs: None  # type: ignore[assignment]


def no_checks(artifact: Path, settings: Settings) -> None:
    Bundle.open(artifact).verify()


def settings(folder: Path, **fields) -> Settings:
    return Settings(folder / "root", id="device", lock_wait=0.0, use_wait=0.0, **fields)


def bring(folder: Path, number: int, *, retry: bool = False, **fields) -> Outcome:
    """Install artifact NUMBER.edgec."""
    file = folder / f"{number}.edgec"
    release = replace(_release(file), version=number)
    return install(
        folder / "root",
        file,
        release,
        settings(folder, **fields),
        check_artifact=no_checks,
        retry=retry,
        evidence=b"{}",
    )


_releases: dict[str, Release] = {}


def _release(file: Path) -> Release:
    """Read once: the artifacts are the same in every copy of a scenario's folder."""
    return _releases.setdefault(file.name, release_of(file, "file"))


def slots(folder: Path) -> Slots:
    return Slots(folder / "root", "net")


def _fails_health(folder: Path) -> None:
    installing.check_health = lambda slot, settings: "no camera"  # type: ignore[assignment]
    bring(folder, 3)


def _boots(folder: Path) -> None:
    started(folder / "root", "net", settings(folder, confirm="application"))


def _confirms(folder: Path) -> None:
    model = slots(folder)
    with model.lock(0):
        model.recover()
        model.confirm()


SCENARIOS = {
    "first": lambda folder: bring(folder, 1),
    "update": lambda folder: bring(folder, 3),
    "unhealthy": _fails_health,
    "rollback": lambda folder: go_back(folder / "root", "net", settings(folder)),
    "boot loop": _boots,
    "confirm": _confirms,
    "recover": lambda folder: bring(folder, 3),
}
"""What is played, on the folder that `prepare` made."""

FAILED = "f" * 64
"""A version that failed on the device long ago."""

EXPECTED = {"unhealthy": (6,)}
"""Exit codes that a scenario ends with when all goes well."""


def prepare(folder: Path, scenario: str) -> None:
    """The state of the device before."""
    if scenario == "first":
        return
    bring(folder, 1)
    model = slots(folder)
    with model.lock(0):
        model.note_failed(replace(_release(folder / "1.edgec"), sha256=FAILED), "no camera")
    if scenario in ("boot loop", "confirm"):
        bring(folder, 2, confirm="application", starts=2)
        if scenario == "boot loop":
            _boots(folder)
            _boots(folder)
        return
    bring(folder, 2)
    if scenario == "recover":  # what a bad storage may make of it, all at once
        (model.folder / "state.json").write_text('{"schema": 1, "trial"', encoding="utf-8")
        current = model.current()
        assert current is not None
        current.artifact.write_bytes(current.artifact.read_bytes()[:-100])
        (model.folder / ".incoming").mkdir()
        (model.folder / ".incoming" / "model.edgec").write_bytes(b"half")


def judge(folder: Path, scenario: str) -> list[str]:
    """What does not hold: before anything is repaired, and after the next run of the agent."""
    wrong = []
    model = slots(folder)
    loaded = _loaded(model.folder)
    if scenario != "first" and loaded is None:
        wrong.append("an application finds nothing that it could load")
    if scenario in ("update", "unhealthy", "rollback", "boot loop", "confirm") and not _is_whole(model.current()):
        wrong.append("`current` does not name a whole version")
    try:
        with model.lock(0):
            model.recover()
        if scenario != "first" and not _is_whole(model.current()):
            wrong.append("after recover, `current` does not name a whole version")
        previous = model.previous()
        if previous is not None and (not _is_whole(previous) or previous == model.current()):
            wrong.append("after recover, `previous` is nothing to go back to")
        running, state = model.current(), model.state()
        if running is not None and running.release.sha256 in state.failed and previous is not None:
            wrong.append("after recover, a version runs that failed")
        if scenario not in ("first", "recover") and FAILED not in state.failed:
            wrong.append("what failed before is forgotten")
        with model.lock(0):
            if again := model.recover():
                wrong.append(f"recover is not done after one run: {again}")
        wrong += [f"{path.name} was left" for path in model.folder.glob(".*") if path.name != ".staged"]
        bring(folder, 3, retry=True)
        running = model.current()
        if running is None or running.release.version != 3 or not _is_whole(running):
            wrong.append("the next installation did not bring the new version")
        if model.state().trial is not None or len(model.installed()) > 2 or model.staged() is not None:
            wrong.append("the next installation did not end in order")
        if not (running and (running.folder / "model.edgec.dsse.json").is_file()):
            wrong.append("the signature was lost")
    except RolledBack as failure:
        wrong.append(f"the next installation was rolled back: {failure.why}")
    except ArtifactFailure as failure:
        wrong.append(f"the next run fails: {failure.what}: {failure.why}")
    return wrong


def _loaded(folder: Path) -> Path | None:
    """What an application would load."""
    for version in applications.versions(folder):
        try:
            Bundle.open(version.artifact).verify()
            return version.artifact
        except ArtifactFailure:
            continue
    return None


def _is_whole(slot) -> bool:
    try:
        return slot is not None and bool(Bundle.open(slot.artifact).verify())
    except ArtifactFailure:
        return False
