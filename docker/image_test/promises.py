"""What docs/docker.md promises, one function each: it raises Failed when the promise does not hold.

Commands run without a network, and as a user that the images do not know.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from image_test import context
from image_test.engines import Engine, Failed, Ran

_IMAGE_USER = 1000
_STRANGER = 12345
_MIB = 1 << 20


@dataclass(frozen=True)
class Images:
    """What was built. repository: the working copy it was built from. told: the arguments of its build."""

    engine: Engine
    folder: Path
    repository: Path
    told: Mapping[str, str]
    context: str = "localhost/edgec-test-context"
    edgec: str = "localhost/edgec-test"
    runtime: str = "localhost/edgec-test-runtime"

    @property
    def user(self) -> int:
        """Who commands run as: oneself; instead of root, somebody whom no image knows."""
        return os.getuid() or _STRANGER

    @cached_property
    def models(self) -> Path:
        """The folder that is mounted, with the digits example in it, owned by that user."""
        folder = self.folder / "models"
        example = self.repository / "examples" / "digits"
        shutil.copytree(example / "calibration", folder / "calibration")
        shutil.copy(example / "digits_cnn.onnx", folder)
        self.own(folder)
        return folder

    def own(self, folder: Path) -> None:
        """Give `folder` to the user whom commands run as."""
        if os.getuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.user)

    def command(self, image: str, *arguments: str, mounts: Mapping[Path, str] | None = None) -> Ran:
        """Run what the image is for."""
        user = f"{self.user}:{self.user}"
        return self.engine.run(image, arguments, user=user, mounts={self.models: "/models", **(mounts or {})})

    def shell(self, image: str, script: str, user: str | None = "0:0") -> str:
        """What a shell in the image prints."""
        ran = self.engine.run(image, [script], entrypoint=["sh", "-c"], user=user)
        if ran.exit_code != 0:
            raise Failed(f"in {image}: {script}\n{ran.said()}")
        return ran.output

    def json(self, *arguments: str, mounts: Mapping[Path, str] | None = None) -> Any:
        """The document that an edgec command prints."""
        ran = self.command(self.edgec, *arguments, "--json", mounts=mounts)
        if ran.exit_code != 0:
            raise Failed(f"edgec {' '.join(arguments)}\n{ran.said()}")
        return json.loads(ran.output)


def context_is_bare(images: Images) -> None:
    """The build sees what it copies, and nothing else that lies about in a working copy."""
    found = images.shell(images.context, "cd /context && find . -type f -printf '%s %P\\n'").splitlines()
    sizes = {name: int(size) for size, name in (line.split(" ", 1) for line in found)}
    wanted = {name for name in context.files(images.repository) if name.startswith(("edgec/", "targets/"))}
    _expect(wanted <= sizes.keys(), f"not in the context: {sorted(wanted - sizes.keys())}")
    _expect(not sizes.keys() & {*context.BAIT}, f"in the context: {sorted(sizes.keys() & {*context.BAIT})}")
    _expect(sum(sizes.values()) < 20 * _MIB, f"the context has {sum(sizes.values()) / _MIB:.1f} MiB")


def container_has_no_network(images: Images) -> None:
    """Containers of this test have no network: whatever works below works offline."""
    interfaces = images.shell(images.edgec, "tail -n +3 /proc/net/dev | cut -d: -f1").split()
    routes = images.shell(images.edgec, "tail -n +2 /proc/net/route").split()
    _expect(set(interfaces) <= {"lo"} and not routes, f"interfaces {interfaces}, routes {routes}")


def labels_are_there(images: Images) -> None:
    """Each image says what it is: title, version, licence, where it comes from."""
    version = _version(images)
    for image, title in ((images.edgec, "edgec"), (images.runtime, "edgec-runtime")):
        labels = images.engine.settings(image).labels
        said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
        expected = {"title": title, "version": version, "licenses": "Apache-2.0", "revision": images.told["REVISION"]}
        _expect(expected.items() <= said.items(), f"{image} has {said}")
        _expect(bool(said.get("description") and said.get("source") and said.get("base.name")), f"{image} has {said}")


def user_is_not_root(images: Images) -> None:
    """Nobody is root unasked, and the user can change nothing of what is installed."""
    for image in (images.edgec, images.runtime):
        _expect(images.engine.settings(image).user == f"{_IMAGE_USER}:{_IMAGE_USER}", f"the user of {image}")
        said = images.shell(image, "id -u; find / -xdev -type d -writable 2>/dev/null || true", user=None).split()
        _expect(said[0] == str(_IMAGE_USER), f"id -u in {image} says {said[0]}")
        system = [path for path in said[1:] if path.startswith(("/opt", "/usr", "/etc", "/bin", "/lib", "/sbin"))]
        _expect(not system, f"a user of {image} can write to {system}")


def nothing_is_left_of_the_build(images: Images) -> None:
    """No cache, list, certificate, address or secret of the build is left in an image or in its history."""
    left = (
        "find /var/lib/apt/lists /var/cache/apt/archives /root /home /tmp /var/tmp /usr/local/share/ca-certificates "
        "/var/cache/edgec /var/cache/home -type f ! -name lock ! -name '.bash*' ! -name .profile; "
        "find / -xdev '(' -name pip -o -name provisions -o -name pip.conf -o -name 'edgec-test*' ')' -print; "
        "find /var/log /var/cache/apt -type f -size +100k"
    )
    for image in (images.edgec, images.runtime):
        found = images.shell(image, f"({left}) 2>/dev/null || true").split()
        _expect(not found, f"left in {image}: {found}")
        settings = images.engine.settings(image)
        configuration = json.dumps([dict(settings.environment), dict(settings.labels), settings.history])
        addresses = [images.told[name] for name in ("PIP_INDEX_URL", "APT_MIRROR") if images.told.get(name)]
        for word in ("PIP_INDEX_URL", "APT_MIRROR", "pip.conf", *addresses):
            _expect(word not in configuration, f"{word} is in the configuration of {image}")
        for address in addresses if images.engine.name == "buildah" else ():  # whose base does not name it either
            _expect(not images.shell(image, f"grep -rlF '{address}' /etc || true"), f"{address} is in {image}")


def byte_code_is_there(images: Images) -> None:
    """Python compiles nothing when a container starts: its user could not keep the result."""
    script = (
        "import importlib.util, pathlib, sys\n"
        "folders = [pathlib.Path(name) for name in sys.path if name.startswith('/opt')]\n"
        "for folder in folders:\n"
        "    for source in folder.rglob('*.py'):\n"
        "        if not pathlib.Path(importlib.util.cache_from_source(str(source))).exists():\n"
        "            print(source)\n"
    )
    for image, python in ((images.edgec, "/opt/edgec/bin/python"), (images.runtime, "python3")):
        ran = images.engine.run(image, ["-c", script], entrypoint=[python])
        _expect(ran.exit_code == 0 and not ran.output, f"without byte code in {image}:\n{ran.said()[:2000]}")


def size_is_within_budget(images: Images) -> None:
    """Each image weighs no more than docker/budget.toml allows."""
    budget = tomllib.loads((images.repository / "docker" / "budget.toml").read_text())["mib"]
    for image, name in ((images.edgec, "edgec"), (images.runtime, "runtime")):
        listed = images.shell(
            image, "du -xsm / 2>/dev/null || true; du -xm --max-depth=2 / 2>/dev/null | sort -rn | head -12"
        )
        size = int(listed.split()[0])
        print(f"  {name}: {size} MiB of {budget[name]}", flush=True)
        _expect(size <= budget[name], f"{name} has {size} MiB of {budget[name]}:\n{listed}")


def help_is_what_comes_unasked(images: Images) -> None:
    """`docker run edgec` shows the commands; the version is the label's."""
    shown = images.command(images.edgec, "--help")
    _expect(shown.exit_code == 0 and "Compile:" in shown.output, shown.said())
    version = images.command(images.edgec, "--version")
    _expect(version.output.strip() == f"edgec {_version(images)}", version.said())


