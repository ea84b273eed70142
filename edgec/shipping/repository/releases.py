"""Versions, channels, rollouts and revocations of one target: pure functions on its releases.json.

The document is described in docs/publishing.md. What holds after each of them: a channel names releases that exist and
are not revoked; versions only ascend. Where a rollout is below 1, `before` is the release for the other devices; with
none, as for a channel's first release, they keep what they have, or have nothing yet.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgec.errors import UsageError
from edgec.toml_schema import did_you_mean

Document = dict[str, Any]


def newest_version(documents: Iterable[Mapping[str, Any]], model: str) -> int:
    """The highest version that a model ever had on any target; 0 for a new one."""
    known = [0]
    for document in documents:
        if (entry := document["models"].get(model)) is not None:
            known += map(int, (*entry["releases"], *entry["revoked"]))
    return max(known)


def version_of(document: Mapping[str, Any], model: str, sha256: str) -> int | None:
    """The version under which these very bytes were published, or None."""
    releases = document["models"].get(model, {"releases": {}})["releases"]
    return next((release["version"] for release in releases.values() if release["sha256"] == sha256), None)


def refuse_revoked(document: Mapping[str, Any], model: str, sha256: str) -> None:
    """Raise UsageError where these very bytes were revoked, also where that release was pruned since."""
    entry = document["models"].get(model, {"releases": {}, "revoked": {}})
    for version, why in entry["revoked"].items():
        release = entry["releases"].get(version, {"sha256": entry.get("revoked_sha256", {}).get(version)})
        if release["sha256"] == sha256:
            raise _revoked(document, model, version, why)


def in_channel(channel: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a model's entry has a release in the channel."""
    return lambda entry: channel in entry["channels"]


def has(version: int) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a model's entry has this release."""
    return lambda entry: str(version) in entry["releases"]


def ever_had(version: int) -> Callable[[Mapping[str, Any]], bool]:
    """Whether devices may have this release, although it may be pruned by now."""
    return lambda entry: 1 <= version <= max(map(int, (*entry["releases"], *entry["revoked"])), default=0)


def add(document: Mapping[str, Any], model: str, release: Mapping[str, Any]) -> Document:
    """With one release more, in no channel yet."""
    changed = copy.deepcopy(dict(document))
    entry = changed["models"].setdefault(model, {"releases": {}, "channels": {}, "revoked": {}})
    entry["releases"][str(release["version"])] = dict(release)
    return changed


def assign(document: Mapping[str, Any], model: str, channel: str, version: int, share: float | None) -> Document:
    """With a release in a channel, for this share of the devices; None: as it is, or all of them.

    Raises UsageError for a revoked release, and for a partial rollout on top of another one.
    """
    changed, entry = _model(document, model)
    release = _release(entry, model, version)
    if (why := entry["revoked"].get(str(version))) is not None:
        raise _revoked(document, model, str(version), why)
    now = entry["channels"].get(channel)
    if now is None:
        entry["channels"][channel] = _offer(release["version"], share, None)
    elif now["version"] == version:
        now["rollout"] = now["rollout"] if share is None else share
    else:
        if now["rollout"] < 1 and share is not None and share < 1:
            raise UsageError(
                f"{model}@{now['version']} is only at {percent(now['rollout'])} in channel {channel} of "
                f"{document['target']}",
                "A second partial rollout on top would give some devices three releases in a row.",
                f"Finish it (edgec publish rollout {model} 100%), take it back (edgec publish revoke "
                f"{model}@{now['version']} --reason ...), or publish the new one to all: --rollout 100%.",
            )
        settled = now["version"] if now["rollout"] == 1 else now["before"]
        entry["channels"][channel] = _offer(version, share, None if settled == version else settled)
    return changed


def promote(
    document: Mapping[str, Any], model: str, version: int | None, source: str, channel: str, share: float | None
) -> Document:
    """With a release in one more channel: `version`, or the newest one that channel `source` has."""
    if version is None:
        version = _channel(document, model, source)["version"]
    return assign(document, model, channel, version, share)


def set_share(document: Mapping[str, Any], model: str, channel: str, share: float) -> Document:
    """With the channel's newest release for another share of its devices."""
    return assign(document, model, channel, _channel(document, model, channel)["version"], share)


def set_paused(document: Mapping[str, Any], model: str, channel: str, paused: bool) -> Document:
    """With a rollout that nobody begins any more, or that goes on."""
    _channel(document, model, channel)
    changed, entry = _model(document, model)
    entry["channels"][channel]["paused"] = paused
    return changed


