"""The commands that change releases: each a function from a repository's folder to what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Metadata, Targets

from edgec.digest import digest_bytes, digest_file
from edgec.errors import UsageError
from edgec.shipping.repository import files, layout, policy, releases
from edgec.shipping.repository.artifacts import Candidate, examine
from edgec.shipping.repository.keyring import Keyring
from edgec.shipping.repository.releases import Document
from edgec.shipping.repository.state import State, load
from edgec.shipping.repository.transaction import Transaction, missing_keys
from edgec.toml_schema import did_you_mean


@dataclass(frozen=True)
class Published:
    """What became of one artifact.

    before: the version that the channel's other devices have, where rollout is below 1; None: they keep what they have,
    which for the first release of a model is nothing. is_new: it was not in the repository before. changed: clients see
    a difference.
    """

    path: Path
    target: str
    model: str
    version: int
    bytes: int
    sha256: str
    channel: str
    rollout: float
    before: int | None
    signed: bool
    is_new: bool
    changed: bool

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Change:
    """What a channel of a model and target was, and is: entries of releases.json, or None."""

    target: str
    model: str
    channel: str
    before: Document | None
    after: Document | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def publish(
    folder: Path,
    ring: Keyring,
    paths: Sequence[Path],
    now: datetime,
    *,
    channel: str = "stable",
    share: float | None = None,
    signed_by: Sequence[Path] = (),
    require_signed: bool = False,
) -> list[Published]:
    """Verify artifacts, give them versions, and offer them in a channel to a share of its devices.

    All of them or none. Artifacts of one model get the same version on all targets. One that is in the repository
    already keeps its version; where it is in the channel too, nothing changes, unless it was signed since.

    share: from 0 to 1; None: all devices. That of a release which is in the channel already stays as it is.
    signed_by, require_signed: as `examine` has them.
    """
    layout.check_channel(channel)
    candidates = _distinct([examine(path, signed_by, require_signed) for path in paths])
    with files.locked(folder):
        state = load(folder, ring.seen())
        transaction = Transaction(state, ring, now)
        documents = dict(state.releases)
        newest = {each.model: releases.newest_version(documents.values(), each.model) for each in candidates}
        published = []
        for each in candidates:
            if each.target not in state.delegated:
                _delegate(transaction, each.target, (), 1)
                documents[each.target] = {"schema": 1, "target": each.target, "models": {}}
            document = documents[each.target]
            releases.refuse_revoked(document, each.model, each.sha256)
            version, signed = releases.version_of(document, each.model, each.sha256), None
            if is_new := version is None:
                version = newest[each.model] + 1
                document = releases.add(document, each.model, _release(transaction, each, version))
            elif signed := _add_signature(transaction, each, version):
                release = document["models"][each.model]["releases"][str(version)]
                document = releases.add(document, each.model, {**release, "signature": signed})
            now_there = document["models"][each.model]["channels"].get(channel)
            if now_there is None or now_there["version"] != version:
                document = releases.assign(document, each.model, channel, version, share)
            changed = document != documents[each.target] or signed is not None
            documents[each.target] = document
            offered = document["models"][each.model]["channels"][channel]
            published.append(
                Published(
                    each.path,
                    each.target,
                    each.model,
                    version,
                    each.bytes,
                    each.sha256,
                    channel,
                    offered["rollout"],
                    offered["before"],
                    each.signature is not None,
                    is_new,
                    changed,
                )
            )
        _commit(transaction, documents)
    return published


def delegate(
    folder: Path, ring: Keyring, target: str, now: datetime, keys: Sequence[Key] = (), threshold: int = 1
) -> tuple[Path, ...]:
    """Give a target a role of its own, with these keys or a new one; `publish` does it by itself for a new target."""
    layout.check_name(target, "a target", "Name it as `edgec targets` does.")
    with files.locked(folder):
        state = load(folder, ring.seen())
        if target in state.delegated:
            raise UsageError(
                f"{target} has a role already",
                "Its keys sign what is published for it.",
                f"To change its keys: edgec publish rotate {target}.",
            )
        transaction = Transaction(state, ring, now)
        _delegate(transaction, target, keys, threshold)
        _commit(transaction, {**state.releases, target: {"schema": 1, "target": target, "models": {}}})
        return transaction.generated


def change(
    folder: Path,
    ring: Keyring,
    now: datetime,
    model: str,
    edit: Callable[[Document], Document],
    targets: Sequence[str] = (),
    fits: Callable[[Document], bool] = lambda entry: True,
) -> list[Change]:
    """Apply one of the functions of `releases` to all targets that have the model, or to those named.

    fits: where no target is named, only to those whose entry of the model it is true for.
    """
    with files.locked(folder):
        state = load(folder, ring.seen())
        documents = dict(state.releases)
        changes = []
        for target in _targets_of(state, model, targets, fits):
            before = documents[target]["models"].get(model, {"channels": {}})["channels"]
            documents[target] = edit(documents[target])
            after = documents[target]["models"][model]["channels"]
            changes += [
                Change(target, model, name, before.get(name), after.get(name))
                for name in sorted({*before, *after})
                if before.get(name) != after.get(name)
            ]
        _commit(Transaction(state, ring, now), documents)
    return changes


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The artifacts, each target and model once."""
    found: dict[tuple[str, str], Candidate] = {}
    for each in candidates:
        other = found.setdefault((each.target, each.model), each)
        if other.sha256 != each.sha256:
            raise UsageError(
                f"{other.path} and {each.path} are both {each.model} for {each.target}",
                "One command publishes one release of a model for each target.",
                "Publish the older one first, then the newer one.",
            )
    return list(found.values())


