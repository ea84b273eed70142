"""buildah as root, where no engine answers. With chroot isolation it needs no daemon, and works in a container itself.

Everything that it stores is in a folder of ours. Chroot isolation leaves the machine's network in place: commands are
run in a network namespace of their own, with nothing in it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_test import base_image
from image_test.engines import BUILD_SECONDS, RUN_SECONDS, Build, Failed, Impossible, Ran, Settings, call, run_words

_ISOLATION = ("--isolation", "chroot")


class Buildah:
    """folder: an empty one, for images and containers."""

    name = "buildah"

    def __init__(self, folder: Path) -> None:
        if shutil.which("buildah") is None:
            raise Impossible(
                "No image can be built here: neither Docker nor Podman answers, and buildah is not installed.\n"
                "Start Docker, or, as root on Debian: apt-get install buildah mmdebstrap"
            )
        if os.geteuid() != 0:
            raise Impossible(
                "No image can be built here: neither Docker nor Podman answers, and buildah needs root.\n"
                "Start Docker, or run this as root."
            )
        self._folder = folder
        self._storage = self._choose_storage()
        archive, base = folder / "base.tar", "localhost/edgec-test-base"
        self.arguments = {"BASE": base, "APT_MIRROR": base_image.make(archive)}
        container = self._ask("from", "scratch").strip()
        self._ask("add", "--quiet", container, str(archive))
        self._ask("config", "--env", f"PATH={base_image.PATH}", "--cmd", "bash", container)
        self._ask("commit", "--quiet", "--disable-compression", "--rm", container, base)
        archive.unlink()

    def build(self, build: Build) -> str:
        words = ["bud", *_ISOLATION, "--pull=never", "--layers", *build.words]
        return build.log_of(self._call(*words, seconds=BUILD_SECONDS))

    def run(
        self,
        image: str,
        arguments: Sequence[str],
        *,
        entrypoint: Sequence[str] | None = None,
        user: str | None = None,
        mounts: Mapping[Path, str] | None = None,
    ) -> Ran:
        words = ["run", *_ISOLATION, *run_words(user, mounts)]
        program = self.settings(image).entrypoint if entrypoint is None else entrypoint
        container = self._ask("from", "--pull=never", image).strip()
        try:
            return self._call(
                *words, container, "--", *program, *arguments, seconds=RUN_SECONDS, before=("unshare", "--net")
            )
        finally:
            self._ask("rm", container)

    def settings(self, image: str) -> Settings:
        found = json.loads(self._ask("inspect", "--type", "image", image))
        config = found["Docker"]["config"]
        return Settings(
            user=config.get("User", ""),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            environment=dict(entry.split("=", 1) for entry in config.get("Env") or ()),
            labels=config.get("Labels") or {},
            healthcheck=config.get("Healthcheck"),
            history="\n".join(layer.get("created_by", "") for layer in found["OCIv1"]["history"]),
        )

    def clean_up(self) -> None:
        """Unmounts; whoever gave the folder removes it."""
        self._call("rm", "--all", seconds=300)

    def _choose_storage(self) -> tuple[str, ...]:
        """With overlay a layer holds what it adds; with vfs, which works everywhere, it is a copy of all below it."""
        for driver in ("overlay", "vfs"):
            root = self._folder / driver
            storage = ("--root", f"{root}/storage", "--runroot", f"{root}/run", "--storage-driver", driver)
            tried = call(["buildah", *storage, "from", "scratch"], seconds=60)
            if tried.exit_code == 0:
                call(["buildah", *storage, "rm", "--all"], seconds=60)
                return storage
        raise Impossible(f"buildah can't store images in {self._folder}:\n{tried.errors}")

    def _ask(self, *words: str) -> str:
        asked = self._call(*words, seconds=600)
        if asked.exit_code != 0:
            raise Failed(f"buildah {' '.join(words)}\n{asked.errors}")
        return asked.output

    def _call(self, *words: str, seconds: float, before: Sequence[str] = ()) -> Ran:
        environment = {"TMPDIR": str(self._folder)}
        return call([*before, "buildah", *self._storage, *words], seconds=seconds, environment=environment)
