"""A TUF repository, as a device sees it: nothing that it says is believed before signatures and versions vouch for it.

The client's workflow is that of the specification (theupdateframework.github.io/specification/latest, section 5), done
by `tuf.ngclient`. Around it: a network with limits (`fetcher`), a time that survives a dead clock battery (`clock`),
files that survive a power cut (`storage`), and an error of its own for each way in which a repository can be wrong.

What is believed afterwards: who signed (threshold of keys, from the root that the device was set up with), that it is
no older than what was seen before (rollback), and that it has not expired (freeze).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

from ..errors import ArtifactFailure, Busy, PackageMissing, Unreachable, Untrusted
from .clock import Clock, keep_time, read_clock
from .fetcher import Fetcher, Limits, Refused
from .locks import held
from .releases import checked_releases
from .storage import make_folder, replace_file

LARGEST_DOCUMENT = 16 << 20
"""Bytes that a releases.json may have."""

_FAR = 366 * 24 * 3600.0  # seconds; no metadata is signed for so long, so a clock that is that far off is wrong
_ASK = "Nothing was changed on this device. Ask who runs the repository; somebody may be interfering."


@dataclass(frozen=True)
class Target:
    """A file that the repository vouches for. sha256: in hex; url: where it is to be had."""

    path: str
    bytes: int
    sha256: str
    url: str


@dataclass(frozen=True)
class _Session:
    """What belongs to one look at a repository. transfer, updater: of tuf.ngclient, see `_transfer` and `_client`."""

    clock: Clock
    fetcher: Fetcher
    transfer: Any
    updater: Any


class Repository:
    """The state of a repository, verified. Made by `opened`.

    warnings: what a person should know, in sentences.
    """

    def __init__(self, url: str, folder: Path, session: _Session) -> None:
        self.url = url
        self.fetcher = session.fetcher
        self.warnings: list[str] = []
        self._folder = folder
        self._session = session

    def target(self, path: str) -> Target | None:
        """What is signed of the file `path`; None when nobody who may speak for it lists it.

        Raises Untrusted, Unreachable.
        """
        with _explained(self._session):
            found = self._session.updater.get_targetinfo(path)
        if found is None:
            return None
        if "sha256" not in found.hashes:
            raise Untrusted(
                f"{path} is signed without a SHA-256",
                f"Its metadata has {', '.join(sorted(found.hashes)) or 'no digest'}.",
                "Publish it again with edgec publish.",
            )
        folder, _, name = path.rpartition("/")
        place = f"{folder}/{found.hashes['sha256']}.{name}" if folder else f"{found.hashes['sha256']}.{name}"
        return Target(path, found.length, found.hashes["sha256"], f"{self.url}/targets/{quote(place)}")

    def needed(self, path: str) -> Target:
        """Like `target`. Raises Untrusted where nothing is signed of it."""
        found = self.target(path)
        if found is None:
            raise Untrusted(
                f"Nobody who may speak for {path} lists it",
                f"Asked were: {', '.join(self._session.updater.roles())}. What a role signs outside of its own "
                "folder does not count.",
                "Check the target in device.conf, and that something was published for it: see `edgec publish status`.",
            )
        return found

    def content(self, target: Target, most: int = LARGEST_DOCUMENT) -> bytes:
        """A small file's bytes, checked. Raises Untrusted, Unreachable."""
        if target.bytes > most:
            raise Untrusted(
                f"{target.path} is larger than such a file may be",
                f"Signed are {target.bytes} bytes; the limit is {most}.",
                _ASK,
            )
        try:
            data = self.fetcher.read(target.url, target.bytes)
        except Refused as refusal:
            raise missing(target.url, refusal) from refusal
        if len(data) != target.bytes or hashlib.sha256(data).hexdigest() != target.sha256:
            raise not_what_was_signed(target.path, target.sha256, hashlib.sha256(data).hexdigest())
        return data

    def releases(self, target: str) -> Mapping[str, Any]:
        """TARGET/releases.json: which versions there are for an edgec target, and which a channel wants.

        The last one is kept beside the metadata, and not fetched again while it is the one that is signed.
        Raises Untrusted, Unreachable, DeviceUnfit for a document that is newer than this program.
        """
        found = self.needed(f"{target}/releases.json")
        kept = self._folder / f"{quote(target, '')}.releases"
        try:
            data = kept.read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != found.sha256:
            data = self.content(found)
            replace_file(kept, data)
        return checked_releases(data, target)


