"""A fleet of devices that follow one repository on one static web server: is anything lost, and what does it cost?

    python benchmarks/fleet.py [--devices 1000] [--processes 8] [--bytes 2000000] [--server nginx|python] [--checks]

Each device has an id, a folder and a memory of its own, and does what its timer would do: `edgec-device update`, from
TUF's signatures over the download to the slot that applications load. They run in a few processes, one device after
the other in each, against a server on this machine. Five runs of the whole fleet:

    first release    the whole artifact
    nothing new      the same again
    1 % changed      a new release with other weights in one place
    10 % rollout     another new release, for a tenth of the devices
    100 % rollout    the same release, for all

After each, every device's artifact is hashed and compared with what was published for it. The artifact is made of
random bytes, which no compression helps. The artifact's own checks, which are processes of its own, are left out, since
they cost a server nothing; --checks has them run.

Last: what checking one ed25519 signature costs with `cryptography`, and in Python alone, as on a device without it.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import json
import logging
import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from edgec.bundle.write import write_bundle
from edgec.runtime.agent import compatibility, update
from edgec.runtime.agent.install import install
from edgec.runtime.agent.settings import Settings
from edgec.runtime.agent.slots import Slots
from edgec.runtime.device import architecture
from edgec.runtime.errors import ArtifactFailure
from edgec.shipping.repository import releases
from edgec.shipping.repository.creation import create
from edgec.shipping.repository.keyring import Keyring
from edgec.shipping.repository.publishing import change, publish

MODEL, TARGET = "net", "host"


@dataclass(frozen=True)
class Visit:
    """One device's update. received: bytes; seconds: of wall and of CPU; sha256: of what it runs then."""

    status: str
    received: int
    requests: int
    seconds: float
    cpu_seconds: float
    sha256: str
    version: int | None


@dataclass(frozen=True)
class Run:
    """One run of the fleet."""

    name: str
    visits: Sequence[Visit]
    seconds: float
    served: int
    expected: dict[int, str]

    def facts(self) -> dict[str, Any]:
        received = [visit.received for visit in self.visits]
        seconds = sorted(visit.seconds for visit in self.visits)
        return {
            "run": self.name,
            "devices": len(self.visits),
            "failed": sum(visit.status == "failed" for visit in self.visits),
            "wrong bytes": sum(self.expected.get(visit.version or 0) != visit.sha256 for visit in self.visits),
            "on the newest version": sum(visit.version == max(self.expected) for visit in self.visits),
            "bytes a device": round(statistics.median(received)),
            "bytes in all": sum(received),
            "requests in all": self.served,
            "median CPU s": round(statistics.median(visit.cpu_seconds for visit in self.visits), 3),
            "median s": round(statistics.median(seconds), 3),
            "p99 s": round(seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))], 3),
            "whole run s": round(self.seconds, 1),
        }


def visit(root: Path, url: str, device: str, checks: bool) -> Visit:
    """What the timer of one device does."""
    logging.getLogger("edgec").setLevel(logging.CRITICAL)
    if not checks:
        update.install = partial(install, check_artifact=lambda artifact, settings: None)  # type: ignore[attr-defined]
        compatibility._installed = lambda python, names: compatibility._Installed(sys.version_info[:3], {"numpy": "2"})
    settings = Settings(root, target=TARGET, id=device, repository=url)
    begin, cpu = time.perf_counter(), time.process_time()
    try:
        document: dict[str, Any] = update.update(settings)
    except ArtifactFailure as failure:
        print(f"{device}: {failure}", file=sys.stderr)
        document = {"models": [{"status": "failed"}], "received_bytes": 0, "requests": 0}
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    slot = Slots(root, MODEL).current()
    sha256 = hashlib.sha256(slot.artifact.read_bytes()).hexdigest() if slot else ""
    (model,) = document["models"]
    version = slot.release.version if slot else None
    return Visit(model["status"], document["received_bytes"], document["requests"], seconds, cpu, sha256, version)


class Fleet:
    """The devices' folders, and the processes that they run in."""

    def __init__(self, folder: Path, count: int, root: bytes, pool: ProcessPoolExecutor, checks: bool) -> None:
        self._pool, self._checks = pool, checks
        self._roots = [folder / f"device-{number:05}" for number in range(count)]
        for each in self._roots:
            (each / "trust").mkdir(parents=True)
            (each / "trust" / "root.json").write_bytes(root)

    def run(self, name: str, server: Server, expected: dict[int, str]) -> Run:
        before, begin = server.requests(), time.perf_counter()
        futures = [self._pool.submit(visit, each, server.url, each.name, self._checks) for each in self._roots]
        visits = [future.result() for future in futures]
        return Run(name, visits, time.perf_counter() - begin, server.requests() - before, dict(expected))


@dataclass(frozen=True)
class Server:
    """A running web server. requests: how many it has answered so far."""

    name: str
    url: str
    requests: Any


@contextmanager
def serving(folder: Path, work: Path, name: str) -> Iterator[Server]:
    """`folder` on loopback, by nginx or by a server in Python."""
    with _nginx(folder, work) if name == "nginx" else _python(folder) as server:
        yield server


