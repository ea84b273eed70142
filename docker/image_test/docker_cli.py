"""Docker, or Podman, whose command line is the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_test.engines import BUILD_SECONDS, RUN_SECONDS, Build, Failed, Ran, Settings, call, run_words


class DockerCli:
    """name: "docker" or "podman"."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.arguments = {key: os.environ[key] for key in ("BASE", "APT_MIRROR") if key in os.environ}
        self._tags: list[str] = []

    def build(self, build: Build) -> str:
        own = ["--progress", "plain"] if self.name == "docker" else ["--layers=false"]  # which it would keep
        words = [self.name, "build", "--no-cache", *own, *build.words]
        self._tags.append(build.tag)
        return build.log_of(call(words, seconds=BUILD_SECONDS, environment={"DOCKER_BUILDKIT": "1"}))

    def run(
        self,
        image: str,
        arguments: Sequence[str],
        *,
        entrypoint: Sequence[str] | None = None,
        user: str | None = None,
        mounts: Mapping[Path, str] | None = None,
    ) -> Ran:
        words = [self.name, "run", "--rm", "--network", "none", *run_words(user, mounts)]
        if user and self.name == "podman" and os.getuid() != 0:
            words += ["--userns", "keep-id"]
        if entrypoint:
            words += ["--entrypoint", entrypoint[0]]
            arguments = [*entrypoint[1:], *arguments]
        return call([*words, image, *arguments], seconds=RUN_SECONDS)

    def settings(self, image: str) -> Settings:
        config = json.loads(self._ask("image", "inspect", image))[0]["Config"]
        return Settings(
            user=config.get("User", ""),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            environment=dict(entry.split("=", 1) for entry in config.get("Env") or ()),
            labels=config.get("Labels") or {},
            healthcheck=config.get("Healthcheck"),
            history=self._ask("history", "--no-trunc", "--format", "{{.CreatedBy}}", image),
        )

    def clean_up(self) -> None:
        for tag in self._tags:
            call([self.name, "image", "rm", "--force", tag], seconds=120)

    def _ask(self, *words: str) -> str:
        asked = call([self.name, *words], seconds=120)
        if asked.exit_code != 0:
            raise Failed(f"{self.name} {' '.join(words)}\n{asked.errors}")
        return asked.output
