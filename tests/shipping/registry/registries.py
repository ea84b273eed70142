"""Registries on loopback: Debian's docker-registry as it is, and one that does what a test wants."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgec.runtime.agent.fetcher import Fetcher, Limits
from edgec.runtime.agent.oci import documents
from edgec.runtime.agent.oci.reference import parse_reference
from edgec.runtime.agent.oci.registry import Registry

USER, PASSWORD = "fleet", "pass word:1"
_HASHED = "$2y$04$vjHdEgu6hcJgegjjCU30ueFTHUyLEBqRaAzzUK6K6jLZiVYaYhQtC"  # bcrypt, of the least cost, of PASSWORD
_CONFIGURATION = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage: {{filesystem: {{rootdirectory: {store}}}}}
http: {{addr: {address}}}
"""
_BASIC = "auth: {{htpasswd: {{realm: test, path: {file}}}}}\n"
_PATIENCE = 30.0


@dataclass(frozen=True)
class RealRegistry:
    """address: HOST:PORT. store: the folder of its files."""

    address: str
    store: Path

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob or a manifest."""
        algorithm, _, name = digest.partition(":")
        return self.store / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"


@contextmanager
def real_registry(folder: Path, authenticated: bool = False) -> Iterator[RealRegistry]:
    """Debian's docker-registry (CNCF distribution) on a free port of loopback. Skipped where it is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        without = "docker-registry is not installed (apt-get install docker-registry)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(without)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    store = folder / "store"
    text = _CONFIGURATION.format(store=store, address=address)
    if authenticated:
        (folder / "htpasswd").write_text(f"{USER}:{_HASHED}\n")
        text += _BASIC.format(file=folder / "htpasswd")
    (folder / "config.yml").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        _wait_for(address, process, folder / "log")
        yield RealRegistry(address, store)
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{address}/", timeout=5).close()
            return
        time.sleep(0.05)
    pytest.fail(f"docker-registry does not answer:\n{log.read_text()[-2000:]}")


# A registry that can be as bad as a test needs it to be

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MadeUpRegistry

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            answer = self.server.answers.get(path)
            if answer is not None:
                answer(self)
            elif path in self.server.content:
                media_type, data = self.server.content[path]
                self.reply(200, data, {"Content-Type": media_type})
            else:
                self.reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "not \\u001b[31mhere"}]}')

    do_POST = do_HEAD = do_PUT = do_PATCH = do_GET  # noqa: N815 (http.server's names)

    def reply(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class MadeUpRegistry:
    """content: media type and bytes by path. answers: what answers instead. asked: what came."""

    address: str = ""
    content: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def registry(self, name: str = "models/net:stable", **how: Any) -> Registry:
        """This registry to a client that is quick to give up."""
        fetcher = Fetcher(Limits(attempts=3, backoff=0.001, silence=10, deadline=60))
        return Registry(parse_reference(f"{self.address}/{name}"), fetcher, **{"credentials": lambda host: None, **how})

    def blob(self, data: bytes) -> str:
        """Have a blob; returns its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.content[self.path(f"blobs/{digest}")] = ("application/octet-stream", data)
        return digest

    def manifest(self, document: Any, *names: str, media_type: str = documents.MANIFEST) -> dict[str, Any]:
        """Have a manifest under its digest and these tags; returns its descriptor."""
        data = json.dumps(document).encode() if not isinstance(document, bytes) else document
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        for name in (digest, *names):
            self.content[self.path(f"manifests/{name}")] = (media_type, data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    @staticmethod
    def path(rest: str) -> str:
        return f"/v2/models/net/{rest}"


@contextmanager
def made_up_registry() -> Iterator[MadeUpRegistry]:
    made_up = MadeUpRegistry()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        content, answers, asked = made_up.content, made_up.answers, made_up.asked

        def handle_error(self, request: object, client_address: object) -> None:
            """Nothing: a client that goes away in the middle is what is tested here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        made_up.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made_up
        finally:
            server.shutdown()
            thread.join()
