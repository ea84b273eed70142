"""Bytes from a server that may be slow, broken or hostile: every wait, every length and every redirect has a limit.

What is fetched is not trusted here: that is a matter of signatures and digests (`repository`, `download`). Here is seen
to it that asking can neither hang nor fill memory, and that each way to fail says which one it was.

`https:`, `http:` and `file:` (a stick, a mounted share). TLS checks the certificate and the host's name against the
system's authorities. Proxies come from the environment (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`).
"""

from __future__ import annotations

import contextlib
import email.utils
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass, url2pathname

from ..errors import ArtifactFailure, PackageMissing, Unreachable, Untrusted

_Result = TypeVar("_Result")
_BLOCK = 1 << 16  # bytes handed on at a time
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the module `ssl` has no name for
_PASSING = (408, 425, 429)  # statuses below 500 that mean "not now"
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Limits:
    """What a server may cost. Times in seconds, rates in bytes a second."""

    connect: float = 15.0
    silence: float = 30.0
    """The longest time without a byte, and for the whole head of a reply."""
    least_rate: float = 512.0
    window: float = 60.0
    """A server that sends less than `least_rate` on average over such a time is given up."""
    deadline: float = 4 * 3600.0
    """For everything that one Fetcher does."""
    redirects: int = 5
    attempts: int = 4
    """In a row, without a byte more between them."""
    backoff: float = 1.0
    """The pause before the second attempt is half to all of it; each further one is twice as long."""
    longest_pause: float = 60.0


class TryAgain(Unreachable):
    """A failure that may pass within seconds. `after`: what the server asks to wait, seconds; None if it does not."""

    after: float | None = None


class Refused(Unreachable):
    """The server answered with an error. `status`: that of HTTP; 404 for a file that is not there."""

    def __init__(self, what: str, why: str, fix: str, status: int) -> None:
        super().__init__(what, why, fix, {"status": status})
        self.status = status


