"""Bringing a device's models up to date: what the timer runs.

For each model: which version shall it be (`rollout`), does it fit this device (`compatibility`), do the device's own
keys vouch for it (`vouched`), both before a byte of it is downloaded; the download (`download`), the installation
(`install`). A model that fails leaves the others to their
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
from .signatures import check_provenance
from .slot_folder import Slot
from .slots import Slots
from .storage import sha256_of, storing
from .vouched import published_signature

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
        this = _Update(repository, settings, install_too, retry)
        results = [this.attempt(name, published[name]) for name in _wanted(published, settings, names)]
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


@dataclass(frozen=True)
class _Update:
    """What is the same for all models of one update. install_too, retry: as in `update`."""

    repository: Repository
    settings: Settings
    install_too: bool
    retry: bool

    def attempt(self, name: str, published: Mapping[str, Any]) -> Result:
        """One model; what goes wrong with it is part of the result."""
        settings = self.settings
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
                if self.install_too:
                    settle(settings.root, name, settings)  # a trial that a power cut interrupted
            else:
                self._bring(slots, wanted, result)
            if self.install_too and result.status in ("current", "installed"):
                self._avoid_revoked(slots, published)
        except ArtifactFailure as failure:
            result.status, result.failure = "failed", failure
        return result

    def _bring(self, slots: Slots, wanted: Mapping[str, Any], result: Result) -> None:
        """Download a release if it is not here, and install it. wanted: its entry in releases.json."""
        release = result.release = self._release(slots.model, wanted)
        if (why := slots.state().failed.get(release.sha256)) is not None and not self.retry:
            raise RolledBack(
                f"{release} failed on this device before, and is not tried again",
                why,
                "Publish another release; or, if the device was at fault: edgec-device update --retry",
            )
        result.notes += check(release.needs, release.target, self.settings.python)
        signature = published_signature(self.repository, release, wanted["signature"], self.settings)
        here = slots.find(release.sha256) or _staged(slots, release)
        if here is not None:
            file = here.artifact
        else:
            result.download = self._download(slots, release, wanted["chunks"], wanted["artifact"])
            file = result.download.path
        evidence = None
        if signature is not None:
            evidence, signed = signature
            check_provenance(file, signed)
        if not self.install_too:
            result.status = "fetched"
            return
        outcome = install(
            self.settings.root, file, release, self.settings, retry=self.retry, move=here is None, evidence=evidence
        )
        result.status = outcome.status
        result.notes += [note for note in outcome.notes if note not in result.notes]

    def _avoid_revoked(self, slots: Slots, published: Mapping[str, Any]) -> None:
        """Let no revoked version be gone back to, now that one runs that works."""
        failed, revoked = slots.state().failed, []
        for slot in slots.installed():
            why = published["revoked"].get(str(_version(slot, published)))
            if why is not None and slot.release.sha256 not in failed:
                revoked.append((slot, why))
        if not revoked:
            return
        with slots.lock(self.settings.lock_wait):
            if slots.state().trial is not None:  # better a revoked version than one that fails
                return
            for slot, why in revoked:
                if slot != slots.current():
                    slots.note_failed(slot.release, f"Revoked: {why}")
            slots.recover(deep=False)

    def _release(self, name: str, wanted: Mapping[str, Any]) -> Release:
        return Release(
            name,
            wanted["version"],
            wanted["sha256"],
            wanted["bytes"],
            self.settings.target,
            self.settings.channel,
            f"tuf {self.repository.url}",
            wanted["needs"],
        )

    def _download(self, slots: Slots, release: Release, chunks: str | None, artifact: str) -> Download:
        """Fetch an artifact. chunks, artifact: paths in the repository."""
        target = self.repository.needed(artifact)
        if (target.sha256, target.bytes) != (release.sha256, release.bytes):
            raise not_what_was_signed(artifact, release.sha256, target.sha256)
        folder = self.settings.root / "downloads" / slots.model
        index = None if chunks is None else self._index(folder, chunks, release)
        installed = {slot.release.sha256: slot.artifact for slot in slots.installed()}
        return download(self.repository.fetcher, target.url, folder, release.bytes, release.sha256, index, installed)

    def _index(self, folder: Path, path: str, release: Release) -> Index:
        """The release's chunks, fetched where no earlier run did, and kept for the next version's download."""
        target = self.repository.needed(path)
        kept = folder / f"{release.sha256}.chunks"
        if kept.is_file() and sha256_of(kept) == target.sha256:
            data = kept.read_bytes()
        else:
            data = self.repository.content(target, LARGEST_INDEX)
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


def _version(current: Slot | None, published: Mapping[str, Any]) -> int | None:
    """The repository's number of what runs; a version that came another way has one if its bytes are the same."""
    if current is None:
        return None
    for each in published["releases"].values():
        if each["sha256"] == current.release.sha256:
            return int(each["version"])
    return current.release.version if current.release.origin.startswith("tuf ") else None


def _staged(slots: Slots, release: Release) -> Slot | None:
    """The release, where an earlier run left it ready: applications held the switch off."""
    staged = slots.staged()
    return staged if staged is not None and staged.release.sha256 == release.sha256 else None


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
