"""What `edgec fetch` does: a published artifact, verified as a device does it, in a folder of the user's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.digest import digest_bytes, digest_file
from edgec.errors import OutputError, UsageError
from edgec.output_folder import check_writable, write_whole
from edgec.runtime.agent import repository as client
from edgec.runtime.agent.download import download
from edgec.runtime.agent.signatures import LARGEST_ENVELOPE, envelope_beside, verify_envelope
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure
from edgec.shipping.repository.layout import releases_path
from edgec.store import cache_folder
from edgec.toml_schema import did_you_mean

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")


@dataclass(frozen=True)
class Wanted:
    """A model in the version that is named, or in the one that a channel has."""

    model: str
    version: int | None
    channel: str


@dataclass(frozen=True)
class Fetched:
    """A verified artifact. received: bytes over the network, 0 where it was there already. signed: a signature came.

    rollout: the share of the channel's devices that get it; None where a version was named.
    """

    path: Path
    model: str
    target: str
    version: int
    bytes: int
    sha256: str
    received: int
    signed: bool
    rollout: float | None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def fetch(
    url: str, root: Path, target: str, wanted: Sequence[Wanted], folder: Path, signed_by: Sequence[Path] = ()
) -> tuple[list[Fetched], tuple[str, ...]]:
    """Fetch artifacts for a target, and their signatures, as NAME-TARGET.edgec; and what a person should know.

    url: where the repository is served, or its folder. root: the root metadata to begin with, which vouches for all.
    wanted: none for all models that channel stable has. signed_by: public keys, one of which must have signed each.

    What was seen of a repository is remembered in edgec's cache: it can't go back to an older state unnoticed.

    Raises UsageError for what is not published, ArtifactError for what is not vouched for, Unreachable, OutputError.
    """
    with _as_edgec_errors():
        trusted = _read_root(root)
        address = _address(url)
        check_writable(folder)
        identity = digest_bytes(address.encode() + b"\n" + trusted)[:32]
        with client.opened(address, trusted, cache_folder() / "repositories" / identity) as repository:
            if repository.target(releases_path(target)) is None:
                raise UsageError(
                    f"The repository {url} has nothing for the target {target!r}",
                    "Nobody may sign for a target of that name, or nobody has yet.",
                    "Check its name: `edgec publish status` lists the targets of a repository.",
                )
            models = repository.releases(target)["models"]
            chosen = wanted or [Wanted(name, None, "stable") for name in models if "stable" in models[name]["channels"]]
            if not chosen:
                raise UsageError(
                    f"Channel stable of {target} has no release",
                    f"Models of {target}: {', '.join(models) or 'none'}.",
                    "Name a model with its channel or version: net@canary, net@3.",
                )
            fetched = [_fetch(repository, target, each, models, folder, signed_by) for each in chosen]
            return fetched, tuple(repository.warnings)


@contextmanager
def _as_edgec_errors() -> Iterator[None]:
    try:
        yield
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure


def _read_root(root: Path) -> bytes:
    try:
        return root.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The root {root} can't be read",
            f"The system says: {error.strerror}.",
            "Name the root.json that devices are set up with; it comes from whoever runs the repository.",
        ) from error


def _address(url: str) -> str:
    """A URL; for a folder on this machine its file: URL. Raises UsageError for a folder that is not there."""
    if _URL.match(url):
        return url
    folder = Path(url)
    if not (folder / "metadata").is_dir():
        raise UsageError(
            f"{url} holds no repository",
            "There is no folder metadata in it.",
            "Name its folder, or its https:// address.",
        )
    return folder.resolve().as_uri()


def _fetch(
    repository: client.Repository,
    target: str,
    wanted: Wanted,
    models: Mapping[str, Any],
    folder: Path,
    signed_by: Sequence[Path],
) -> Fetched:
    release, rollout = _choose(wanted, target, models)
    file = repository.needed(release["artifact"])
    if (file.sha256, file.bytes) != (release["sha256"], release["bytes"]):
        raise client.not_what_was_signed(release["artifact"], release["sha256"], file.sha256)
    envelope = _signature(repository, release)
    place = folder / f"{wanted.model}-{target}.edgec"
    received = 0
    if not place.is_file() or digest_file(place) != file.sha256:
        staging = folder / f".{place.name}.parts"
        taken = download(repository.fetcher, file.url, staging, file.bytes, file.sha256)
        received = taken.received
        _check(taken.path, wanted.model, target, envelope, signed_by)
        try:
            taken.path.chmod(0o755)
            taken.path.replace(place)
            staging.rmdir()
        except OSError as error:
            raise OutputError(
                f"{place} can't be written", f"The system says: {error.strerror}.", "Choose another folder with -o."
            ) from error
    else:
        _check(place, wanted.model, target, envelope, signed_by)
    beside = envelope_beside(place)
    if envelope is not None:
        write_whole(beside, envelope)
    else:
        beside.unlink(missing_ok=True)  # that of another release
    return Fetched(
        place,
        wanted.model,
        target,
        release["version"],
        file.bytes,
        file.sha256,
        received,
        envelope is not None,
        rollout,
    )


def _choose(wanted: Wanted, target: str, models: Mapping[str, Any]) -> tuple[Mapping[str, Any], float | None]:
    """The release's entry, and how far it is rolled out where a channel chose it."""
    if (entry := models.get(wanted.model)) is None:
        raise UsageError(
            f"{target} has no model {wanted.model!r}",
            f"It has: {', '.join(models) or 'none'}.{did_you_mean(wanted.model, models)}",
            "Name one of these, or another target with --target.",
        )
    version, rollout = wanted.version, None
    if version is None:
        if (channel := entry["channels"].get(wanted.channel)) is None:
            raise UsageError(
                f"{wanted.model} has no release in channel {wanted.channel!r} of {target}",
                f"Its channels: {', '.join(entry['channels']) or 'none'}."
                f"{did_you_mean(wanted.channel, entry['channels'])}",
                f"Name one of these ({wanted.model}@CHANNEL), or a version ({wanted.model}@3).",
            )
        version, rollout = channel["version"], channel["rollout"]
    if (why := entry["revoked"].get(str(version))) is not None:
        raise UsageError(
            f"{wanted.model}@{version} is revoked", f"The reason given: {why}", "Fetch another version of it."
        )
    if (release := entry["releases"].get(str(version))) is None:
        raise UsageError(
            f"There is no {wanted.model}@{version} for {target}",
            f"Its versions: {', '.join(entry['releases']) or 'none'}.",
            "Name one of these; old ones may have been pruned.",
        )
    return release, rollout


def _signature(repository: client.Repository, release: Mapping[str, Any]) -> bytes | None:
    path = release["signature"]
    return None if path is None else repository.content(repository.needed(path), LARGEST_ENVELOPE)


def _check(path: Path, model: str, target: str, envelope: bytes | None, signed_by: Sequence[Path]) -> None:
    """It is what it was published as; and signed by whom the caller trusts, where that was asked for."""
    if signed_by:
        if envelope is None:
            raise UsageError(
                f"{model} for {target} is not signed",
                "It was published without a signature of its own.",
                "Fetch it without --signed-by: the repository's signatures vouch for it.",
            )
        verify_envelope(envelope, path, signed_by)
    manifest = Bundle.open(path).manifest
    if (manifest["name"], manifest["target"]) != (model, target):
        raise UsageError(
            f"What was published as {model} for {target} is {manifest['name']} for {manifest['target']}",
            "Its manifest says so.",
            "Publish it again with `edgec publish`.",
        )
