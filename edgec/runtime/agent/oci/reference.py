"""The name of something in a registry: HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from ...errors import InputError

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DEFAULT_TAG = "latest"

_HOST = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]{2,45}\])(?::([0-9]{1,5}))?")
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_LONGEST = 255


@dataclass(frozen=True)
class Reference:
    """host: with the port, where one is given. digest: "sha256:" and 64 digits; what it names never changes."""

    host: str
    repository: str
    tag: str | None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """What a manifest is asked for by: the digest where there is one."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this very machine, so that nobody is on the way to it."""
        found = _HOST.fullmatch(self.host)
        host = found[1].strip("[]") if found else ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host.lower() == "localhost"

    def at(self, digest: str) -> Reference:
        """What has this digest, in the same repository."""
        return replace(self, tag=None, digest=digest)


def parse_reference(text: str) -> Reference:
    """A reference as people write it. Without tag and digest it is the tag "latest".

    Raises InputError, also where the host is missing: edgec knows no registry by itself.
    """
    rest = text[len("oci://") :] if text.startswith("oci://") else text
    rest, at, digest = rest.partition("@")
    host, slash, path = rest.partition("/")
    path, colon, tag = path.partition(":")
    if not slash or not _HOST.fullmatch(host) or not (set(host) & set(".:") or host == "localhost"):
        raise _malformed(text, "It does not begin with a registry's host, such as registry.example or localhost:5000.")
    if len(path) > _LONGEST or not path or not all(map(_PART.fullmatch, path.split("/"))):
        raise _malformed(text, "A repository's name is small letters and digits, in parts, with . _ - between them.")
    if colon and not TAG.fullmatch(tag):
        raise _malformed(text, "A tag is letters, digits and . _ -, 128 at most.")
    if at and not DIGEST.fullmatch(digest):
        raise _malformed(text, "A digest is sha256: and 64 hexadecimal digits.")
    return Reference(host, path, tag if colon else None if at else DEFAULT_TAG, digest if at else None)


def _malformed(text: str, why: str) -> InputError:
    return InputError(
        f"{text[:200]!r} is not a reference to a registry", why, "Write it as HOST/REPOSITORY[:TAG][@sha256:DIGEST]."
    )
