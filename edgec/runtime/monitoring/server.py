"""A web server for what a monitor knows: for a collector on the same device, unless another address is asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..errors import InputError
from .exposition import CONTENT_TYPE

PATIENCE = 5.0
"""Seconds that a client may take to ask."""


class Server:
    """Answers GET /metrics and GET /metrics.json, in a thread of its own, until `close`."""

    def __init__(self, host: str, port: int, text: Callable[[], str], document: Callable[[], Any]) -> None:
        answers: dict[str, Callable[[], tuple[str, str]]] = {
            "/metrics": lambda: (CONTENT_TYPE, text()),
            "/metrics.json": lambda: ("application/json", json.dumps(document(), allow_nan=False) + "\n"),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE

            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                kind, body = ("text/plain", "There is /metrics and /metrics.json.\n") if answer is None else answer()
                content = body.encode("utf-8", "backslashreplace")
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """A library prints nothing."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"Metrics can't be served at {host}:{port}",
                f"The system says: {getattr(error, 'strerror', None) or error}.",
                "Choose another port; 0 takes any that is free.",
            ) from error
        self._server.daemon_threads = True
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="edgec metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering, and let go of the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
