"""Bringing a device's models up to date: what the timer runs.

For each model: which version shall it be (`rollout`), does it fit this device (`compatibility`, before a byte of it is
downloaded), the download (`download`), the installation (`install`). A model that fails leaves the others to their
luck, and in each case what ran before runs on.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ArtifactFailure, InputError, RolledBack, Untrusted
from .chunks import LARGEST_INDEX, Index
from .compatibility import check
from .download import Download, download, keep_index
from .fetcher import Limits
from .install import install, settle
from .release import Release
from .repository import Repository, not_what_was_signed, opened
from .rollout import decide
from .settings import Settings
from .slots import Slot, Slots
from .storage import sha256_of, storing

_LOG = logging.getLogger("edgec.agent")
_SECONDS_TO_NOTICE = 60.0  # the window over which a server's rate is judged


@dataclass
class Result:
    """What became of one model.

    status: "current" (it has what it shall have), "waiting" (the repository has nothing for it at the moment),
    "fetched", "installed", "trial", "failed". before: the release that ran when the update began. reason: of the
    choice, in words.
    """

    model: str
    status: str
    reason: str
    release: Release | None = None
    before: Release | None = None
    download: Download | None = None
    notes: list[str] = field(default_factory=list)
    failure: ArtifactFailure | None = None

    def to_json(self) -> dict[str, Any]:
        taken, failure = self.download, self.failure
        return {
            "model": self.model,
            "status": self.status,
            "reason": self.reason,
            "release": self.release.to_json() if self.release else None,
            "before": self.before.to_json() if self.before else None,
            "file": str(taken.path) if taken and self.status == "fetched" else None,
            "received_bytes": taken.received if taken else 0,
            "resumed_bytes": taken.resumed if taken else 0,
            "reused_bytes": taken.reused if taken else 0,
            "notes": self.notes,
            "error": failure
            and {"kind": type(failure).__name__, "what": failure.what, "why": failure.why, "fix": failure.fix},
        }


def update(
    settings: Settings, names: Sequence[str] = (), *, install_too: bool = True, retry: bool = False
) -> dict[str, Any]:
    """Bring the models up to date; the document that the command prints.

    names: models to look at; none: all that device.conf asks for. install_too: False downloads alone. retry: also
    versions that failed here before.

    Raises what the repository raises where it can't be believed or reached; and, after all models had their turn, the
    failure of the one that failed, with `details` on all of them.
    """
    url, root = _source(settings)
    with opened(url, root, settings.root / "metadata", _limits(settings)) as repository:
        published = repository.releases(settings.target)["models"]
        results = []
        for name in _wanted(published, settings, names):
            results.append(_attempt(repository, name, published[name], settings, install_too, retry))
        document = {
            "status": "ok",
            "repository": url,
            "target": settings.target,
            "channel": settings.channel,
            "models": [result.to_json() for result in results],
            "received_bytes": repository.fetcher.received,
            "requests": repository.fetcher.requests,
            "notes": repository.warnings,
        }
    _raise_failures(results, document)
    return document


def text(document: Mapping[str, Any]) -> str:
    """What a person reads of it."""
    lines = [_line(each) for each in document["models"]]
    lines += [f"  note: {note}" for each in document["models"] for note in each["notes"]]
    if not lines:
        lines = [f"{document['repository']} has no models for {document['target']} that device.conf asks for"]
    return "\n".join([*lines, *(f"note: {note}" for note in document["notes"])])


def _line(result: Mapping[str, Any]) -> str:
    release, before = result["release"], result["before"]
    there = f"{before['model']} {_number(before)}" if before else f"{result['model']}: nothing"
    if result["status"] == "current":
        return f"{there} runs: {result['reason']}"
    if result["status"] == "waiting":
        return f"{there} runs: {result['reason']}"
    cost = f"{_bytes(result['received_bytes'])} received of {_bytes(release['bytes'])}"
    new = f"{release['model']} {_number(release)}"
    if result["status"] == "fetched":
        return f"{new} is fetched ({cost}): {result['file']}"
    trial = ", on trial" if result["status"] == "trial" else ""
    return f"{new} runs now{trial}, before it {_number(before) if before else 'nothing'} ({cost}): {result['reason']}"


def _number(release: Mapping[str, Any]) -> str:
    return str(release["version"]) if release["version"] is not None else f"({release['sha256'][:12]})"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _source(settings: Settings) -> tuple[str, bytes]:
    """The repository's address, and the root that trust begins with."""
    for value, key in ((settings.repository, "[repository] url"), (settings.target, "[device] target")):
        if not value:
            raise InputError(
                "This device follows no repository",
                f"device.conf in {settings.root} has no {key}.",
                "Set the device up: edgec-device init --target TARGET --url URL --trust-root root.json",
            )
    path = settings.root / "trust" / "root.json"
    if not path.is_file():
        raise InputError(
            "This device does not know whom to trust",
            f"{path} is missing: the repository's first root.",
            "Bring it with the device's image, or by hand: edgec-device init --trust-root root.json",
        )
    with storing(path, "read"):
        return settings.repository, path.read_bytes()


def _limits(settings: Settings) -> Limits:
    return Limits(
        silence=settings.silence, least_rate=settings.least_rate, deadline=settings.deadline, window=_SECONDS_TO_NOTICE
    )


def _wanted(published: Mapping[str, Any], settings: Settings, names: Sequence[str]) -> list[str]:
    """The models to look at, in the order of their names."""
    for name in names:
        if name not in published:
            raise InputError(
                f"The repository has no model {name!r} for {settings.target}",
                f"It has: {', '.join(sorted(published)) or 'none'}.",
                "Correct the name.",
            )
    if names:
        return sorted(set(names))
    return sorted(name for name in published if any(fnmatch.fnmatchcase(name, each) for each in settings.models))


