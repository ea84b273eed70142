"""A web server on loopback that serves a folder, and can be as bad as a test needs it to be."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from edgec.runtime.agent.fetcher import Limits

ENDLESS = 64 << 20
"""Bytes after which even an endless body ends: a client that takes them all fails its test and not the machine."""

QUICK = Limits(connect=5, silence=0.2, least_rate=50_000, window=0.1, deadline=20, attempts=3, backoff=0.001)
"""Limits for a client that shall not wait for long."""

Fault = Callable[["Handler", bytes], None]
"""Answers one request for a file with these bytes, in its own way."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        self.server.asked.append((path, self.headers.get("Range")))
        file = self.server.folder / path
        fault = self.server.fault(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if fault is None and not file.is_file():
                self.reply(404, b"not here")
            else:
                (fault or Handler.whole_or_range)(self, file.read_bytes() if file.is_file() else b"")

    def whole_or_range(self, data: bytes) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if span is None or not self.server.ranges or self.headers.get("If-Range", tag) != tag:
            self.reply(200, data, ETag=tag)
            return
        first, last = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
        if first >= len(data):
            self.reply(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            return
        self.reply(206, data[first : last + 1], ETag=tag, **{"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def reply(self, status: int, data: bytes, **headers: str) -> None:
        self.head(status, **{"Content-Length": str(len(data)), **headers})
        self.wfile.write(data)
        self.server.sent += len(data)

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """asked: path and Range of each request. sent: bytes of bodies. ranges: whether it knows them."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        self.faults: list[tuple[str, Fault]] = []
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that goes away in the middle is what is tested here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, path: str) -> Fault | None:
        return next((fault for pattern, fault in self.faults if re.search(pattern, path)), None)

    def break_off(self, pattern: str, fault: Fault) -> None:
        """Answer requests for paths that match `pattern` with `fault` from now on."""
        self.faults.insert(0, (pattern, fault))


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def endless(handler: Handler, data: bytes) -> None:
    """A body without an announced end, which goes on behind the file's."""
    handler.close_connection = True
    handler.head(200, Connection="close")
    handler.wfile.write(data)
    for _ in range(ENDLESS >> 16):
        handler.wfile.write(bytes(1 << 16))
        handler.server.sent += 1 << 16


def announced_too_long(handler: Handler, data: bytes) -> None:
    handler.reply(200, data + bytes(1000))


def shortened(handler: Handler, data: bytes) -> None:
    """A file that ends early, and says so."""
    handler.whole_or_range(data[: len(data) // 2])


def cut_off(after: int) -> Fault:
    """The connection breaks off after so many bytes of each reply."""

    def fault(handler: Handler, data: bytes) -> None:
        sent = 0

        class Line:
            def write(self, block: bytes) -> None:
                nonlocal sent
                left = max(after - sent, 0)
                sent += len(block)
                line.write(block[:left])
                if len(block) > left:
                    raise BrokenPipeError

        handler.close_connection = True
        line, reply = handler.wfile, handler.reply

        def cut_reply(status: int, content: bytes, **headers: str) -> None:
            handler.head(status, **{"Content-Length": str(len(content)), **headers})
            handler.wfile = Line()  # type: ignore[assignment]
            try:
                handler.wfile.write(content)
            finally:
                handler.wfile = line

        handler.reply = cut_reply  # type: ignore[method-assign]
        try:
            handler.whole_or_range(data)
        finally:
            handler.reply = reply  # type: ignore[method-assign]

    return fault


def slow(handler: Handler, data: bytes) -> None:
    """A byte now and then: never silent for long, and never done."""
    handler.head(200, **{"Content-Length": str(len(data))})
    for position in range(len(data)):
        if handler.server.over.wait(0.01):
            return
        handler.wfile.write(data[position : position + 1])
        handler.wfile.flush()


def slow_head(handler: Handler, data: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not handler.server.over.wait(0.01):
        handler.wfile.write(b"a")
        handler.wfile.flush()


def silent(handler: Handler, data: bytes) -> None:
    """Half of the body, and then nothing, on an open line."""
    handler.head(200, **{"Content-Length": str(len(data))})
    handler.wfile.write(data[: len(data) // 2])
    handler.wfile.flush()
    handler.server.over.wait()


def compressed(handler: Handler, data: bytes) -> None:
    handler.reply(200, data, **{"Content-Encoding": "gzip"})


def wrong_range(handler: Handler, data: bytes) -> None:
    """Another part than the one that was asked for."""
    if handler.headers.get("Range"):
        handler.reply(206, data[:10], **{"Content-Range": f"bytes 0-9/{len(data)}"})
    else:
        handler.whole_or_range(data)


def status(code: int, **headers: str) -> Fault:
    return lambda handler, data: handler.reply(code, b"", **headers)


def redirect(place: Callable[[str], str]) -> Fault:
    """To what `place` makes of the path."""
    return lambda handler, data: handler.reply(302, b"", Location=place(handler.path))


def instead(content: bytes) -> Fault:
    """Other bytes in the place of the file."""
    return lambda handler, data: handler.whole_or_range(content)


def changed(handler: Handler, data: bytes) -> None:
    """One byte in the middle is another."""
    middle = len(data) // 2
    handler.whole_or_range(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def first_then(first: Fault, then: Fault) -> Fault:
    faults = iter([first])
    return lambda handler, data: next(faults, then)(handler, data)


def once(fault: Fault, count: int = 1) -> Fault:
    """`fault` for the first `count` requests, then as it should be."""
    left = [count]

    def sometimes(handler: Handler, data: bytes) -> None:
        left[0] -= 1
        (fault if left[0] >= 0 else Handler.whole_or_range)(handler, data)

    return sometimes