@dataclass
class Reply:
    """A server's answer, its body not read yet. Iterating yields the body's bytes; a body can be read once."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: Iterator[bytes]
    close: Callable[[], None]

    @property
    def length(self) -> int | None:
        """Bytes that the server announces; None where it does not."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Fetcher:
    """Asks servers within limits. `requests` and `received` (bytes of bodies) count what it cost.

    check_times: False leaves the dates of certificates unchecked: for a device that knows that its clock is wrong.
    """

    def __init__(
        self, limits: Limits | None = None, *, check_times: bool = True, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.limits = limits or Limits()
        self.requests = 0
        self.received = 0
        self.server_time: datetime | None = None
        """What the last server said that it is. Nobody signed it: good for a hint, never for a decision."""
        self._check_times = check_times
        self._sleep = pause
        self._until = time.monotonic() + self.limits.deadline
        self._pools: dict[tuple[bool, str | None], Any] = {}

    def read(self, url: str, most: int, headers: Mapping[str, str] | None = None) -> bytes:
        """The whole body, of at most `most` bytes, after several attempts where that may help.

        Raises Untrusted when there is more, Unreachable when there is no answer, Refused when it is an error.
        """

        def attempt() -> bytes:
            with self.get(url, headers) as reply:
                check_length(reply, most)
                data = bytearray()
                for block in reply.body:
                    data += block
                    if len(data) > most:
                        raise too_long(url, most)
                return bytes(data)

        return self.persist(attempt)

    def persist(self, attempt: Callable[[], _Result]) -> _Result:
        """What `attempt` returns; it is called again after failures that may pass."""
        for number in range(1, self.limits.attempts + 1):
            try:
                return attempt()
            except TryAgain as failure:
                if number == self.limits.attempts:
                    raise
                self.wait(number, failure)
        raise AssertionError("an attempt returns or raises")

    def wait(self, failures: int, failure: TryAgain) -> None:
        """Pause after so many failures in a row: longer each time, and random, so that no fleet comes at once.

        Raises `failure` when the pause would outlast the deadline.
        """
        pause = self.limits.backoff * 2 ** (failures - 1) * random.uniform(0.5, 1)
        pause = min(max(pause, failure.after or 0), self.limits.longest_pause)
        if time.monotonic() + pause > self._until:
            raise failure
        self._sleep(pause)

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        span: tuple[int, int | None] | None = None,
        etag: str | None = None,
    ) -> Reply:
        """Ask once, and follow redirects.

        span: ask for the bytes from the first to before the second alone; a server may send all of them nevertheless
        (status 200 instead of 206). etag: only if the file still is the one with this tag, else all of it.
        """
        asked = {str(key): str(value) for key, value in (headers or {}).items()}
        if span is not None:
            asked["Range"] = f"bytes={span[0]}-{'' if span[1] is None else span[1] - 1}"
            if etag is not None:
                asked["If-Range"] = etag
        place = url
        for _ in range(self.limits.redirects + 1):
            scheme = _scheme(place)
            if scheme == "file":
                return self._open(place, span)
            if scheme not in ("http", "https"):
                raise Unreachable(
                    f"{place} can't be fetched", f"{scheme!r} is not spoken here.", "Use https:, http: or file:."
                )
            reply = self.ask(place, asked)
            if reply.status not in _REDIRECTS:
                return self._checked(reply)
            reply.close()
            place = followed(place, reply)
        raise Unreachable(
            f"{url} leads from one address to the next",
            f"{self.limits.redirects} redirects were followed, and there is one more: {place}.",
            "Give the address where the repository really is.",
        )

    def _open(self, url: str, span: tuple[int, int | None] | None) -> Reply:
        path = Path(url2pathname(urlsplit(url).path))
        self.requests += 1
        try:
            stream = path.open("rb")
            size = path.stat().st_size
        except OSError as error:
            raise Refused(
                f"{url} can't be read",
                f"The system says: {error.strerror}.",
                "Check that the medium is there.",
                404 if isinstance(error, FileNotFoundError) else 500,
            ) from error
        first, end = (0, size) if span is None else (span[0], size if span[1] is None else min(span[1], size))
        stream.seek(first)
        headers = {"content-length": str(max(end - first, 0))}
        if span is not None:
            headers["content-range"] = f"bytes {first}-{end - 1}/{size}"
        body = self._counted(_blocks(stream, end - first))
        return Reply(url, 200 if span is None else 206, headers, body, stream.close)

    def ask(self, url: str, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None) -> Reply:
        """One request over the network; the status is not looked at, and no redirect is followed."""
        urllib3 = _urllib3()
        left = self._left(url)
        limits = self.limits
        self.requests += 1
        try:
            response = self._pool(url).request(
                method,
                url,
                body=body,
                headers={"User-Agent": "edgec-device", "Accept-Encoding": "identity", **headers},
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=min(limits.connect, left), read=min(limits.silence, left)),
            )
        except urllib3.exceptions.HTTPError as error:
            raise _network_failure(url, error, self._check_times) from error
        self._note_time(response.headers.get("date"))

        def close() -> None:
            if response.length_remaining == 0:
                response.drain_conn()  # all has come, and the connection can be used again
            response.close()  # what is left of a body is not worth waiting for
            response.release_conn()

        received = {key.lower(): value for key, value in response.headers.items()}
        return Reply(url, response.status, received, self._counted(self._received(url, response)), close)

    def _received(self, url: str, response: Any) -> Iterator[bytes]:
        """The body as it comes, by pieces that arrived: waiting for a full block would hide how slow a server is."""
        urllib3 = _urllib3()
        since, amount = time.monotonic(), 0
        while True:
            try:
                block = response.read1(_BLOCK)
            except urllib3.exceptions.HTTPError as error:
                raise _network_failure(url, error, self._check_times) from error
            if not block:
                return
            yield block
            amount += len(block)
            self._left(url)
            if (elapsed := time.monotonic() - since) >= self.limits.window:
                if amount < self.limits.least_rate * elapsed:
                    raise _too_slow(url, f"{amount} bytes came in {elapsed:.0f} s.", self.limits)
                since, amount = time.monotonic(), 0

    def _counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.received += len(block)
            yield block

    def _checked(self, reply: Reply) -> Reply:
        """The reply, when it is a success and plain bytes."""
        status, url = reply.status, reply.url
        encoding = reply.headers.get("content-encoding", "identity").strip().lower()
        if status in (200, 206) and encoding in ("", "identity"):
            return reply
        if reply.length is not None and reply.length <= _BLOCK:  # read what it says, and the connection can be kept
            with contextlib.suppress(Unreachable):
                sum(map(len, reply.body))
        reply.close()
        if status in (200, 206):
            raise Unreachable(
                f"{url} comes compressed, though plain bytes were asked for",
                f"The server says Content-Encoding: {encoding}.",
                "Switch compression off for the repository's files on the server.",
            )
        if status >= 500 or status in _PASSING:
            failure = TryAgain(
                f"The server can't answer for {url} at the moment",
                f"It says: HTTP status {status}.",
                "It is asked again at the next update. Look at the server if that lasts.",
                {"status": status},
            )
            failure.after = _seconds(reply.headers.get("retry-after"))
            raise failure
        if status in (404, 410):
            why, fix = (
                f"It says: HTTP status {status}.",
                "Check the repository's address, and that all of it was copied.",
            )
        else:
            why, fix = f"It says: HTTP status {status}.", "Check the address and what the server allows this device."
        raise Refused(
            f"The server has no {url}" if status in (404, 410) else f"The server refuses {url}", why, fix, status
        )

    def _left(self, url: str) -> float:
        """Seconds until the deadline. Raises Unreachable when it has passed."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise Unreachable(
                f"{url} was not complete in time",
                f"All requests together may take {self.limits.deadline:g} s.",
                "What came is kept; the next update goes on from there. Allow more time in [limits].",
            )
        return left

    def _pool(self, url: str) -> Any:
        """The connections to use for this address: directly, or through the environment's proxy."""
        parts = urlsplit(url)
        proxies = getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy and parts.hostname and proxy_bypass(parts.hostname):
            proxy = None
        secure = parts.scheme == "https" or (proxy or "").startswith("https")
        if (secure, proxy) not in self._pools:
            self._pools[secure, proxy] = self._new_pools(secure, proxy)
        return self._pools[secure, proxy]

    def _new_pools(self, secure: bool, proxy: str | None) -> Any:
        urllib3 = _urllib3()
        options: dict[str, Any] = {"maxsize": 1}
        if secure:  # reading all authorities takes a while
            options["ssl_context"] = ssl.create_default_context()
            if not self._check_times:
                options["ssl_context"].verify_flags |= _NO_CHECK_TIME
        pools = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        pools.pool_classes_by_scheme = _watched_pools(self.limits)
        return pools

    def _note_time(self, date: str | None) -> None:
        with contextlib.suppress(TypeError, ValueError, IndexError):
            said = email.utils.parsedate_to_datetime(date or "")
            self.server_time = said if said.tzinfo else said.replace(tzinfo=timezone.utc)