def doctor_finds_all(images: Images) -> None:
    """`edgec doctor` misses nothing but Google's compiler: backends, emulators, roots, cross compilers."""
    found = images.json("doctor")
    missing = [name for name, state in found["backends"].items() if not state["installed"]]
    _expect(not missing, f"backends that are missing: {missing}")
    states = {entry["arch"]: entry["state"] for entry in found["emulators"]}
    _expect(states == {"aarch64": "ready", "armv7l": "ready"}, f"emulators: {states}")
    compilers = {tools["name"] for tools in found["compilers"].values()}
    _expect(compilers == {"zig"}, f"compilers: {found['compilers']}")


def roots_are_whole(images: Images) -> None:
    """The ARM roots are what was made: every file has its digest."""
    listed = images.command(images.edgec, "emulator", "list", "--verify")
    _expect(listed.exit_code == 0, listed.said())


def compiles_for_arm(images: Images) -> None:
    """What was taken out of Zig is not missed: it compiles and links for both ARM architectures."""
    script = (
        "import pathlib, tempfile\n"
        "from edgec import toolchain\n"
        "from edgec.targets import load_target\n"
        "folder = pathlib.Path(tempfile.mkdtemp())\n"
        "source, code, library = folder / 'a.c', folder / 'a.o', folder / 'a.so'\n"
        "source.write_text('#include <math.h>\\nfloat a(float x) { return floorf(expf(x)); }\\n')\n"
        "for name in ('rpi2', 'rpi4'):\n"
        "    target = load_target(name)\n"
        "    compiler = toolchain.find(target)\n"
        "    compiler.compile(source, code, target)\n"
        "    compiler.link([code], library, target)\n"
        "    print(name, compiler.name, library.read_bytes()[18])\n"
    )
    ran = images.engine.run(images.edgec, ["-c", script], entrypoint=["/opt/edgec/bin/python"])
    _expect(ran.output.split() == ["rpi2", "zig", "40", "rpi4", "zig", "183"], ran.said())  # EM_ARM, EM_AARCH64