@contextmanager
def _nginx(folder: Path, work: Path) -> Iterator[Server]:
    log = work / "access.log"
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
        port = probe.server_port
    (work / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;\n"
        f"user {getpass.getuser()};\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log {log}; client_body_temp_path {work}/t1; proxy_temp_path {work}/t2;\n"
        f"fastcgi_temp_path {work}/t3; uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(work / "nginx.conf"), "-e", str(work / "error.log")])
    try:
        _wait_for(work / "nginx.pid", process)
        yield Server("nginx", f"http://127.0.0.1:{port}", lambda: log.read_bytes().count(b"\n"))
    finally:
        process.terminate()
        process.wait()


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if path.exists() and path.read_text().strip():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"nginx did not start (exit {process.poll()})")


@contextmanager
def _python(folder: Path) -> Iterator[Server]:
    answered = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answered[0] += 1
            file = folder / self.path.lstrip("/")
            data = file.read_bytes() if file.is_file() else b""
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            self.send_response((206 if span else 200) if file.is_file() else 404)
            if span:
                first, last = map(int, span.groups())
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                data = data[first : last + 1]
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Server("Python's http.server", f"http://127.0.0.1:{server.server_port}", lambda: answered[0])
        server.shutdown()


def artifact(folder: Path, weights: bytes) -> Path:
    """An artifact with these weights, which no engine runs, with the runtime that every artifact has."""
    tensor = {"name": "x", "dtype": "float32", "shape": [1]}
    manifest = {
        "name": MODEL,
        "target": TARGET,
        "arch": architecture(),
        "cpu_features": [],
        "threads": 1,
        "backend": "none",
        "precision": "int8",
        "engine": {"name": "none", "distribution": "", "minimum_version": "", "options": {}},
        "inputs": [tensor],
        "outputs": [tensor],
        "state": {},
        "payload": ["payload/weights"],
        "selftest": {"tolerances": {}},
    }
    files = {"payload/weights": weights, "golden.npz": b"", "parity.json": b"{}", "provenance.json": b"{}"}
    folder.mkdir(exist_ok=True)
    place = folder / f"{MODEL}-{TARGET}.edgec"
    write_bundle(place, manifest, files)
    return place


def runs(folder: Path, devices: int, processes: int, size: int, server_name: str, checks: bool) -> Iterator[Run]:
    """The five runs of a fleet, in `folder`."""
    random = Random(1)
    weights = random.randbytes(size)
    made = create(folder / "repository", folder / "keys", datetime.now(UTC))
    expected: dict[int, str] = {}

    def release(content: bytes, share: float) -> None:
        path = artifact(folder / "dist", content)
        (done,) = publish(made.folder, Keyring(made.keys), [path], datetime.now(UTC), share=share)
        expected[done.version] = done.sha256

    context = multiprocessing.get_context("spawn")
    root = (made.folder / "metadata" / "1.root.json").read_bytes()
    with (
        serving(made.folder, folder, server_name) as server,
        ProcessPoolExecutor(processes, mp_context=context) as pool,
    ):
        fleet = Fleet(folder / "devices", devices, root, pool, checks)
        release(weights, 1)
        yield fleet.run("first release", server, expected)
        yield fleet.run("nothing new", server, expected)
        middle, part = size // 2, size // 100
        release(weights[:middle] + random.randbytes(part) + weights[middle + part :], 1)
        yield fleet.run("1 % changed", server, expected)
        release(random.randbytes(part) + weights[part:], 0.1)
        yield fleet.run("10 % rollout", server, expected)
        to_all = partial(releases.assign, model=MODEL, channel="stable", version=max(expected), share=1.0)
        change(made.folder, Keyring(made.keys), datetime.now(UTC), MODEL, to_all)
        yield fleet.run("100 % rollout", server, expected)


def signature_costs() -> dict[str, float]:
    """Milliseconds of CPU time to check one ed25519 signature of 1 kB: medians of 15."""
    from securesystemslib._vendor.ed25519 import ed25519
    from securesystemslib.signer import CryptoSigner

    signer, message = CryptoSigner.generate_ed25519(), bytes(1000)
    signature = signer.sign(message)
    raw = bytes.fromhex(signature.signature)
    public = bytes.fromhex(signer.public_key.keyval["public"])

    def cost(check: Any) -> float:
        times = []
        for _ in range(15):
            begin = time.thread_time()
            check()
            times.append(time.thread_time() - begin)
        return 1000 * statistics.median(times)

    return {
        "cryptography": cost(lambda: signer.public_key.verify_signature(signature, message)),
        "Python alone": cost(lambda: ed25519.checkvalid(raw, message, public)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=8, help="devices at the same time")
    parser.add_argument("--bytes", type=int, default=2_000_000, help="of the weights")
    parser.add_argument("--server", choices=("nginx", "python"), default="nginx" if shutil.which("nginx") else "python")
    parser.add_argument("--checks", action="store_true", help="let each artifact check itself, as devices do")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="edgec-fleet-") as folder:
        place = Path(folder)
        print(f"{options.devices} devices, {options.processes} at the same time, weights of {options.bytes} bytes\n")
        for run in runs(place, options.devices, options.processes, options.bytes, options.server, options.checks):
            facts = run.facts()
            if not found:
                print(f"| {' | '.join(facts)} |\n|{'---|' * len(facts)}")
            print(f"| {' | '.join(map(str, facts.values()))} |", flush=True)
            found.append(facts)
    costs = signature_costs()
    print("\nOne ed25519 signature: " + ", ".join(f"{value:.2f} ms with {name}" for name, value in costs.items()))
    if options.json:
        options.json.write_text(json.dumps({"runs": found, "signature_ms": costs}, indent=1))
    return int(any(facts["failed"] or facts["wrong bytes"] for facts in found))


if __name__ == "__main__":
    sys.exit(main())