def check_length(reply: Reply, most: int) -> None:
    """Raises Untrusted when the server announces more than `most` bytes."""
    if reply.length is not None and reply.length > most:
        raise too_long(reply.url, most)


def too_long(url: str, most: int) -> Untrusted:
    """The error for a body that does not end where it has to."""
    return Untrusted(
        f"{url} is longer than it may be",
        f"The server sends more than {most} bytes, and nothing that is signed is that long.",
        "Nothing of it was kept. Look at the server, and at who may write there.",
    )


def _urllib3() -> Any:
    try:
        import urllib3
    except ImportError as error:
        raise PackageMissing(
            "The network can't be used", f"{error}.", "Use the program edgec-device, which brings all it needs."
        ) from error
    return urllib3


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (block := stream.read(min(_BLOCK, size))):
        size -= len(block)
        yield block


def _scheme(url: str) -> str:
    """Raises Unreachable for what is not an address."""
    try:
        parts = urlsplit(url)
        return parts.scheme if parts.hostname or parts.scheme == "file" else ""
    except ValueError as error:
        raise _no_address(url, error) from error


def _no_address(url: str, error: Exception) -> Unreachable:
    return Unreachable(f"{url} is not an address", f"{error}.", "Correct the address.")


def followed(url: str, reply: Reply) -> str:
    """Where a redirect leads. Raises Unreachable when it leads to where nobody should be led."""
    try:
        place = urljoin(url, reply.headers.get("location", ""))
    except ValueError as error:
        raise _no_address(reply.headers["location"], error) from error
    was, becomes = _scheme(url), _scheme(place)
    if becomes not in ("http", "https") or (was == "https" and becomes == "http"):
        raise Unreachable(
            f"{url} leads to where this device does not follow",
            f"The server redirects to {place}, from {was}: to {becomes}:.",
            "Correct the redirect on the server, or give the right address.",
        )
    return place


