"""What builds and runs images here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

NOT_HERE = 8
"""The exit code when this machine can't build images; edgec's own for a missing tool."""

BUILD_SECONDS = 3600
RUN_SECONDS = 1200


class Impossible(Exception):
    """This machine can't do it: what, why, and what would help."""


class Failed(Exception):
    """A build or a command failed that should not have."""


@dataclass(frozen=True)
class Build:
    """What to build: `target` of the Dockerfile, its last stage where that is None. secrets: name to file."""

    tag: str
    context: Path
    target: str | None = None
    dockerfile: Path | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """What every engine is told in the same words; the context comes last."""
        return [
            *("--tag", self.tag),
            *(("--target", self.target) if self.target else ()),
            *(("--file", str(self.dockerfile)) if self.dockerfile else ()),
            *(word for name, value in self.arguments.items() for word in ("--build-arg", f"{name}={value}")),
            *(word for name, path in self.secrets.items() for word in ("--secret", f"id={name},src={path}")),
            str(self.context),
        ]

    def log_of(self, made: Ran) -> str:
        """What the build has printed. Raises Failed when it did not end well."""
        if made.exit_code != 0:
            raise Failed(f"{self.tag} can't be built:\n{(made.output + made.errors)[-6000:]}")
        return made.output + made.errors


@dataclass(frozen=True)
class Ran:
    """A command that ended, in a container or here."""

    exit_code: int
    output: str
    errors: str

    def said(self) -> str:
        """All that it printed, for a message."""
        return f"exit code {self.exit_code}\n{self.output}{self.errors}"


@dataclass(frozen=True)
class Settings:
    """How an image is configured. history: the commands that made its layers."""

    user: str
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    healthcheck: Any
    history: str


class Engine(Protocol):
    """Builds images and runs them. A container has no network, and is removed when its command has ended."""

    name: str
    arguments: Mapping[str, str]
    """What builds have to be told here: the base, and where Debian's packages are."""

    def build(self, build: Build) -> str:
        """The log. Raises Failed."""
        ...

    def run(
        self,
        image: str,
        arguments: Sequence[str],
        *,
        entrypoint: Sequence[str] | None = None,
        user: str | None = None,
        mounts: Mapping[Path, str] | None = None,
    ) -> Ran:
        """mounts: folders of this machine, and where they are in the container."""
        ...

    def settings(self, image: str) -> Settings: ...

    def clean_up(self) -> None:
        """Remove everything that was made."""
        ...


def run_words(user: str | None, mounts: Mapping[Path, str] | None) -> list[str]:
    """How `Engine.run` tells every engine whom to be and what to mount."""
    volumes = [word for here, there in (mounts or {}).items() for word in ("--volume", f"{here}:{there}")]
    return [*volumes, *(("--user", user) if user else ())]


def call(words: Sequence[str], *, seconds: float, environment: Mapping[str, str] | None = None) -> Ran:
    """Run a program in a process group of its own. Raises Failed when it takes too long, and ends the group."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        process_group=0,
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, 9)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failed(f"{' '.join(words)}\ndid not end within {seconds:.0f} seconds") from error
        raise
    return Ran(process.returncode, output, errors)


def answers(program: str) -> bool:
    """Whether there is such a program, with an engine behind it."""
    if shutil.which(program) is None:
        return False
    try:
        return call([program, "info"], seconds=30).exit_code == 0
    except Failed:
        return False
