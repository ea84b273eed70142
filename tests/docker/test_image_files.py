"""What the images are made of agrees with the rest of the project; no image is built here."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edgec.version import __version__
from tests.processes import ends

_ROOT = Path(__file__).parents[2]
_DOCKERFILE = (_ROOT / "Dockerfile").read_text()
_LOCKS = _ROOT / "docker" / "locks"
sys.path.append(str(_ROOT / "docker"))

from image_test import base_image, buildah, docker_cli, engines, workplace  # noqa: E402


def pins(lock: Path) -> dict[str, str]:
    """Package to its version and digests."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\n]*(?:\n    --hash=[^\n]*)+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["build", "edgec", "runtime"])
def test_what_is_in_the_images_is_what_the_tests_run_with(name: str) -> None:
    """A lock that was not made anew with requirements.lock pins something else: `make lock`."""
    pinned = pins(_LOCKS / f"{name}.lock")
    assert pinned.items() <= pins(_ROOT / "requirements.lock").items()
    assert pinned


def test_the_compiler_has_all_that_its_extras_ask_for() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    lines = [*project["dependencies"], *(line for extra in everything.extras for line in extras[extra])]
    asked = [Requirement(line) for line in lines]
    own = [each for each in asked if each.name == project["name"]]  # an extra that builds on another
    assert all(each.extras <= everything.extras for each in own)
    assert {each.name for each in asked} - {project["name"]} <= pins(_LOCKS / "edgec.lock").keys()
    assert everything.extras == extras.keys() - {"all", "dev", "hsm"}  # whose licence is the GPL: in no image


def test_the_label_is_the_version() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", _DOCKERFILE, re.MULTILINE) == [__version__, __version__]


def test_addresses_are_known_to_stages_that_are_thrown_away_only() -> None:
    """Arguments are part of the history of the image that uses them."""
    stages = {}
    for text in re.split(r"^FROM ", _DOCKERFILE, flags=re.MULTILINE)[1:]:
        base, _, name = text.splitlines()[0].split()
        stages[name] = (base, text)
    for image in ("edgec", "runtime"):
        stage = image
        while stage in stages:
            base, text = stages[stage]
            assert not re.findall(r"^ARG (?!VERSION|SOURCE|REVISION|BASE)", text, re.MULTILINE), stage
            assert "--mount=type=secret" not in text, stage
            stage = base


def test_the_dockerfile_has_no_findings() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", _ROOT / "Dockerfile"], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout


def test_the_documented_budget_is_the_one_that_is_checked() -> None:
    budget = tomllib.loads((_ROOT / "docker" / "budget.toml").read_text())["mib"]
    documented = dict(
        re.findall(r"^\| `(\w+)` \|.*\| (\d+) MiB \|$", (_ROOT / "docs/docker.md").read_text(), re.MULTILINE)
    )
    assert {name: str(size) for name, size in budget.items()} == documented


def test_without_any_engine_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engines.Impossible, match=r"apt-get install buildah mmdebstrap"):
        buildah.Buildah(tmp_path)
    with pytest.raises(engines.Impossible, match=r"apt-get install mmdebstrap"):
        base_image.make(tmp_path / "base.tar")


def test_a_machine_that_cannot_build_images_ends_with_8(tmp_path) -> None:
    ran = subprocess.run(
        [sys.executable, _ROOT / "docker" / "test"],
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, list(tmp_path.iterdir())) == (8, [])
    assert "buildah" in ran.stderr


def test_an_engine_that_does_not_answer_is_not_chosen(tmp_path, monkeypatch) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert not engines.answers("docker")
    program.write_text("#!/bin/sh\nexit 0\n")
    assert engines.answers("docker")


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_engine_is_told_all_that_was_asked_for(name, tmp_path, monkeypatch) -> None:
    program = tmp_path / name
    program.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    engine = docker_cli.DockerCli(name)
    build = engines.Build(
        "it", Path("/context"), "runtime", Path("/file"), {"ONE": "1", "TWO": "2"}, {"pip.conf": Path("/pip.conf")}
    )
    told = engine.build(build).split()
    assert told[:2] == ["build", "--no-cache"]
    assert " ".join(told).endswith(
        " --tag it --target runtime --file /file --build-arg ONE=1 --build-arg TWO=2"
        " --secret id=pip.conf,src=/pip.conf /context"
    )
    ran = engine.run("it", ["a"], entrypoint=["sh", "-c"], user="7:7", mounts={Path("/here"): "/there"})
    told = ran.output.split()
    assert told[:4] == ["run", "--rm", "--network", "none"]
    assert " ".join(told[4:]).startswith("--volume /here:/there --user 7:7 ")
    assert told[-5:] == ["--entrypoint", "sh", "it", "-c", "a"]


def test_a_build_that_fails_shows_the_end_of_its_log() -> None:
    build = engines.Build("it", Path("/context"))
    assert build.log_of(engines.Ran(0, "done", "")) == "done"
    with pytest.raises(engines.Failed, match=r"it can't be built:\n(?s:.*)the reason$"):
        build.log_of(engines.Ran(1, "x" * 10000, "the reason"))


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(engines.Failed, match="did not end within"):
        engines.call(["sh", "-c", script], seconds=5)
    assert ends(int((tmp_path / "child").read_text()))


def test_what_is_mounted_is_not_removed(monkeypatch, capsys, tmp_path) -> None:
    """A container that was killed may have the machine's own files mounted in its folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(workplace.tempfile, "tempdir", str(tmp_path))
    with workplace.folder(0) as removed:
        (removed / "file").touch()
    monkeypatch.setattr(workplace, "_is_mounted_below", lambda place: True)
    with workplace.folder(0) as left:
        (left / "file").touch()
    assert (removed.exists(), (left / "file").exists()) == (False, True)
    assert str(left) in capsys.readouterr().err


def test_a_mount_below_a_folder_is_seen(tmp_path) -> None:
    places = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    inner = next(place for place in places if len(place.parts) > 2)  # /dev/shm, for one
    assert workplace._is_mounted_below(inner.parent)
    assert not workplace._is_mounted_below(tmp_path)


def test_a_disk_without_room_is_told_before_the_work(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(workplace.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(engines.Impossible, match="too little room"), workplace.folder(1 << 60):
        pass
    assert not list(tmp_path.iterdir())


def test_memory_is_used_where_it_has_room_and_nothing_else_is_asked_for(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(workplace, "_MEMORY", tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    assert workplace._memory_holds(1)
    assert not workplace._memory_holds(1 << 60)
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert not workplace._memory_holds(1)
