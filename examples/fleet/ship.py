"""Ship an artifact to a device, and take a bad one back: the whole way, on this machine and its loopback interface.

    python examples/fleet/ship.py FIRST.edgec SECOND.edgec

Both are builds of one model for this machine. Signs and publishes the first to a repository of static files, serves
that, lets a device fetch, verify, test and switch to it, runs the model from the device's slot; then publishes the
second, which the device's own health check refuses: the first one runs again. All of it is in one temporary folder,
which is removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edgec.runtime.bundle import Bundle

ROLLED_BACK = 6
BAD_VERSION = "2"


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    manifests = [Bundle.open(Path(path)).manifest for path in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="edgec-fleet-") as folder:
        for name, path in zip(("first.edgec", "second.edgec"), sys.argv[1:], strict=True):
            shutil.copy(path, Path(folder, name))
        os.chdir(folder)
        ship(manifests[0]["name"], manifests[0]["target"])
        os.chdir("/")


def ship(model: str, target: str) -> None:
    """The story, in the folder that holds both artifacts."""

    title("In the workshop: a key, a signature, a repository")
    run("edgec keygen release.key")
    run("edgec sign first.edgec second.edgec --key release.key")
    run("edgec publish init --repo fleet --keys keys")
    run("edgec publish first.edgec --repo fleet --keys keys")

    with served(Path("fleet")) as url:
        title("On the device: one file, and what it trusts")
        run("edgec device-agent -o edgec-device")
        run(
            f"./edgec-device init --root device --url {url} --target {target} --trust-root fleet/metadata/1.root.json "
            f"--health-command ./healthy --python {shlex.quote(sys.executable)}"
        )
        Path("healthy").write_text(f'#!/bin/sh\n[ "$EDGEC_VERSION" != {BAD_VERSION} ]\n', encoding="utf-8")
        Path("healthy").chmod(0o755)
        run("./edgec-device update --root device")
        load = f"import edgec.runtime; print(edgec.runtime.load('device/models/{model}'))"
        run(f'python -c "{load}"')

        title("A second version, which the device's own health check refuses")
        run("edgec publish second.edgec --repo fleet --keys keys")
        run("./edgec-device update --root device", expected=ROLLED_BACK)
        run("./edgec-device status --root device")
        run(f'python -c "{load}"')


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def run(command: str, expected: int = 0) -> None:
    """Show a command and run it with the edgec and the Python of this very environment."""
    print(f"$ {command}", flush=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(command, shell=True, env={**os.environ, "PATH": path})
    if done.returncode != expected:
        sys.exit(f"{command} ended with {done.returncode}, not {expected}")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A static web server on the loopback interface; its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


if __name__ == "__main__":
    main()
