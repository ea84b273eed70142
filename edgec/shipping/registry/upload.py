"""Putting blobs and manifests into a registry (distribution specification 1.1, "Push")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urljoin

from edgec.digest import digest_bytes, digest_file
from edgec.runtime.agent.fetcher import Reply, TryAgain, followed
from edgec.runtime.agent.oci.documents import Descriptor
from edgec.runtime.agent.oci.registry import PUSH, Registry
from edgec.runtime.errors import Unreachable

CHUNK = 16 << 20
"""Bytes of one request. What is not larger is sent in one, anything else in several, which a broken line costs less."""

_LARGEST_CHUNK = 256 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,20})")


@dataclass(frozen=True)
class Blob:
    """Bytes to be uploaded: these, or those of a file. digest: "sha256:" and 64 digits."""

    source: bytes | Path
    digest: str
    size: int

    @classmethod
    def of(cls, source: bytes | Path) -> Blob:
        if isinstance(source, bytes):
            return cls(source, f"sha256:{digest_bytes(source)}", len(source))
        return cls(source, f"sha256:{digest_file(source)}", source.stat().st_size)

    def described(self, media_type: str, annotations: Mapping[str, str] | None = None) -> Descriptor:
        return Descriptor(media_type, self.digest, self.size, annotations or {})


class Uploader:
    """Uploads to the repository of a registry. sent: bytes of blobs that went over the network."""

    def __init__(self, registry: Registry, chunk: int = CHUNK) -> None:
        self._registry = registry
        self._chunk = chunk
        self.sent = 0

    def blob(self, blob: Blob) -> bool:
        """Have a blob in the repository; returns whether it had to be sent.

        Not sent is what is there, and what the registry has in another repository and lends to this one.

        Raises Unreachable.
        """
        persist = self._registry.fetcher.persist
        if persist(lambda: self._there(f"blobs/{blob.digest}")):
            return False
        place = persist(lambda: self._begin(blob.digest))
        if place is None:
            return False
        if isinstance(blob.source, bytes):
            content = blob.source
            persist(lambda: self._end(place, blob.digest, content))
        elif blob.size <= self._chunk:
            with blob.source.open("rb") as file:
                content = file.read()
            persist(lambda: self._end(place, blob.digest, content))
        else:
            with blob.source.open("rb") as file:
                last = self._in_chunks(place, file, blob.size)
            persist(lambda: self._end(last, blob.digest, b""))
        self.sent += blob.size
        return True

    def manifest(self, name: str, content: bytes, media_type: str) -> bool:
        """Put a manifest or an index under a tag or its digest; returns whether the registry made a referrer of it.

        Raises Unreachable, also when the registry says that it stored something else.
        """

        def attempt() -> Reply:
            url = urljoin(self._registry.base, f"manifests/{name}")
            return self._ask("PUT", url, {"Content-Type": media_type}, content)

        reply = self._registry.fetcher.persist(attempt)
        digest = f"sha256:{digest_bytes(content)}"
        stored = reply.headers.get("docker-content-digest", digest)
        if stored.startswith("sha256:") and stored != digest:
            raise Unreachable(
                f"The registry {self._registry.reference.host} changed what it was given",
                f"It stored {stored[:80]}; what was sent is {digest}.",
                "Publish to a registry that keeps OCI manifests as they are.",
            )
        return "oci-subject" in reply.headers

    def _there(self, path: str) -> bool:
        reply = self._registry.ask("HEAD", urljoin(self._registry.base, path), scope=PUSH)
        with reply:
            if reply.status == 404:
                return False
            self._registry.checked(reply)
            return True

    def _begin(self, digest: str) -> str | None:
        """Where to send a blob; None when the registry has it elsewhere, and mounted it."""
        query = urlencode({"mount": digest})  # without `from`: wherever the registry knows it
        reply = self._ask("POST", urljoin(self._registry.base, f"blobs/uploads/?{query}"), {}, b"")
        return None if reply.status == 201 else self._location(reply)

    def _end(self, place: str, digest: str, content: bytes) -> None:
        url = place + ("&" if "?" in place else "?") + urlencode({"digest": digest})
        self._ask("PUT", url, {"Content-Type": "application/octet-stream"}, content)

    def _in_chunks(self, place: str, file: BinaryIO, size: int) -> str:
        """Send a file in several requests; returns where the upload is to be ended."""
        sent = failures = 0
        while sent < size:
            file.seek(sent)
            content = file.read(self._chunk)
            if not content:
                raise Unreachable("The artifact became shorter while it was sent", "", "Publish it again.")
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{sent}-{sent + len(content) - 1}",
            }
            try:
                reply = self._ask("PATCH", place, headers, content)
                place, sent, failures = self._location(reply), sent + len(content), 0
            except TryAgain as failure:
                failures += 1
                if failures >= self._registry.fetcher.limits.attempts:
                    raise
                self._registry.fetcher.wait(failures, failure)
                place, sent = self._registry.fetcher.persist(lambda at=place: self._arrived(at))  # type: ignore[misc]
        return place

    def _arrived(self, place: str) -> tuple[str, int]:
        """(where to go on, how many bytes the registry has) of an upload that was broken off."""
        reply = self._ask("GET", place, {}, None)
        found = _RANGE.fullmatch(reply.headers.get("range", ""))
        return self._location(reply), int(found[1]) + 1 if found and found[1] != "0" else 0

    def _location(self, reply: Reply) -> str:
        if not reply.headers.get("location"):
            raise Unreachable(
                f"The registry {self._registry.reference.host} does not say where to send a blob",
                "Its answer has no header Location.",
                "Look at the registry.",
            )
        least = reply.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit():
            self._chunk = max(self._chunk, min(int(least), _LARGEST_CHUNK))
        return followed(reply.url, reply)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """A request whose answer has nothing of interest but its head. Raises TryAgain, Refused."""
        with self._registry.checked(self._registry.ask(method, url, headers, body, PUSH)) as reply:
            return reply
