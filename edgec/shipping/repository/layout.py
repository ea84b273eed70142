"""Which file of a repository lies where, and what may be the name of a target, a model or a channel."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from edgec.errors import UsageError

METADATA = "metadata"
PAYLOADS = "targets"
WORKSHOP = ".edgec"
"""What the publisher needs between two commands: the lock, unfinished writes, a root that waits for signatures. Nothing
secret, and nothing that clients read."""

RELEASES = "releases.json"
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names become parts of paths, of URLs and of TUF's patterns; these characters mean nothing in any of them."""


def check_name(name: str, whose: str, fix: str) -> None:
    """Raises UsageError for what can't be part of a path in a repository."""
    if not _NAME.fullmatch(name) or name in TOP_LEVEL:
        reason = (
            "TUF has a role of that name."
            if name in TOP_LEVEL
            else "It becomes part of URLs: up to 100 letters, digits, '.', '_' and '-', the first a letter or digit."
        )
        raise UsageError(f"{name!r} can't be the name of {whose} in a repository", reason, fix)


def check_channel(name: str) -> None:
    """Raises UsageError for what can't be the name of a channel."""
    check_name(name, "a channel", "Choose another, such as canary.")
    if name.isdigit():
        raise UsageError(
            f"{name!r} can't be the name of a channel", f"MODEL@{name} is a version.", "Choose another, such as canary."
        )


def releases_path(target: str) -> str:
    """TUF's path of what there is for a target."""
    return f"{target}/{RELEASES}"


def artifact_path(target: str, model: str, version: int) -> str:
    """TUF's path of one release's artifact; its signature and chunk index are named after it."""
    return f"{target}/{model}/{version}.edgec"


def payload_file(folder: Path, path: str, sha256: str) -> Path:
    """The file that clients ask for as `path`: its digest is part of its name, so it never changes."""
    place = folder / PAYLOADS / path
    return place.with_name(f"{sha256}.{place.name}")


def metadata_file(folder: Path, role: str, version: int) -> Path:
    """The file of one version of a role. The timestamp's has no version in its name: it is the one that changes."""
    name = quote(role, "")
    return folder / METADATA / ("timestamp.json" if role == "timestamp" else f"{version}.{name}.json")


def versions(folder: Path, role: str) -> list[int]:
    """Which versions of a role lie there, in use or not."""
    pattern = re.compile(rf"([1-9][0-9]*)\.{re.escape(quote(role, ''))}\.json")
    found = (pattern.fullmatch(path.name) for path in (folder / METADATA).glob(f"*.{quote(role, '')}.json"))
    return sorted(int(match[1]) for match in found if match)
