"""How many bytes a device downloads for the next version of a model that it has.

    python benchmarks/delta.py ARTIFACT.edgec [--next NAME=OTHER.edgec ...]

The artifact is one that you built. From it is made what a next version may be:

    nothing changed          the same file
    runtime changed          the same model, packed by an edgec whose runtime has another line in one module
    1 % in one place         1 % of the weights' bytes are others, in a row
    1 % scattered, 4 KiB     1 % of the weights' bytes are others, in stretches of 4 KiB at random places
    1 % scattered, bytes     each hundredth byte of the weights is another
    another model            all of the weights are others

--next adds versions that you built: recalibrated, with another engine, of a retrained model.

For each: what goes over the network for the artifact (chunks that the device lacks, and the index of all chunks) by the
device's own download, which is checked byte by byte; and in how many requests. Last: how fast files are cut.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from edgec.bundle import write
from edgec.runtime.agent import chunks
from edgec.runtime.agent.chunks import Index, index_from
from edgec.runtime.agent.download import download
from edgec.runtime.agent.fetcher import Fetcher
from edgec.runtime.bundle import Bundle
from edgec.shipping.repository import chunking
from edgec.shipping.repository.chunking import index_of


def repacked(
    artifact: Path, place: Path, payload: Callable[[bytes], bytes] = bytes, runtime: Callable[[bytes], bytes] = bytes
) -> Path:
    """The artifact with its largest payload file, and the largest module of its runtime, changed."""
    bundle = Bundle.open(artifact)
    members = {name: bundle.read(name) for name in bundle.manifest["files"]}
    modules = {name: content for name, content in members.items() if name.startswith(write.PACKAGE)}
    largest_module = max(modules, key=lambda name: len(modules[name]))
    modules[largest_module] = runtime(modules[largest_module])
    files: dict[str, write.Content] = {
        name: content for name, content in members.items() if name not in modules and name != "__main__.py"
    }
    largest = max(bundle.manifest["payload"], key=lambda name: len(members[name]))
    files[largest] = payload(members[largest])
    manifest = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format_version")}
    with mock.patch.object(write, "runtime_sources", lambda: modules):
        write.write_bundle(place, manifest, files)
    return place


def in_one_place(weights: bytes) -> bytes:
    first, size = len(weights) // 3, len(weights) // 100
    return weights[:first] + random.Random(1).randbytes(size) + weights[first + size :]


def scattered(weights: bytes, stretch: int) -> bytes:
    drawn, changed = random.Random(2), bytearray(weights)
    for _ in range(max(len(weights) // 100 // stretch, 1)):
        place = drawn.randrange(max(len(weights) - stretch, 1))
        changed[place : place + stretch] = bytes(byte ^ 1 for byte in changed[place : place + stretch])
    return bytes(changed)


def versions(artifact: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """What may come next, by name."""
    unchanged = repacked(artifact, folder / "installed.edgec")
    yield "nothing changed", unchanged
    yield (
        "runtime changed",
        repacked(artifact, folder / "runtime.edgec", runtime=lambda source: source + b"\n# another line\n"),
    )
    changes: dict[str, Callable[[bytes], bytes]] = {
        "1 % in one place": in_one_place,
        "1 % scattered, 4 KiB": partial(scattered, stretch=4096),
        "1 % scattered, bytes": partial(scattered, stretch=1),
        "another model": lambda weights: random.Random(3).randbytes(len(weights)),
    }
    for name, change in changes.items():
        yield name, repacked(artifact, folder / f"{name.replace(' ', '-')}.edgec", payload=change)


def cost(installed: Path, following: Path, folder: Path) -> dict[str, Any]:
    """What a device that has `installed` downloads for `following`."""
    index = index_of(following)
    fetcher = Fetcher()
    sha256 = hashlib.sha256(following.read_bytes()).hexdigest()
    have = {hashlib.sha256(installed.read_bytes()).hexdigest(): installed}
    size = following.stat().st_size
    done = download(fetcher, following.resolve().as_uri(), folder, size, sha256, Index.unpack(index.pack()), have)
    if done.path.read_bytes() != following.read_bytes():
        raise SystemExit(f"{following} did not arrive as it is")
    done.path.unlink()
    total = done.received + len(index.pack())
    return {
        "artifact bytes": size,
        "chunks": done.received,
        "index": len(index.pack()),
        "requests": done.requests + 1,
        "of the whole": f"{100 * total / size:.1f} %",
    }


def cutting_speeds() -> dict[str, float]:
    """MB cut into chunks and hashed in a second of CPU time."""
    content = random.Random(4).randbytes(32 << 20)

    def speed(cuts: Callable[[bytes], Iterator[int]], size: int) -> float:
        begin = time.thread_time()
        index_from(content[:size], cuts(content[:size]))
        return size / 1e6 / (time.thread_time() - begin)

    return {
        "with numpy, as `edgec publish` does": speed(chunking.cuts, 32 << 20),
        "in Python": speed(chunks.cuts, 1 << 20),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT.edgec")
    parser.add_argument("--next", action="append", default=[], metavar="NAME=FILE", help="a version of yours")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgec-delta-") as name:
        folder = Path(name)
        following = [*versions(options.artifact, folder)]
        (_, installed), *_ = following
        following += [(label, Path(file)) for label, _, file in (each.partition("=") for each in options.next)]
        rows = [(label, cost(installed, path, folder / "downloads")) for label, path in following]
    print(f"| next version | {' | '.join(rows[0][1])} |\n|---{'|---:' * len(rows[0][1])}|")
    for label, facts in rows:
        print(f"| {label} | {' | '.join(map(str, facts.values()))} |")
    speeds = ", ".join(f"{speed:.0f} MB/s {name}" for name, speed in cutting_speeds().items())
    print(f"\nCutting into chunks: {speeds}, CPU time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