def edgetpu_compiler_is_found_where_it_is_mounted(images: Images) -> None:
    """Google's compiler, in a folder that is mounted at /opt/edgetpu, is on PATH."""
    folder = images.folder / "edgetpu"
    folder.mkdir()
    program = folder / "edgetpu_compiler"
    program.write_text("#!/bin/sh\necho Edge TPU Compiler version 16.0.384591198\n")
    program.chmod(0o755)
    without = images.json("doctor")["backends"]["edgetpu"]["remark"]
    _expect("PATH" in without, f"without the compiler, edgec doctor says {without!r}")
    remark = images.json("doctor", mounts={folder: "/opt/edgetpu"})["backends"]["edgetpu"]["remark"]
    _expect(not remark, f"with the compiler mounted, edgec doctor says {remark!r}")


def builds_for_this_machine(images: Images) -> None:
    """A build for the host makes an artifact that belongs to whoever asked for it, and that passes its self-test."""
    for backend in ("openvino", "tflite"):
        _build(images, f"digits-{backend}", "--target", "host", "--backend", backend)
        artifact = images.models / "dist" / f"digits-{backend}-host.edgec"
        _expect(artifact.stat().st_uid == images.user, f"{artifact.name} belongs to {artifact.stat().st_uid}")
    tested = images.engine.run(
        images.edgec,
        ["/models/dist/digits-openvino-host.edgec", "selftest"],
        entrypoint=["/opt/edgec/bin/python"],
        mounts={images.models: "/models"},
    )
    _expect(tested.exit_code == 0, tested.said())


def builds_for_arm_and_runs_there(images: Images) -> None:
    """A build for an ARM board ends with an artifact that has run on its core, in the image and without a network."""
    _build(images, "digits", "--target", "rpi4", "--target", "rpi2")
    for target, core in (("rpi4", "qemu-aarch64:cortex-a72"), ("rpi2", "qemu-arm:cortex-a7")):
        artifact = images.models / "dist" / f"digits-{target}.edgec"
        _expect(artifact.stat().st_uid == images.user, f"{artifact.name} belongs to {artifact.stat().st_uid}")
        runner = json.loads(zipfile.ZipFile(artifact).read("parity.json"))["runner"]
        _expect(runner == core, f"{artifact.name} was executed by {runner!r}")