@contextmanager
def opened(
    url: str, root: bytes, folder: Path, limits: Limits | None = None, clock: Clock | None = None
) -> Iterator[Repository]:
    """A repository, its state fetched and verified; `folder` keeps what is known of it, and is locked meanwhile.

    url: of the folder that holds metadata/ and targets/. root: the root metadata that the device was set up with.
    limits: of what the server may cost. clock: what time it is, where `folder` is not to be asked.
    Raises Untrusted for whatever the signatures do not vouch for, Unreachable, Busy, StorageFailed.
    """
    make_folder(folder)
    time = folder / "clock"  # metadata of roles ends in .json, and roles are named after targets
    clock = clock or read_clock(time)
    fetcher = Fetcher(limits, check_times=not clock.behind)
    busy = Busy(
        "Another update is running",
        f"It holds the lock of {folder}.",
        "Wait for it; the next update finds what this one would have found.",
    )
    with held(folder / "lock", 0, busy):
        url = url.rstrip("/")
        transfer = _transfer(fetcher)
        session = _Session(clock, fetcher, transfer, _client(url, root, folder, transfer, clock))
        with _explained(session):
            session.updater.refresh()
        keep_time(time, clock)
        repository = Repository(url, folder, session)
        if clock.behind:
            repository.warnings.append(
                f"This device's clock says {clock.shows:%Y-%m-%d %H:%M} UTC, and it is later than "
                f"{clock.floor:%Y-%m-%d %H:%M}. What is signed was checked, and nothing older is accepted; but that "
                "somebody withholds what is newer can't be noticed. Set the clock."
            )
        yield repository


def not_what_was_signed(path: str, signed: str, came: str) -> Untrusted:
    """The error for a file with other bytes than those that were signed: changed, or swapped for another."""
    return Untrusted(
        f"{path} is not the file that was signed",
        f"Its SHA-256 begins with {came[:12]}; signed is {signed[:12]}. It was changed, or is another file.",
        _ASK,
    )


def missing(url: str, refusal: Refused) -> ArtifactFailure:
    """The error for a file that metadata lists and the server does not have."""
    if refusal.status not in (404, 410):
        return refusal
    return Unreachable(
        "The repository is not complete",
        f"{url} is signed, and not there. Perhaps it is being copied at the moment.",
        "It is tried again at the next update. Upload targets/ before metadata/, and timestamp.json last.",
        {"status": refusal.status},
    )


def _tuf_missing(error: ImportError) -> PackageMissing:
    return PackageMissing(
        "Repositories can't be read",
        f"{error}.",
        "Use the program edgec-device, which brings all it needs; with edgec: pip install 'edgec[ship]'.",
    )


def _transfer(fetcher: Fetcher) -> Any:
    """`fetcher` as tuf.ngclient wants it; it remembers what it was asked for last."""
    try:
        from tuf.api.exceptions import DownloadError, DownloadHTTPError
        from tuf.ngclient import FetcherInterface
    except ImportError as error:
        raise _tuf_missing(error) from error

    class Transfer(FetcherInterface):
        url = ""
        data = b""

        def _fetch(self, url: str) -> Iterator[bytes]:
            yield self.download_bytes(url, LARGEST_DOCUMENT)

        def download_bytes(self, url: str, max_length: int) -> bytes:
            self.url, self.data = url, b""
            try:
                self.data = fetcher.read(url, max_length)
            except Refused as refusal:
                raise DownloadHTTPError(refusal.what, refusal.status) from refusal
            except ArtifactFailure as failure:
                raise DownloadError(failure.what) from failure
            return self.data

        def role(self) -> str:
            """Whose metadata was asked for last: "timestamp", or "7.snapshot" without the 7."""
            name = unquote(urlsplit(self.url).path.rpartition("/")[2])
            return re.sub(r"^[0-9]+\.|\.json$", "", name)

    return Transfer()


def _client(url: str, root: bytes, folder: Path, transfer: Any, clock: Clock) -> Any:
    """tuf.ngclient's Updater, with our time, and with files that a power cut can't tear."""
    try:
        from tuf.api.exceptions import RepositoryError
        from tuf.ngclient import Updater
    except ImportError as error:
        raise _tuf_missing(error) from error

    class Client(Updater):
        def _persist_file(self, filename: str, data: bytes) -> None:
            path = Path(filename)
            if not path.is_file() or path.read_bytes() != data:  # flash wears out by writing
                replace_file(path, data)

        def _update_root_symlink(self) -> None:
            """Nothing: it is there for clients that are started without a root of their own."""

        def judge_by(self, now: Any) -> None:
            self._trusted_set.reference_time = now

        def roles(self) -> list[str]:
            return [role for role in self._trusted_set._trusted_set if role not in ("root", "timestamp", "snapshot")]

        def seen(self, role: str) -> Any:
            """The metadata of a role that is trusted so far; None where there is none."""
            return self._trusted_set._trusted_set.get(role)

    try:
        updater = Client(str(folder), f"{url}/metadata/", fetcher=transfer, bootstrap=root)
    except RepositoryError as error:
        raise Untrusted(
            "The root that this device was set up with is not one",
            f"{error}.",
            "Set the device up again with the repository's root.json: edgec-device init --trust-root FILE --replace.",
        ) from error
    updater.judge_by(clock.now)
    return updater


@contextmanager
def _explained(session: _Session) -> Iterator[None]:
    """Turns what tuf.ngclient raises into errors for people."""
    from tuf.api.exceptions import DownloadError, RepositoryError

    try:
        yield
    except DownloadError as error:
        _explain_download(error, session.transfer)
    except RepositoryError as error:
        _explain_refusal(error, session)


