"""TARGET/releases.json: which versions of which models there are for an edgec target, and which a channel wants.

    {"schema": 1, "target": T, "models": {NAME: {
        "releases": {"3": {"version": 3, "artifact": "T/NAME/3.edgec", "bytes", "sha256", "signature": path or null,
                           "chunks": path or null, "needs": {…}, …}},
        "channels": {"stable": {"version": 3, "rollout": 0.1, "before": 2 or null, "paused": false}},
        "revoked": {"2": "why"}}}}

It is signed with the target's key; its form is checked all the same, so that a slip of the publisher is an error in
words and not a crash on a thousand devices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import DeviceUnfit, Untrusted
from .release import is_model_name

SCHEMA = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def checked_releases(data: bytes, target: str) -> Mapping[str, Any]:
    """The document in `data`, for this edgec target.

    Raises Untrusted where it is not one or is for another target, DeviceUnfit where it is newer than this program.
    """
    try:
        document: dict[str, Any] = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _malformed(target, f"it is not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise DeviceUnfit(
            f"The repository's list of releases for {target} is newer than this program",
            f"It has the schema {schema}, and this edgec-device reads {SCHEMA}.",
            "Bring a newer edgec-device to this device.",
        )
    if schema != SCHEMA:
        raise _malformed(target, f"its schema is {schema!r}")
    if document.get("target") != target:
        raise Untrusted(
            f"The list of releases for {target} is one for another device",
            f"It says that it is for {document.get('target')!r}.",
            "Nothing was installed. Look at how it came into this folder of the repository.",
        )
    if (wrong := _fault(document, target)) is not None:
        raise _malformed(target, wrong)
    return document


def _malformed(target: str, why: str) -> Untrusted:
    return Untrusted(
        f"{target}/releases.json is not a list of releases",
        f"It is signed, but {why}.",
        "Publish again with edgec publish.",
    )


def _fault(document: Mapping[str, Any], target: str) -> str | None:
    """What is wrong, in words; None when it is as it should be. Fields that are not known are passed over."""
    models = document.get("models")
    if not isinstance(models, dict):
        return "it has no models"
    for name, model in models.items():
        if not is_model_name(name):
            return f"{name[:100]!r} is not a model's name"
        if (wrong := _model_fault(model, f"{target}/{name}/")) is not None:
            return f"of {name}, {wrong}"
    return None


def _model_fault(model: Any, folder: str) -> str | None:
    if not isinstance(model, dict) or not all(
        isinstance(model.get(key), dict) for key in ("releases", "channels", "revoked")
    ):
        return "releases, channels or revoked are missing"
    releases = model["releases"]
    for number, release in releases.items():
        if not _NUMBER.fullmatch(number) or not isinstance(release, dict) or release.get("version") != int(number):
            return f"version {number[:20]!r} is not the number of a release"
        if release.get("artifact") != f"{folder}{number}.edgec":
            return f"version {number} is said to be in {release.get('artifact')!r}"
        if not _is_count(release.get("bytes")) or not _is_digest(release.get("sha256")):
            return f"version {number} has no size or no SHA-256"
        for key in ("signature", "chunks"):
            path = release.get(key)
            if path is not None and not (isinstance(path, str) and path.startswith(folder)):
                return f"the {key} of version {number} are outside of its folder"
        if not isinstance(release.get("needs"), dict):
            return f"it is not said what version {number} needs"
    for channel, wanted in model["channels"].items():
        if (wrong := _channel_fault(wanted, releases)) is not None:
            return f"the channel {channel[:40]!r} {wrong}"
    if not all(isinstance(why, str) for why in model["revoked"].values()):
        return "a reason for a revocation is not text"
    return None


def _channel_fault(channel: Any, releases: Mapping[str, Any]) -> str | None:
    if not isinstance(channel, dict) or str(channel.get("version")) not in releases:
        return "wants a version that there is not"
    if channel.get("before") is not None and str(channel["before"]) not in releases:
        return "had a version that there is not"
    share = channel.get("rollout")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        return "has a rollout that is not between 0 and 1"
    return None if isinstance(channel.get("paused"), bool) else "does not say whether it is paused"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
