"""examples/device: the units are what systemd takes, and the application and its health command do what they say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgec.runtime.agent import compatibility
from edgec.runtime.agent import install as installing
from edgec.runtime.agent.install import install
from edgec.runtime.agent.settings import Settings, parse_settings
from edgec.runtime.agent.slot_folder import release_of
from edgec.runtime.agent.slots import Slots
from edgec.runtime.errors import RolledBack
from tests.runtime.agent import small

_EXAMPLE = Path(__file__).parents[3] / "examples" / "device"
_UNITS = [*sorted(path.name for path in _EXAMPLE.glob("*.service")), "edgec-device-update.timer"]
_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The units, with programs in them that are on this machine: verify looks whether they are."""
    folder = tmp_path_factory.mktemp("units")
    for name in _UNITS:
        text = (_EXAMPLE / name).read_text(encoding="utf-8")
        for program in ("/usr/local/bin/edgec-device", "/usr/bin/python3"):
            text = text.replace(program, sys.executable)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@_systemd
def test_the_units_are_what_systemd_takes(units):
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(units / name for name in _UNITS)], capture_output=True, text=True
    )
    own = [line for line in done.stderr.splitlines() if any(name in line for name in _UNITS)]
    assert (done.returncode, own) == (0, [])


@_systemd
@pytest.mark.parametrize("name", ["edgec-device-update.service", "edgec-device-boot.service"])
def test_the_agent_s_units_are_closed(units, name):
    """At most 3.0 of 10, where 10 is open to all: "OK" by systemd's own words."""
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", units / name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_configuration_is_one():
    settings = parse_settings((_EXAMPLE / "device.conf").read_text(encoding="utf-8"), Path("/var/lib/edgec"), "it")
    assert (settings.target, settings.models, settings.use_wait) == ("rpi4", ("digits",), 120.0)


def test_the_application_takes_up_a_version_and_the_health_command_sees_it(cnn, tmp_path, monkeypatch):
    found = compatibility._Installed((3, 11, 7), {"numpy": "2", "openvino": "9999"})
    monkeypatch.setattr(compatibility, "_installed", lambda python, names: found)
    monkeypatch.setenv("DIGITS_FOLDER", str(tmp_path))
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "one.npy", np.ones((1, 3, 16, 16), np.float32))
    settings = Settings(
        tmp_path / "root",
        health_command=(str(_EXAMPLE / "check-digits"),),
        health_timeout=10.0,
        lock_wait=0,
        use_wait=0,
    )
    slots = Slots(settings.root, "net")
    first = small.write_small(tmp_path / "first.edgec", "one")
    (tmp_path / "alive").write_text(f"{first.sha256}\n")
    install(settings.root, tmp_path / "first.edgec", first, settings, check_artifact=lambda *_: None)

    def application(slot, settings):
        """What runs all the time on a device: here once, right before the health command looks."""
        done = subprocess.run([sys.executable, _EXAMPLE / "digits.py", slots.folder, tmp_path, "--once"])
        assert done.returncode == 0
        return check_health(slot, settings)

    check_health = installing.check_health
    monkeypatch.setattr(installing, "check_health", application)
    release = release_of(cnn.path, "file")
    assert install(settings.root, cnn.path, release, settings, check_artifact=lambda *_: None).status == "installed"
    assert (tmp_path / "alive").read_text() == f"{release.sha256}\n"
    assert (tmp_path / "in" / "one.txt").read_text().strip().isdigit()
    monkeypatch.setattr(installing, "check_health", check_health)
    with pytest.raises(RolledBack, match="failed, and"):
        hasty = small.write_small(tmp_path / "third.edgec", "three")
        impatient = Settings(**{**vars(settings), "health_timeout": 1.2})
        install(settings.root, tmp_path / "third.edgec", hasty, impatient, check_artifact=lambda *_: None)
    assert slots.current().release == release
