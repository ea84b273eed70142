"""A headless Chromium that is started once and looks at page after page, over the DevTools protocol.

The protocol's pipe is two file descriptors of the browser, 3 and 4, and messages of JSON that end with a zero byte; so
nothing but the browser is needed.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe"),
)
_PATIENCE = 60  # seconds

LOOK = """
(() => {
  const inside = (a, b) => a.left >= b.left - 3 && a.right <= b.right + 3;
  const cross = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  for (const item of document.querySelectorAll("details")) item.open = true;
  const figures = [...document.querySelectorAll("svg.figure")].map(figure => {
    const box = figure.getBoundingClientRect();
    const texts = [...figure.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    const drawn = figure.querySelectorAll("rect, circle, line, polyline");
    return {
      title: figure.querySelector("title").textContent, width: box.width, height: box.height, shapes: drawn.length,
      outside: texts.filter(([, place]) => !inside(place, box)).map(([text]) => text),
      overlapping: texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([, q]) => cross(p, q)).map(([b]) => [a, b])),
      uncoloured: [...figure.querySelectorAll("rect, circle")].filter(
        shape => getComputedStyle(shape).fill === "rgb(0, 0, 0)").length,
      split: getComputedStyle(figure.closest("figure, section") || figure).breakInside,
    };
  });
  return {
    figures, overflow: document.documentElement.scrollWidth - innerWidth,
    wide: [...document.querySelectorAll("main *")].filter(
      item => item.getBoundingClientRect().right > innerWidth + 1 && !item.closest(".scroll, svg, pre, thead")).map(
      item => item.outerHTML.slice(0, 80)),
    background: getComputedStyle(document.body).backgroundColor, text: document.body.innerText,
  };
})()
"""


@dataclass
class Browser:
    """One page of a running Chromium. complaints: all that the console said of the page that is open."""

    process: subprocess.Popen[bytes]
    send: int
    receive: int
    complaints: list[str] = field(default_factory=list)
    _next: int = 0
    _buffer: bytes = b""
    _session: str = ""
    _loaded: bool = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; what happens meanwhile is noted."""
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self.send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._next:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def show(self, page: Path, width: int = 1000, dark: bool = False, media: str = "") -> dict[str, Any]:
        """Open a page in a window of that width and tell what LOOK finds."""
        self.complaints.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._loaded = False
        self.call("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._read()
        result = self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]
        return dict(result["value"])

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self.receive], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            self._buffer += os.read(self.receive, 1 << 20)
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(parameters))
        return message


@cache
def browser() -> Browser:
    """The browser of this process, started when it is first asked for."""
    folder = tempfile.mkdtemp(prefix="chromium-")
    commands, send = os.pipe()
    receive, answers = os.pipe()

    def as_three_and_four() -> None:
        spare = [os.dup(commands), os.dup(answers)]  # either may be 3 or 4 already
        for number, place in zip(spare, (3, 4), strict=True):
            os.dup2(number, place)

    process = subprocess.Popen(
        [str(CHROMIUM), *_FLAGS, f"--user-data-dir={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": folder},
        close_fds=False,
        preexec_fn=as_three_and_four,
    )
    os.close(commands)
    os.close(answers)
    atexit.register(process.kill)
    found = Browser(process, send, receive)
    target = found.call("Target.createTarget", url="about:blank")["targetId"]
    found._session = found.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Log", "Runtime"):
        found.call(f"{domain}.enable")
    return found
