"""Finding a model that loads: an artifact, a version of a slot, or the first of several that this device can run."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from .bundle import Bundle
from .device import check_device
from .errors import ArtifactFailure, InputError, NothingLoads, SelftestFailed
from .slot import ARTIFACT, LINKS, Identity, check_is_slot, count_start, identity, is_slot, reading, versions

if TYPE_CHECKING:
    from .model import Model

Place = Union[str, "os.PathLike[str]"]

_log = logging.getLogger("edgec.runtime")


@dataclass(frozen=True)
class Refusal:
    """An artifact that was not taken. `what` and `why` are those of its error."""

    path: Path
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True)
class Source:
    """Where a model was found. asked: the path that was given. release: what a slot's agent knows of the version.

    watched: the file that would be loaded first if the path was loaded anew; seen: which one it was when this model
    was loaded.
    """

    asked: Path
    artifact: Path
    release: Mapping[str, Any]
    watched: Path
    seen: Identity | None

    def changed(self) -> bool:
        """Whether another file is there now. What is gone leaves nothing to change to."""
        now = identity(self.watched)
        return now is not None and now != self.seen


def load_first(places: Place | Sequence[Place], threads: int | None, selftest: bool) -> Model:
    """The first model of all that can be loaded; see `edgec.runtime.load`."""
    if isinstance(places, (str, os.PathLike)):
        path = Path(places)
        if not is_slot(path):
            seen = identity(path)
            return replace(_loaded(path, threads, selftest), source=Source(path, path, {}, path, seen))
        asked = [path]
    else:
        asked = [Path(place) for place in places]
    if not asked:
        raise InputError("No artifact was given", "The list of artifacts to try is empty.", "Give at least one.")
    attempts = _Attempts(threads, selftest)
    for path in asked:
        model = (
            attempts.slot(path) if is_slot(path) else attempts.file(path, Source(path, path, {}, path, identity(path)))
        )
        if model is not None:
            return replace(model, fallbacks=tuple(attempts.refusals))
    raise attempts.failure()


class _Attempts:
    """Tries artifacts, and remembers why each was refused."""

    def __init__(self, threads: int | None, selftest: bool) -> None:
        self.refusals: list[Refusal] = []
        self._errors: list[Exception] = []
        self._threads = threads
        self._selftest = selftest

    def file(self, path: Path, source: Source) -> Model | None:
        """The model of an artifact; None where it is refused."""
        try:
            return replace(_loaded(path, self._threads, self._selftest), source=source)
        except Exception as error:  # an engine may raise anything for a payload that it can't take
            what, why = (error.what, error.why) if isinstance(error, ArtifactFailure) else (_told(error), "")
            self._refuse(path, error, what, why)
            return None

    def slot(self, slot: Path) -> Model | None:
        """The model of a slot: its current version, or another one; None where none loads."""
        watched = slot / LINKS[0] / ARTIFACT
        with reading(slot):
            seen = identity(watched)
            known = versions(slot)
            for version in known:
                if version.against and len(known) > 1:
                    left = InputError("It is left for last", version.against)
                    self._refuse(version.artifact, left, left.what, left.why)
            for version in known:
                count_start(version)
                source = Source(slot, version.artifact, version.release, watched, seen)
                if (model := self.file(version.artifact, source)) is not None:
                    return model
        if not known:
            empty = InputError("The slot is empty", "Its links lead nowhere.", "Install a model: edgec-device install.")
            self._refuse(slot, empty, empty.what, empty.why)
        return None

    def failure(self) -> NothingLoads:
        """The error where all were refused."""
        count = len(self.refusals)
        first = self._errors[0]
        error = NothingLoads(
            f"None of {count} artifacts can be loaded" if count > 1 else "The artifact can't be loaded",
            "\n".join(map(str, self.refusals)),
            getattr(first, "fix", ""),
        )
        error.exit_code = getattr(first, "exit_code", error.exit_code)
        return error

    def _refuse(self, path: Path, error: Exception, what: str, why: str) -> None:
        self._errors.append(error)
        self.refusals.append(Refusal(path, what, why))
        _log.warning("not loaded: %s", self.refusals[-1])


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _loaded(path: Path, threads: int | None, selftest: bool) -> Model:
    if path.is_dir():
        check_is_slot(path)
    bundle = Bundle.open(path)
    check_device(bundle.manifest)  # before numpy is imported, which has machine code too
    from .model import Model

    model = Model.load(bundle, threads)
    if selftest:
        _check(model, bundle)
    return model


def _check(model: Model, bundle: Bundle) -> None:
    """Raises SelftestFailed where this device computes otherwise than the build did."""
    from .golden import read_golden
    from .selftest import replay

    results = replay(model, read_golden(bundle.read("golden.npz")), bundle.manifest["selftest"]["tolerances"])
    if failed := [result for result in results if not result.passed]:
        raise SelftestFailed(
            f"The self-test failed: {len(failed)} of {len(results)} outputs are too far from those of the build",
            "\n".join(map(str, failed)),
            "Use the engine's version that the artifact's `info` names; if that is so already, build for this CPU.",
        )