def _explain_download(error: Exception, transfer: Any) -> NoReturn:
    from tuf.api.exceptions import DownloadLengthMismatchError

    cause = error.__cause__
    role = transfer.role()
    if isinstance(cause, Refused) and cause.status in (404, 410):
        if role == "timestamp":
            raise Unreachable(
                "There is no repository at this address",
                f"The server has no {transfer.url}.",
                "Check url in device.conf: it names the folder that holds metadata/ and targets/.",
                {"status": cause.status},
            ) from error
        raise missing(transfer.url, cause) from error
    if isinstance(cause, Untrusted) or isinstance(error, DownloadLengthMismatchError):
        raise Untrusted(
            f"The repository's {role}.json is larger than it may be",
            f"{cause.why if isinstance(cause, Untrusted) else error}",
            f"Nothing of it was kept. {_ASK}",
        ) from error
    if isinstance(cause, ArtifactFailure):
        raise cause from error
    raise Unreachable(f"{transfer.url} can't be fetched", f"{cause or error}.", "Try again later.") from error


def _explain_refusal(error: Exception, session: _Session) -> NoReturn:
    from tuf.api import exceptions
    from tuf.api.serialization import DeserializationError

    role, said = session.transfer.role(), f"{str(error).rstrip('.')}."
    if isinstance(error, exceptions.ExpiredMetadataError):
        raise _expired(said, session) from error
    if isinstance(error, exceptions.UnsignedMetadataError):
        if role == "root":
            what = "The repository changes its keys without enough signatures of those that this device trusts"
        elif role in ("timestamp", "snapshot", "targets"):
            what = f"The repository's {role}.json is not signed with the key that may sign it"
        else:
            what = f"What is said about {role} is not signed with a key that may speak for {role}"
        raise Untrusted(what, said, _ASK) from error
    if isinstance(error, exceptions.BadVersionNumberError):
        raise Untrusted(*_rolled_back(role, said), _ASK) from error
    if isinstance(error, exceptions.LengthOrHashMismatchError):
        raise Untrusted(
            f"The repository's {role}.json is not the file that was signed for",
            f"{said} At least one byte was changed, or another file is in its place.",
            _ASK,
        ) from error
    if isinstance(error, DeserializationError):
        raise Untrusted(
            f"The repository's {role}.json is not metadata",
            f"{said} It is damaged, or another page is served in its place.",
            "Look at the file on the server. A login page of a network (captive portal) looks like this too.",
        ) from error
    if "missing info for" in str(error):
        raise Untrusted(
            "The repository's snapshot leaves out what it listed before",
            f"{said} So that somebody's older state could be put in its place.",
            _ASK,
        ) from error
    raise Untrusted(f"The repository's {role}.json is not what belongs there", said, _ASK) from error


def _rolled_back(role: str, said: str) -> tuple[str, str]:
    """What and why, for metadata with another version than it must have."""
    older = "Old metadata is being served in the place of new."
    if role == "root":
        return "The repository's new root is not the next one", f"{said} An old root does not come back."
    if role == "timestamp" and "snapshot" in said:
        return "The repository's timestamp points back to an older snapshot", f"{said} {older}"
    if role == "timestamp":
        return "The repository is older than what this device has seen of it", f"{said} {older}"
    if role == "snapshot" and said.startswith("Expected snapshot"):
        return "The repository's snapshot is not the one that its timestamp names", said
    if role == "snapshot":
        return "The repository's snapshot takes a role back to older metadata", f"{said} {older}"
    return f"The repository's {role}.json is of another version than its snapshot lists", said


def _expired(said: str, session: _Session) -> Untrusted:
    """An error that leaves open what can't be known: whether what is new is withheld, or the clock is wrong."""
    named = re.search(r"(\S+?)(\.json)? is expired", said)
    role = named.group(1) if named else session.transfer.role()
    trusted = session.updater.seen(role)
    until = trusted.expires if trusted is not None else _expiry(session.transfer.data)
    clock, sentences = session.clock, [said]
    if until is not None:
        sentences = [f"It ended on {until:%Y-%m-%d %H:%M} UTC; this device's clock says {clock.shows:%Y-%m-%d %H:%M}."]
        if clock.behind:
            sentences.append(f"That is wrong, but it is later than {clock.floor:%Y-%m-%d %H:%M} for certain.")
        elif (clock.shows - until).total_seconds() > _FAR:
            sentences.append("That is so far apart that the clock may well be wrong.")
        hint = session.fetcher.server_time
        if hint is not None:
            sentences.append(f"The server, which may be lying, says {hint:%Y-%m-%d %H:%M}.")
    return Untrusted(
        f"The repository's {role}.json has expired",
        " ".join(sentences),
        "If the clock is wrong, set it. If it is right, the repository is not being refreshed, or somebody withholds "
        "what is new. The model that runs is not touched.",
    )


def _expiry(data: bytes) -> Any:
    from tuf.api.metadata import Metadata

    try:
        return Metadata.from_bytes(data).signed.expires
    except Exception:
        return None
