"""Downloading an artifact over lines that break, with as few bytes as the device can do with.

What has arrived lies in a file SHA256.part. With an index of chunks (`chunks`), a chunk is written there only after its
digest was compared, chunks that an installed version has are taken from it, and the rest is asked for by ranges.
Without one, what arrived is believed for the time being. In either case the file gets its name only after its whole
SHA-256 was found to be the signed one, read back from the storage: a part is never trusted.

A server that knows no ranges gives the whole file, which is slower and right. A line that breaks is tried again, and
given up after several failures without a byte in between; the next update goes on where this one ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageFailed, Unreachable, Untrusted
from .chunks import Chunk, Index, digest_of, index_of
from .fetcher import Fetcher, Refused, Reply, TryAgain, too_long
from .repository import missing, not_what_was_signed
from .storage import free_bytes, make_folder, move, remove, replace_file, sha256_of, storing, sync_folder

RESERVE = 8 << 20
"""Bytes of the file system that a download leaves free: others need to write too."""

REQUEST = 16 << 10
"""Bytes that a further request is worth: what a line carries while it waits for an answer (1 Mbyte/s, 16 ms)."""

MOST_REQUESTS = 64
"""Of one delta: a server has more to do than this device."""

_LOG = logging.getLogger("edgec.agent")


@dataclass(frozen=True)
class Download:
    """A file that arrived, and what it took.

    received: bytes over the network. resumed: bytes that an earlier, broken run had left. reused: bytes taken from
    installed versions. requests: over the network.
    """

    path: Path
    received: int = 0
    resumed: int = 0
    reused: int = 0
    requests: int = 0


@dataclass(frozen=True)
class _Piece:
    """Bytes from `first` to before `end` of the file: to be copied from `offset` of `source`, or to be asked for."""

    first: int
    end: int
    source: Path | None = None
    offset: int = 0


def download(
    fetcher: Fetcher,
    url: str,
    folder: Path,
    size: int,
    sha256: str,
    index: Index | None = None,
    sources: Mapping[str, Path] | None = None,
) -> Download:
    """The file at `url`, of `size` bytes and with this SHA-256, as FOLDER/SHA256.edgec.

    index: its chunks; None where the repository has none. sources: files to take chunks from, by their SHA-256.
    What other downloads left in `folder` is removed: it belongs to one model, and only its newest wish counts.

    Raises Untrusted for other bytes than the signed ones, Unreachable (what came is kept), StorageFailed.
    """
    make_folder(folder)
    done, part = folder / f"{sha256}.edgec", folder / f"{sha256}.part"
    _clear(folder, {done.name, part.name} | {f"{each}.chunks" for each in (sha256, *(sources or {}))})
    if done.exists():
        if done.stat().st_size == size and sha256_of(done) == sha256:
            return Download(done, resumed=size)
        remove(done)
    with _part(part, url, size, index) as file:
        resumed = file.size
        _check_space(folder, size - resumed)
        pieces = _pieces(size, resumed, index, _available(folder, index, sources or {}, file.verified))
        before = fetcher.received, fetcher.requests
        reused = _fill(file, fetcher, url, size, pieces)
    found = sha256_of(part)
    if found != sha256:
        remove(part)
        if resumed and index is None:  # what was left over may be what is wrong
            _LOG.warning("%s: what an earlier run had left is not part of it; it is fetched whole", url)
            return download(fetcher, url, folder, size, sha256)
        raise not_what_was_signed(url, sha256, found)
    move(part, done)
    return Download(done, fetcher.received - before[0], resumed, reused, fetcher.requests - before[1])


def keep_index(folder: Path, data: bytes, sha256: str) -> None:
    """Keep the index of the file with this SHA-256: the next version's download asks for it."""
    make_folder(folder)
    replace_file(folder / f"{sha256}.chunks", data)


def _clear(folder: Path, kept: set[str]) -> None:
    with storing(folder, "listed"):
        others = [path for path in folder.iterdir() if path.name not in kept]
    for path in others:
        remove(path)


def _check_space(folder: Path, needed: int) -> None:
    free = free_bytes(folder)
    if free < needed + RESERVE:
        raise StorageFailed(
            "There is no room for the download",
            f"{needed} bytes are missing, {RESERVE} shall stay free, and {folder} has {free}.",
            "Make room, or keep fewer versions (edgec-device prune; keep in device.conf). What runs is not touched.",
        )


