"""The command line of docker/test."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from image_test import context, promises
from image_test.buildah import Buildah
from image_test.docker_cli import DockerCli
from image_test.engines import NOT_HERE, Build, Engine, Failed, Impossible, answers

_REPOSITORY = Path(__file__).parents[2]
_GIB = 1 << 30
_NEEDED = 8 * _GIB
"""Both images, the stages that they are made in, and what packages are unpacked from."""

_PIP_CONF = """[global]
index-url = https://index.invalid/simple
progress-bar = off
retries = 10
timeout = 180
"""
"""The secret: an index that does not exist, as PIP_INDEX_URL has to win, and what can be seen in the log."""

_BAR = "━"

_CONTEXT = """ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY . /context
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="docker/test",
        description="Build both images and run them without a network. Exit codes: 0 all holds, 1 something does not, "
        "8 this machine can't build images.",
    )
    parser.add_argument("--engine", choices=("docker", "podman", "buildah"), help="[the first of these that works]")
    parser.add_argument("--revision", default="unknown", help="the commit, for the labels")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that all is cleaned up
    try:
        with _working_folder() as folder, _engine(arguments.engine, folder) as engine:
            return _test(engine, folder, arguments.revision)
    except Impossible as error:
        print(error, file=sys.stderr)
        return NOT_HERE
    except Failed as error:
        print(f"\n✗ {error}", file=sys.stderr)
        return 1


def _test(engine: Engine, folder: Path, revision: str) -> int:
    print(f"with {engine.name}, in {folder}", flush=True)
    site = context.make(_REPOSITORY, folder / "context", context.trusted())
    (folder / "Dockerfile.context").write_text(_CONTEXT)
    (folder / "pip.conf").write_text(_PIP_CONF)
    told = {**engine.arguments, "REVISION": revision, "PIP_INDEX_URL": context.package_index()}
    secrets = {"pip.conf": folder / "pip.conf"}
    images = promises.Images(engine, folder, _REPOSITORY, told)
    with _timed("context built"):
        engine.build(Build(images.context, site, dockerfile=folder / "Dockerfile.context", arguments=engine.arguments))
    if not _hold(promises.OF_THE_CONTEXT, images):
        return 1
    for tag, target in ((images.edgec, None), (images.runtime, "runtime")):
        with _timed(f"{target or 'edgec'} built"):
            log = engine.build(Build(tag, site, target, arguments=told, secrets=secrets))
            if _BAR in log:
                raise Failed(f"pip did not heed the secret pip.conf:\n{log[-3000:]}")
    return 0 if _hold(promises.OF_THE_IMAGES, images) else 1


def _hold(checked: Sequence[promises.Promise], images: promises.Images) -> bool:
    """Whether all promises hold; each is told."""
    broken = 0
    for promise in checked:
        try:
            with _timed(f"{promise.__doc__}".rstrip(".")):
                promise(images)
        except Failed as error:
            broken += 1
            print(f"✗ {promise.__doc__}\n{error}", flush=True)
    if broken:
        print(f"{broken} of {len(checked)} do not hold")
    return not broken


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"✓ {what} ({time.monotonic() - began:.0f} s)", flush=True)


@contextlib.contextmanager
def _working_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="edgec-images-"))
    try:
        free = shutil.disk_usage(folder).free
        if free < _NEEDED:
            raise Impossible(
                f"There is too little room in {folder.parent}: {free / _GIB:.1f} GiB of {_NEEDED / _GIB:.0f}.\n"
                "Free some, or name another folder in the variable TMPDIR."
            )
        folder.chmod(0o755)  # users of containers get to what is mounted
        yield folder
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # an end that comes now would leave gigabytes
        if _mounted_below(folder):
            print(f"Left as it is, because something is mounted in it: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _mounted_below(folder: Path) -> bool:
    """Whether removing `folder` would remove files from elsewhere: a container's folder may hold the machine's own."""
    mounts = Path("/proc/self/mounts")
    return mounts.exists() and f" {folder}/" in mounts.read_text()


@contextlib.contextmanager
def _engine(name: str | None, folder: Path) -> Iterator[Engine]:
    if name is None:
        name = next((program for program in ("docker", "podman") if answers(program)), "buildah")
    elif name != "buildah" and not answers(name):
        raise Impossible(f"{name} does not answer.\nSee `{name} info`.")
    engine: Engine
    if name == "buildah":
        storage = folder / "buildah"
        storage.mkdir()
        with _timed("base made of Debian's packages"):
            engine = Buildah(storage)
    else:
        engine = DockerCli(name)
    try:
        yield engine
    finally:
        with _timed("cleaned up"):
            engine.clean_up()