def _release(transaction: Transaction, candidate: Candidate, version: int) -> Document:
    """The release's entry; its files become part of the transaction."""
    target, path = candidate.target, layout.artifact_path(candidate.target, candidate.model, version)
    transaction.add_payload(target, path, candidate.path, candidate.bytes, candidate.sha256)
    from edgec.shipping.repository.chunking import index_of  # numpy

    signature = _add_signature(transaction, candidate, version)
    chunks = f"{path.removesuffix('.edgec')}.chunks"
    index = index_of(candidate.path).pack()
    transaction.add_payload(target, chunks, index, len(index), digest_bytes(index))
    return {
        "version": version,
        "artifact": path,
        "bytes": candidate.bytes,
        "sha256": candidate.sha256,
        "signature": signature,
        "chunks": chunks,
        **candidate.facts,
    }


def _add_signature(transaction: Transaction, candidate: Candidate, version: int) -> str | None:
    """Add the artifact's signature to a release; its path, or None where there is none, or no other than before."""
    if candidate.signature is None:
        return None
    path = f"{layout.artifact_path(candidate.target, candidate.model, version)}.dsse.json"
    size, digest = candidate.signature.stat().st_size, digest_file(candidate.signature)
    listed = transaction.state.delegated[candidate.target].signed.targets.get(path)
    if listed is not None and listed.hashes["sha256"] == digest:
        return None
    transaction.add_payload(candidate.target, path, candidate.signature, size, digest)
    return path


def _delegate(transaction: Transaction, target: str, keys: Sequence[Key], threshold: int) -> None:
    """Add a role for a target: only what lies below its name, and nothing else."""
    state, ring = transaction.state, transaction.ring
    role = state.root.signed.roles["targets"]
    if sum(ring.find(keyid) is not None for keyid in role.keyids) < role.threshold:
        raise missing_keys("targets", role, Metadata(state.targets.signed), ring)
    if not keys:
        keys = (ring.make(target).public_key,)
    entry = DelegatedRole(target, [], threshold, True, paths=[f"{target}/*", f"{target}/*/*"])
    policy.set_period(entry, policy.period_of(role, "targets"))
    delegations = state.targets.signed.delegations
    assert delegations is not None and delegations.roles is not None
    delegations.roles[target] = entry
    for key in keys:
        state.targets.signed.add_key(key, target)
    state.delegated[target] = Metadata(Targets(expires=transaction.now))
    state.delegated[target].signed.version = 0  # the next one is the first
    transaction.changed("targets")
    transaction.changed(target)


def _commit(transaction: Transaction, documents: dict[str, Document]) -> None:
    """Put the documents into the transaction, and write it if anything changed at all."""
    for target, document in documents.items():
        transaction.set_releases(target, document)
    if transaction.has_changes:
        transaction.commit()


def _targets_of(state: State, model: str, targets: Iterable[str], fits: Callable[[Document], bool]) -> list[str]:
    """The targets that a command is about. Raises UsageError where there are none, or an unknown one is named."""
    if named := list(targets):
        for target in named:
            if target not in state.releases:
                raise UsageError(
                    f"The repository has no target {target!r}",
                    f"It has: {', '.join(state.releases) or 'none'}.{did_you_mean(target, state.releases)}",
                    "Name one of these with --target.",
                )
        return named
    having = {
        target: document["models"][model] for target, document in state.releases.items() if model in document["models"]
    }
    if not having:
        known = sorted({name for document in state.releases.values() for name in document["models"]})
        raise UsageError(
            f"The repository has no model {model!r}",
            f"It has: {', '.join(known) or 'none'}.{did_you_mean(model, known)}",
            "Name one of these; `edgec publish status` lists all.",
        )
    fitting = [target for target, entry in having.items() if fits(entry)]
    return fitting or list(having)  # where none fits, the change itself says what is missing