class _Part:
    """The file that grows. size: bytes that are in it; all of them verified where there is an index."""

    def __init__(self, path: Path, url: str, index: Index | None, descriptor: int) -> None:
        self.size = 0
        self._path, self._url, self._index, self._descriptor = path, url, index, descriptor
        self._number = 0  # of the chunk that comes next
        self._pending = bytearray()  # of a chunk that has not come whole
        self.verified: dict[bytes, tuple[Path, int]] = {}

    @property
    def position(self) -> int:
        """Where the next byte belongs."""
        return self.size + len(self._pending)

    def resume(self, size: int) -> None:
        """Take over what an earlier run left, up to the first chunk that is not as it should be."""
        there = min(os.fstat(self._descriptor).st_size, size)
        if self._index is None:
            self.size = there
        for chunk in self._index.chunks if self._index else ():
            with storing(self._path, "read"):
                content = os.pread(self._descriptor, chunk.size, self.size)
            if digest_of(content) != chunk.digest or len(content) != chunk.size:
                break
            self._count(chunk)
        with storing(self._path):
            os.ftruncate(self._descriptor, self.size)

    def add(self, block: bytes) -> None:
        """The next bytes. Raises Untrusted when they complete a chunk that is another than it should be."""
        if self._index is None:
            self._write(block)
            self.size += len(block)
            return
        self._pending += block
        while self._number < len(self._index.chunks) and self._pending:
            chunk = self._index.chunks[self._number]
            if len(self._pending) < chunk.size:
                return
            content = bytes(self._pending[: chunk.size])
            if digest_of(content) != chunk.digest:
                raise _changed(self._url, self.size, chunk)
            self._write(content)
            self._count(chunk)
            del self._pending[: chunk.size]

    def give_up_pending(self) -> None:
        """Forget a chunk that did not come whole: it is asked for again."""
        self._pending.clear()

    def _count(self, chunk: Chunk) -> None:
        self.verified[chunk.digest] = (self._path, self.size)
        self.size += chunk.size
        self._number += 1

    def _write(self, content: bytes) -> None:
        rest, place = memoryview(content), self.size
        with storing(self._path):
            while rest:
                written = os.pwrite(self._descriptor, rest, place)
                rest, place = rest[written:], place + written


@contextlib.contextmanager
def _part(path: Path, url: str, size: int, index: Index | None) -> Iterator[_Part]:
    """The part file, opened and resumed; on the medium afterwards. A full storage is given back what it holds."""
    with storing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        part = _Part(path, url, index, descriptor)
        part.resume(size)
        yield part
        with storing(path):
            os.fsync(descriptor)
    except StorageFailed:
        remove(path)
        raise
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def _changed(url: str, first: int, chunk: Chunk) -> Untrusted:
    return Untrusted(
        f"{url} is not the file that was signed",
        f"Bytes {first} to {first + chunk.size - 1} have another SHA-256: they were changed, or are of another file.",
        "What came before them is kept. Nothing was changed on this device. Look at the file on the server, and at who "
        "may write there.",
    )


def _available(
    folder: Path, index: Index | None, sources: Mapping[str, Path], verified: Mapping[bytes, tuple[Path, int]]
) -> dict[bytes, tuple[Path, int]]:
    """Where chunks can be had without the network: file and offset, by their digests."""
    found: dict[bytes, tuple[Path, int]] = {}
    if index is None:
        return found
    for sha256, path in sources.items():
        kept = folder / f"{sha256}.chunks"
        try:
            known = Index.unpack(kept.read_bytes())
        except (OSError, ValueError):
            try:
                known = index_of(path)
            except OSError as error:
                _LOG.warning("%s can't be read, and gives nothing to the download: %s", path, error)
                continue
            replace_file(kept, known.pack())
        place = 0
        for chunk in known.chunks:
            found.setdefault(chunk.digest, (path, place))
            place += chunk.size
    return {**found, **verified}


def _pieces(size: int, first: int, index: Index | None, available: Mapping[bytes, tuple[Path, int]]) -> list[_Piece]:
    """What to copy and what to ask for, in the order of the file, from `first` on.

    Small pieces that could be copied are asked for nevertheless, where that spares a request that costs more; and all
    is asked for at once where pieces save nothing.
    """
    whole = [_Piece(first, size)] if first < size else []
    if index is None or not available:
        return whole
    pieces: list[_Piece] = []
    place = 0
    for chunk in index.chunks:
        end = place + chunk.size
        if place >= first:
            source, offset = available.get(chunk.digest, (None, 0))
            last = pieces[-1] if pieces else None
            if last and last.source == source and (source is None or last.offset + last.end - last.first == offset):
                pieces[-1] = _Piece(last.first, end, source, last.offset)
            else:
                pieces.append(_Piece(place, end, source, offset))
        place = end
    pieces = _with_fewer_requests(pieces)
    asked = [piece.end - piece.first for piece in pieces if piece.source is None]
    return pieces if sum(asked) + REQUEST * (len(asked) - 1) < size - first else whole


