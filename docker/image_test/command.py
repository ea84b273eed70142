"""The command line of docker/test."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from image_test import context, promises, workplace
from image_test.buildah import Buildah
from image_test.docker_cli import DockerCli
from image_test.engines import NOT_HERE, Build, Engine, Failed, Impossible, answers

_REPOSITORY = Path(__file__).parents[2]
_STORED = 8 << 30
"""Bytes: both images, the stages that they are made in, and what packages are unpacked from."""

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
        name = arguments.engine or _first_that_answers()
        with (
            workplace.folder(_STORED if name == "buildah" else 0) as folder,
            _engine(name, folder) as engine,
        ):
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


def _first_that_answers() -> str:
    return next((program for program in ("docker", "podman") if answers(program)), "buildah")


@contextlib.contextmanager
def _engine(name: str, folder: Path) -> Iterator[Engine]:
    if name != "buildah" and not answers(name):
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