def _seconds(text: str | None) -> float | None:
    """Retry-After as seconds; the form with a date is not worth reading with a clock that may be wrong."""
    return float(text) if text and text.isascii() and text.isdigit() else None


def _too_slow(url: str, seen: str, limits: Limits) -> Unreachable:
    return Unreachable(
        f"The server is too slow with {url}",
        f"{seen} It has to send {limits.least_rate:g} bytes a second at least.",
        "What came is kept; the next update goes on from there. For so slow a line, lower least_rate in [limits].",
    )


def _network_failure(url: str, error: Exception, check_times: bool) -> ArtifactFailure:
    """What went wrong below HTTP, told apart."""
    problems = _urllib3().exceptions
    again = "It is tried again at the next update. Check the network if that lasts."
    if isinstance(error, problems.ProxyError):
        return TryAgain(f"The proxy on the way to {url} does not answer", f"{_root_cause(error)}.", again)
    if isinstance(error, problems.SSLError):
        return _tls_failure(url, _root_cause(error), check_times)
    if isinstance(error, problems.NameResolutionError):
        return TryAgain(f"The name of {url} is not known", f"{_root_cause(error)}.", again)
    if isinstance(error, problems.NewConnectionError):  # a kind of the next, to urllib3
        return TryAgain(f"There is no connection to {url}", f"{_root_cause(error)}.", again)
    if isinstance(error, problems.NewConnectionError):  # a kind of the next, to urllib3
        return TryAgain(f"There is no connection to {url}", f"{_root_cause(error)}.", again)
    if isinstance(error, problems.ConnectTimeoutError):
        return TryAgain(f"There is no way to {url}", "The server did not answer the connection in time.", again)
    if isinstance(error, problems.ReadTimeoutError):
        return TryAgain(f"The server fell silent over {url}", "No byte came for too long.", again)
    if isinstance(error, problems.LocationParseError):
        return _no_address(url, error)
    return TryAgain(f"The connection broke off over {url}", f"{_root_cause(error)}.", f"What came is kept. {again}")


def _tls_failure(url: str, cause: BaseException, check_times: bool) -> Unreachable:
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            f"There is no safe connection to {url}",
            f"{cause}.",
            "Check the address, and that the server speaks TLS 1.2 or later.",
        )
    why = f"{cause.verify_message}."
    if check_times and ("expired" in why or "not yet valid" in why):
        why += f" This device's clock says {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC."
    return Unreachable(
        f"{url} has a certificate that is not valid here",
        why,
        "Check the address, the clock, and the authorities that this system knows (SSL_CERT_FILE names others).",
    )


def _root_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _watched_pools(limits: Limits) -> dict[str, Any]:
    """Classes of connections that end when the head of a reply takes too long: http.client waits for each byte anew."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    def watched(base: Any) -> Any:
        def getresponse(self: Any) -> Any:
            line = self.sock
            late = threading.Event()

            def end() -> None:
                late.set()
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(line, socket.SHUT_RDWR)

            timer = threading.Timer(limits.silence, end)
            timer.daemon = True
            timer.start()
            failure: Exception | None = None
            try:
                response = base.getresponse(self)
            except Exception as error:
                failure = error
            finally:
                timer.cancel()
            if late.is_set():  # a head that ends in the middle may look like a whole one
                seen = f"The head of its reply took {limits.silence:g} s."
                raise _too_slow(f"{self.host}:{self.port}", seen, limits) from failure
            if failure is not None:
                raise failure
            return response

        return type(f"Watched{base.__name__}", (base,), {"getresponse": getresponse})

    return {
        "http": type("WatchedPool", (HTTPConnectionPool,), {"ConnectionCls": watched(HTTPConnection)}),
        "https": type("WatchedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": watched(HTTPSConnection)}),
    }