def _with_fewer_requests(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Pieces in which what lies between two requests is asked for too, where it is small or requests are many.

    Copied pieces between two requests are dropped from the smallest on, until each is worth a request and
    MOST_REQUESTS are left.
    """
    runs: list[list[_Piece]] = []  # requests, and between them what is copied from one or several places
    for piece in pieces:
        if runs and (runs[-1][0].source is None) == (piece.source is None):
            runs[-1].append(piece)
        else:
            runs.append([piece])
    between = [n for n, run in enumerate(runs) if run[0].source is not None and 0 < n < len(runs) - 1]
    between.sort(key=lambda n: runs[n][-1].end - runs[n][0].first, reverse=True)
    worth = [n for n in between[: MOST_REQUESTS - 1] if runs[n][-1].end - runs[n][0].first >= REQUEST]
    merged: list[_Piece] = []
    for number, run in enumerate(runs):
        copied = run[0].source is not None and (number in worth or number not in between)
        if copied:
            merged += run
        elif merged and merged[-1].source is None:
            merged[-1] = _Piece(merged[-1].first, run[-1].end)
        else:
            merged.append(_Piece(run[0].first, run[-1].end))
    return merged


def _fill(part: _Part, fetcher: Fetcher, url: str, size: int, pieces: Sequence[_Piece]) -> int:
    """Complete the part; returns how many bytes were copied."""
    copied = 0
    etag: str | None = None
    for piece in pieces:
        if part.position >= piece.end:
            continue  # a server that knows no ranges has sent it already
        if piece.source is not None:
            copied += _copy(part, piece)
        if part.position < piece.end:
            etag = _fetch(part, fetcher, url, size, piece.end, etag)
    return copied


def _copy(part: _Part, piece: _Piece) -> int:
    """Copy what is still what it was; stops at bytes that are not, which are then asked for. Returns how many."""
    before = part.size
    assert piece.source is not None
    try:
        with piece.source.open("rb") as stream:
            stream.seek(piece.offset + part.size - piece.first)
            while part.position < piece.end:
                block = stream.read(min(1 << 16, piece.end - part.position))
                if not block:
                    break
                part.add(block)
    except (OSError, Untrusted) as error:
        _LOG.warning("%s has changed since it was installed, and is not used: %s", piece.source, error)
    part.give_up_pending()
    return part.size - before


def _fetch(part: _Part, fetcher: Fetcher, url: str, size: int, end: int, etag: str | None) -> str | None:
    """Ask for what is missing up to `end`, again and again while bytes come; returns the file's tag."""
    failures = 0
    while part.position < end:
        before = part.size
        try:
            etag = _fetch_once(part, fetcher, url, size, end, etag)
        except TryAgain as failure:
            part.give_up_pending()
            failures = 1 if part.size > before else failures + 1
            if failures >= fetcher.limits.attempts:
                raise
            _LOG.info("%s %s It is tried again.", failure.what, failure.why)
            fetcher.wait(failures, failure)
        except Refused as refusal:
            if refusal.status == 416:
                raise _wrong_length(url, size, "fewer") from refusal
            raise missing(url, refusal) from refusal
    return etag


def _fetch_once(part: _Part, fetcher: Fetcher, url: str, size: int, end: int, etag: str | None) -> str | None:
    first = part.position
    whole = first == 0 and end == size
    with fetcher.get(url, span=None if whole else (first, end), etag=etag) as reply:
        skip, end = (0, end) if reply.status == 206 else (first, size)
        _check_reply(reply, first, end, size)
        for block in reply.body:
            wanted = block[skip:]
            skip = max(skip - len(block), 0)
            if part.position + len(wanted) > end:
                raise too_long(url, size)
            part.add(wanted)
        if part.position < end:
            raise TryAgain(
                f"The connection ended before all of {url} had come",
                f"{part.position} of {size} bytes are there.",
                "They are kept; the next update goes on from there.",
            )
        tag = reply.headers.get("etag", "")
        return tag if tag.startswith('"') else None  # a weak tag is no promise that bytes are the same


def _check_reply(reply: Reply, first: int, end: int, size: int) -> None:
    """Raises Untrusted when a reply announces other bytes than were asked for."""
    if reply.status == 200:
        if reply.length is not None and reply.length != size:
            raise _wrong_length(reply.url, size, str(reply.length))
        return
    said = reply.headers.get("content-range", "")
    if said not in (f"bytes {first}-{end - 1}/{size}", f"bytes {first}-{end - 1}/*"):
        total = said.rpartition("/")[2]
        if total not in ("", "*", str(size)):
            raise _wrong_length(reply.url, size, total)
        raise Unreachable(
            f"The server sends another part of {reply.url} than it was asked for",
            f"Asked for were bytes {first} to {end - 1}; it says {said[:80]!r}.",
            "Look at the server, or at the cache before it.",
        )


def _wrong_length(url: str, size: int, found: str) -> Untrusted:
    return Untrusted(
        f"{url} has another length than the file that was signed",
        f"Signed are {size} bytes; the server has {found}.",
        "It was replaced, or not copied whole. Nothing was changed on this device. Look at the file on the server.",
    )
