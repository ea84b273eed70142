"""Where this machine gets Debian's packages: the entries of its sources that name Debian's own archive.

The release that this machine runs does not matter: a Debian mirror holds all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgec.emulator.recipe import SUITE

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
"""Debian's keys, as the package debian-archive-keyring installs them."""

_RELEASES = {
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
}


@dataclass(frozen=True)
class Source:
    """An entry of apt's sources. signed_by: a keyring's path; "" where apt's own keys are meant, or it holds a key."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def is_debian(self) -> bool:
        """Whether it is Debian's own archive. Others name their suites after Debian's too, but sign with their keys."""
        own_keys = "debian-archive" in self.signed_by if self.signed_by else self.uri.rstrip("/").endswith("/debian")
        return own_keys and "main" in self.components and bool(_RELEASES & set(self.suites))


def mirror_line(source: Source) -> str:
    """The line that gives mmdebstrap the suite's main component, and nothing else."""
    options = f"[signed-by={source.signed_by}] " if source.signed_by else ""
    return f"deb {options}{source.uri} {SUITE} main"


def debian_source(folder: Path = Path("/etc/apt")) -> Source | None:
    """The first entry below `folder` that names Debian's archive; None on a machine that does not use it."""
    return next((source for source in read(folder) if source.is_debian), None)


def read(folder: Path) -> Iterator[Source]:
    """All enabled entries for binary packages: of sources.list, and of the files in sources.list.d."""
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            yield from _stanzas(text)
        elif path.suffix == ".list":
            yield from filter(None, map(_line, text.splitlines()))


def _line(line: str) -> Source | None:
    """An entry in the one-line style of sources.list(5)."""
    match = re.fullmatch(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<words>[^#]*?)\s*(?:#.*)?", line)
    words = match["words"].split() if match else []
    if match is None or len(words) < 3:
        return None
    signed = re.search(r"signed-by=(\S+)", match["options"] or "", re.IGNORECASE)
    return Source(words[0], (words[1],), tuple(words[2:]), _keyring(signed[1] if signed else ""))


def _stanzas(text: str) -> Iterator[Source]:
    """Entries in the style of deb822(5)."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = {
            match["name"].lower(): match["value"].split()
            for match in re.finditer(r"^(?P<name>[\w-]+):(?P<value>.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        enabled = "".join(fields.get("enabled", [])).lower() not in ("no", "false", "off", "0", "without", "disable")
        if "deb" not in fields.get("types", []) or not enabled:
            continue
        signed = fields.get("signed-by", [])
        for uri in fields.get("uris", []):
            yield Source(
                uri,
                tuple(fields.get("suites", [])),
                tuple(fields.get("components", [])),
                _keyring(signed[0] if signed else ""),
            )


def _keyring(signed_by: str) -> str:
    """The keyring that is named, if one is: the field may hold a key itself, or several keyrings."""
    first = signed_by.split(",")[0]
    return first if first.startswith("/") else ""