def runtime_runs_artifacts(images: Images) -> None:
    """The runtime image runs an artifact's own commands; one for another processor it refuses with exit code 10."""
    tested = images.command(images.runtime, "dist/digits-tflite-host.edgec", "selftest")
    _expect(tested.exit_code == 0, tested.said())
    refused = images.command(images.runtime, "dist/digits-rpi2.edgec", "selftest")
    _expect(refused.exit_code == 10, refused.said())


def container_is_a_device(images: Images) -> None:
    """The runtime image's agent installs an artifact, which passes its self-test there, in a folder that stays."""
    folder = images.folder / "device"
    folder.mkdir()
    images.own(folder)

    def agent(*arguments: str) -> Ran:
        user, mounts = f"{images.user}:{images.user}", {images.models: "/models", folder: "/var/lib/edgec"}
        return images.engine.run(images.runtime, arguments, entrypoint=["edgec-device"], user=user, mounts=mounts)

    made = agent("init", "--target", "host")
    _expect(made.exit_code == 0, made.said())
    installed = agent("install", "dist/digits-tflite-host.edgec", "--unsigned")
    _expect(installed.exit_code == 0 and "runs now" in installed.output, installed.said())
    refused = agent("install", "dist/digits-rpi2.edgec", "--unsigned")
    _expect(refused.exit_code == 10, refused.said())
    slot = "/var/lib/edgec/models/digits-tflite"
    script = (
        f"import sys; sys.path.insert(0, '{slot}/current/model.edgec'); from edgec_runtime import load; "
        f"print(load('{slot}').manifest['name'])"
    )
    loaded = images.command(images.runtime, "-c", script, mounts={folder: "/var/lib/edgec"})
    _expect(loaded.exit_code == 0 and loaded.output.split() == ["digits-tflite"], loaded.said())


def servers_can_be_trusted(images: Images) -> None:
    """Both images know the authorities that certificates of servers are checked against."""
    count = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    for image, python in ((images.edgec, "/opt/edgec/bin/python"), (images.runtime, "python3")):
        ran = images.engine.run(image, ["-c", count], entrypoint=[python])
        _expect(ran.exit_code == 0 and int(ran.output) > 100, f"authorities in {image}: {ran.said()}")


def folder_that_is_not_writable_is_refused(images: Images) -> None:
    """Where the user may not write to the mounted folder, the build says so and ends with exit code 73."""
    folder = images.folder / "foreign"
    folder.mkdir(mode=0o555)
    ran = images.command(images.edgec, *_BUILD, "--name", "digits", "-o", "/foreign/dist", mounts={folder: "/foreign"})
    _expect(ran.exit_code == 73 and "/foreign" in ran.errors, ran.said())


Promise = Callable[[Images], None]

OF_THE_CONTEXT: Sequence[Promise] = (context_is_bare,)

OF_THE_IMAGES: Sequence[Promise] = (
    container_has_no_network,
    labels_are_there,
    user_is_not_root,
    nothing_is_left_of_the_build,
    byte_code_is_there,
    size_is_within_budget,
    help_is_what_comes_unasked,
    doctor_finds_all,
    roots_are_whole,
    compiles_for_arm,
    edgetpu_compiler_is_found_where_it_is_mounted,
    builds_for_this_machine,
    builds_for_arm_and_runs_there,
    runtime_runs_artifacts,
    container_is_a_device,
    servers_can_be_trusted,
    folder_that_is_not_writable_is_refused,
)

_BUILD = ("build", "digits_cnn.onnx", "--calib", "calibration", "--preprocess", "digits")


def _build(images: Images, name: str, *arguments: str) -> None:
    built = images.command(images.edgec, *_BUILD, "--name", name, *arguments)
    _expect(built.exit_code == 0, built.said())


def _version(images: Images) -> str:
    """What edgec/version.py says."""
    return (images.repository / "edgec" / "version.py").read_text().rpartition("=")[2].strip().strip('"')


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)