def _attempt(
    repository: Repository, name: str, published: Mapping[str, Any], settings: Settings, install_too: bool, retry: bool
) -> Result:
    """One model; what goes wrong with it is part of the result."""
    slots = Slots(settings.root, name, settings.keep)
    current = slots.current()
    result = Result(name, "failed", "", before=current.release if current else None)
    try:
        installed = _version(current, published)
        decision = decide(settings.id, name, published, settings.channel, installed, settings.pinned.get(name))
        result.reason = decision.reason
        wanted = None if decision.version is None else published["releases"].get(str(decision.version))
        if wanted is None or (current is not None and current.release.sha256 == wanted["sha256"]):
            result.status = "current" if wanted else "waiting"
            if install_too:
                settle(settings.root, name, settings)  # a trial that a power cut interrupted
            return result
        release = _release(wanted, name, repository, settings)
        _bring(repository, slots, release, wanted, settings, result, install_too, retry)
    except ArtifactFailure as failure:
        result.status, result.failure = "failed", failure
    return result


def _version(current: Slot | None, published: Mapping[str, Any]) -> int | None:
    """The repository's number of what runs; a version that came another way has one if its bytes are the same."""
    if current is None:
        return None
    for each in published["releases"].values():
        if each["sha256"] == current.release.sha256:
            return int(each["version"])
    return current.release.version if current.release.origin.startswith("tuf ") else None


def _release(wanted: Mapping[str, Any], name: str, repository: Repository, settings: Settings) -> Release:
    return Release(
        name,
        wanted["version"],
        wanted["sha256"],
        wanted["bytes"],
        settings.target,
        settings.channel,
        f"tuf {repository.url}",
        wanted["needs"],
    )


def _bring(
    repository: Repository,
    slots: Slots,
    release: Release,
    wanted: Mapping[str, Any],
    settings: Settings,
    result: Result,
    install_too: bool,
    retry: bool,
) -> None:
    """Download a release if it is not here, and install it."""
    result.release = release
    if (why := slots.state().failed.get(release.sha256)) is not None and not retry:
        raise RolledBack(
            f"{release} failed on this device before, and is not tried again",
            why,
            "Publish another release; or, if the device was at fault: edgec-device update --retry",
        )
    result.notes += check(release.needs, release.target, settings.python)
    here = slots.find(release.sha256) or _staged(slots, release)
    if here is not None:
        file = here.artifact
    else:
        result.download = _download(repository, slots, release, wanted["chunks"], wanted["artifact"])
        file = result.download.path
    if not install_too:
        result.status = "fetched"
        return
    outcome = install(settings.root, file, release, settings, retry=retry, move=here is None)
    result.status = outcome.status
    result.notes += [note for note in outcome.notes if note not in result.notes]


def _staged(slots: Slots, release: Release) -> Slot | None:
    """The release, where an earlier run left it ready: applications held the switch off."""
    staged = slots.staged()
    return staged if staged is not None and staged.release.sha256 == release.sha256 else None


def _download(repository: Repository, slots: Slots, release: Release, chunks: str | None, artifact: str) -> Download:
    target = repository.needed(artifact)
    if (target.sha256, target.bytes) != (release.sha256, release.bytes):
        raise not_what_was_signed(artifact, release.sha256, target.sha256)
    folder = slots.folder.parent.parent / "downloads" / slots.model
    index = None if chunks is None else _index(repository, folder, chunks, release)
    installed = {slot.release.sha256: slot.artifact for slot in slots.installed()}
    return download(repository.fetcher, target.url, folder, release.bytes, release.sha256, index, installed)


def _index(repository: Repository, folder: Path, path: str, release: Release) -> Index:
    """The release's chunks: kept from an earlier run, or fetched. It is kept: the next version's download needs it."""
    target = repository.needed(path)
    kept = folder / f"{release.sha256}.chunks"
    if kept.is_file() and sha256_of(kept) == target.sha256:
        data = kept.read_bytes()
    else:
        data = repository.content(target, LARGEST_INDEX)
    try:
        index = Index.unpack(data)
        if (index.sha256, index.size) != (release.sha256, release.bytes):
            raise ValueError("it is of another file")
    except ValueError as error:
        raise Untrusted(
            f"{path} is not the index of {release}", f"It is signed, but {error}.", "Publish the release again."
        ) from error
    keep_index(folder, data, release.sha256)
    return index


def _raise_failures(results: Sequence[Result], document: dict[str, Any]) -> None:
    """Raise the failure of the model that failed, or one that sums up those of several."""
    failed = [(result, result.failure) for result in results if result.failure is not None]
    if not failed:
        return
    _, first = failed[0]
    if len(results) == 1:
        raise _told(first, document)
    others = [each for each in document["models"] if each["status"] != "failed"]
    for each in others:
        _LOG.info("%s", _line(each))
    raise _told(
        type(first)(
            f"{len(failed)} of {len(results)} models could not be brought up to date",
            "\n".join(f"{result.model}: {failure.what}. {failure.why}" for result, failure in failed),
            "\n".join(dict.fromkeys(failure.fix for _, failure in failed)),
        ),
        document,
    )


def _told(failure: ArtifactFailure, document: Mapping[str, Any]) -> ArtifactFailure:
    failure.details = {**failure.details, **{key: value for key, value in document.items() if key != "status"}}
    return failure