def revoke(
    document: Mapping[str, Any],
    model: str,
    version: int,
    reason: str,
    *,
    to: int | None = None,
    leave_empty: bool = False,
) -> Document:
    """With a release that nobody installs any more, and that devices leave; it may be one that was pruned.

    Channels that had it get `to`, or the release that they had before. leave_empty: a channel that had none before is
    left without a release, and its devices with what they have.

    Raises UsageError where a channel would be left without a release, and that was not said to be meant.
    """
    changed, entry = _model(document, model)
    if not ever_had(version)(entry):
        _release(entry, model, version)
    if to is not None:
        _release(entry, model, to)
        if to == version or str(to) in entry["revoked"]:
            raise UsageError(
                f"{model}@{to} can't take the place of {model}@{version}",
                "It is the one that is revoked." if to == version else "It is revoked itself.",
                f"Name another release; `edgec publish status` lists those of {model}.",
            )
    entry["revoked"][str(version)] = reason
    for name, now in list(entry["channels"].items()):
        if now["version"] == version:
            if (fallback := to if to is not None else now["before"]) is not None:
                entry["channels"][name] = _offer(fallback, None, None)
            elif leave_empty:
                del entry["channels"][name]
            else:
                raise _left_empty(document, model, name, version)
        elif now["before"] == version:
            if to is not None and to != now["version"]:
                now["before"] = to
            elif now["rollout"] == 1:
                now["before"] = None
            else:
                raise UsageError(
                    f"{percent(1 - now['rollout'])} of the devices in channel {name} of {document['target']} are to "
                    f"have {model}@{version}",
                    f"{model}@{now['version']} is only at {percent(now['rollout'])} there.",
                    f"Give that one to all first (edgec publish rollout {model} 100% --channel {name}), or name what "
                    "takes the place: --to VERSION.",
                )
    return changed


def prune(document: Mapping[str, Any], keep: int) -> tuple[Document, list[str]]:
    """Without releases that no channel names, but for the newest `keep` of each model; and the paths of their files.

    What was revoked stays listed as such, and its SHA-256 is kept: devices may still have it, and it must not return
    under another version.
    """
    changed = copy.deepcopy(dict(document))
    paths: list[str] = []
    for entry in changed["models"].values():
        named = {now[key] for now in entry["channels"].values() for key in ("version", "before")}
        versions = sorted(map(int, entry["releases"]), reverse=True)
        sound = [version for version in versions if str(version) not in entry["revoked"]]
        for version in set(versions) - named - set(sound[:keep]):
            release = entry["releases"].pop(str(version))
            if str(version) in entry["revoked"]:
                entry.setdefault("revoked_sha256", {})[str(version)] = release["sha256"]
            paths += [release[key] for key in ("artifact", "signature", "chunks") if release[key] is not None]
    return changed, sorted(paths)


def percent(share: float) -> str:
    """ "10%", "0.5%"."""
    return f"{100 * share:.6g}%"


def _revoked(document: Mapping[str, Any], model: str, version: str, why: str) -> UsageError:
    return UsageError(
        f"{model}@{version} is revoked for {document['target']}",
        f"The reason given: {why}",
        "Build the model anew, and publish that; what is revoked stays so.",
    )


def _offer(version: int, share: float | None, before: int | None) -> Document:
    """A channel's entry."""
    return {"version": version, "rollout": 1.0 if share is None else share, "before": before, "paused": False}


def _model(document: Mapping[str, Any], model: str) -> tuple[Document, Document]:
    """A copy to change, and in it the model's entry."""
    changed = copy.deepcopy(dict(document))
    if model not in changed["models"]:
        raise UsageError(
            f"{document['target']} has no model {model!r}",
            f"It has: {', '.join(changed['models']) or 'none'}.{did_you_mean(model, changed['models'])}",
            "Name one of these; `edgec publish status` lists all.",
        )
    return changed, changed["models"][model]


def _release(entry: Mapping[str, Any], model: str, version: int) -> Document:
    if str(version) not in entry["releases"]:
        raise UsageError(
            f"There is no {model}@{version}",
            f"Its versions: {', '.join(entry['releases']) or 'none'}.",
            "Name one of these; old ones may have been pruned.",
        )
    found: Document = entry["releases"][str(version)]
    return found


def _channel(document: Mapping[str, Any], model: str, channel: str) -> Document:
    channels = _model(document, model)[1]["channels"]
    if channel not in channels:
        raise UsageError(
            f"{model} has no release in channel {channel!r} of {document['target']}",
            f"Its channels: {', '.join(channels) or 'none'}.{did_you_mean(channel, channels)}",
            "Name one of these with --channel, or publish or promote a release to that one.",
        )
    found: Document = channels[channel]
    return found


def _left_empty(document: Mapping[str, Any], model: str, channel: str, version: int) -> UsageError:
    return UsageError(
        f"Channel {channel} of {document['target']} would be left without a release of {model}",
        f"{model}@{version} is the only one that it has.",
        "Publish a better one first, name another release with --to VERSION, or say --leave-empty if devices shall "
        "keep what they have and new ones get none.",
    )
