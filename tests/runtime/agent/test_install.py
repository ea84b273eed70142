"""Installing with real processes: an artifact that checks itself, health commands, kills, two agents, applications."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import edgec.runtime
from edgec.runtime.agent import children, compatibility
from edgec.runtime.agent import install as installing
from edgec.runtime.agent.health import check_artifact
from edgec.runtime.agent.install import go_back, install, settle, started
from edgec.runtime.agent.settings import Settings
from edgec.runtime.agent.slot_folder import release_of
from edgec.runtime.agent.slots import Slots
from edgec.runtime.errors import (
    BundleError,
    Busy,
    DeviceUnfit,
    InputError,
    RolledBack,
    SelftestFailed,
)
from edgec.runtime.slot import count_start, hold_updates, versions
from tests.runtime.agent import small


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Where another Python is asked what it has in test_compatibility.py, here it is known."""
    monkeypatch.setattr(
        compatibility, "_installed", lambda python, names: compatibility._Installed((3, 11, 7), {"numpy": "2"})
    )
    return Device(tmp_path)


class Device:
    """A device's folder, and small artifacts that nobody runs."""

    def __init__(self, folder: Path):
        self.folder, self.root = folder, folder / "root"
        self.slots = Slots(self.root, "net")
        self.settings = Settings(self.root, id="device", lock_wait=0, use_wait=0)

    def install(self, content, check=lambda artifact, settings: None, retry=False, manifest=None, **fields):
        file = self.folder / f"{content}.edgec"
        release = small.write_small(file, content, **(manifest or {}))
        return install(
            self.root, file, release, replace(self.settings, **fields), check_artifact=check, retry=retry
        ).status

    def runs(self):
        current = self.slots.current()
        return current and next(
            path.stem for path in self.folder.glob("*.edgec") if small.digest(path) == current.release.sha256
        )

    def events(self):
        return [line["event"] for line in self.slots.state().history]


def test_a_real_artifact_checks_itself_and_is_loaded_through_the_slot(cnn, tmp_path):
    """The digests and the golden samples, in processes of their own: nothing of an engine comes into this one."""
    release = release_of(cnn.path, "file")
    outcome = install(tmp_path, cnn.path, release, Settings(tmp_path, target="host"))
    assert outcome.status == "installed"
    model = edgec.runtime.load(tmp_path / "models" / "net")
    assert [spec.name for spec in model.outputs] == ["scores"]


def test_a_device_of_another_target_refuses_it(device):
    with pytest.raises(DeviceUnfit, match=r"is for the target host, and this device is rpi4-aarch64"):
        device.install("one", target="rpi4-aarch64")
    assert device.runs() is None
    assert not list(device.slots.folder.glob(".*"))


def test_an_artifact_that_is_not_what_was_announced_is_refused(device):
    file = device.folder / "one.edgec"
    release = replace(small.write_small(file, "one"), target="rpi4-aarch64")
    with pytest.raises(BundleError, match="another artifact than was announced"):
        install(device.root, file, release, device.settings)


def test_a_version_whose_selftest_fails_is_not_switched_to_nor_tried_again(device):
    def fails(artifact, settings):
        raise SelftestFailed("The self-test failed: 1 of 1 outputs are too far", "scores: 9 LSB")

    device.install("one")
    with pytest.raises(SelftestFailed):
        device.install("two", fails)
    with pytest.raises(RolledBack, match="failed on this device before") as caught:
        device.install("two")
    assert "9 LSB" in caught.value.why
    assert device.runs() == "one"
    assert device.slots.staged() is None
    assert device.install("two", retry=True) == "installed"
    assert device.slots.state().failed == {}


def test_a_crash_of_the_selftest_is_told_as_one(tmp_path):
    """An instruction that the CPU does not have, say: nothing is on standard output."""
    script = tmp_path / "crash.edgec"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    with pytest.raises(SelftestFailed, match="did not end well") as caught:
        check_artifact(script, Settings(tmp_path))
    assert "SIGILL" in caught.value.why


def test_a_selftest_without_an_end_is_ended_with_all_that_it_started(tmp_path):
    mark = tmp_path / "child"
    code = f"import subprocess, time; p = subprocess.Popen(['sleep', '60']); open({str(mark)!r}, 'w').write(str(p.pid))"
    ended = children.run([sys.executable, "-c", code + "; time.sleep(60)"], 1.0, {})
    assert ended.code is None
    assert "took longer than 1 s" in ended.why(1.0)
    pid = int(mark.read_text())
    for _ in range(100):
        if _is_gone(pid):
            break
        time.sleep(0.05)
    assert _is_gone(pid)


def _is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_a_child_that_prints_without_end_does_not_fill_the_memory(monkeypatch):
    held = []
    real = os.ftruncate

    def ftruncate(descriptor, size):
        real(descriptor, size)
        held.append(os.fstat(descriptor).st_blocks * 512)

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    code = "import os, time\nfor n in range(24):\n os.write(1, b'x' * (1 << 20)); time.sleep(0.02)\nprint('the last')"
    ended = children.run([sys.executable, "-c", code], 60.0, {})
    assert len(held) >= 2 and max(held) < 4 << 20
    assert (ended.code, ended.output.splitlines()[-1][-8:]) == (0, "the last")


def test_a_child_yields_to_others_and_is_the_first_to_go_without_memory():
    code = "import os, time; time.sleep(0.2); print(os.nice(0), open('/proc/self/oom_score_adj').read().strip())"
    nice = os.nice(0)
    assert children.run([sys.executable, "-c", code], 20.0, {}).output.split() == [str(max(nice, 10)), "1000"]


# --- health


def test_the_health_command_learns_what_it_is_to_check(device, tmp_path):
    told = tmp_path / "told"
    command = ("sh", "-c", f'echo "$EDGEC_MODEL $EDGEC_SLOT $EDGEC_ARTIFACT $EDGEC_VERSION." > {told}')
    device.install("one", health_command=command)
    assert told.read_text() == f"net {device.slots.folder} {device.slots.current().artifact} .\n"


def test_an_unhealthy_version_is_taken_back_at_once(device):
    device.install("one")
    command = ("sh", "-c", "echo looking; echo no camera >&2; exit 3")
    with pytest.raises(RolledBack, match=r"failed, and net .* runs again") as caught:
        device.install("two", health_command=command)
    assert caught.value.why == "The health command failed. It ended with code 3: no camera"
    assert caught.value.details["runs"]["sha256"] == small.digest(device.folder / "one.edgec")
    assert device.runs() == "one"
    assert device.events()[-2:] == ["switched", "rolled back"]
    assert device.install("three", health_command=("true",)) == "installed"


def test_an_unhealthy_first_version_stays_and_is_said_to_be(device):
    with pytest.raises(RolledBack, match="no version to go back to: it stays"):
        device.install("one", health_command=("false",))
    assert device.runs() == "one"
    assert device.install("two") == "installed"
    assert device.slots.previous() is None


def test_a_health_command_that_hangs_is_a_failure(device):
    device.install("one")
    with pytest.raises(RolledBack) as caught:
        device.install("two", health_command=("sleep", "60"), health_timeout=0.3)
    assert "took longer than 0.3 s" in caught.value.why


def test_a_health_command_that_is_missing_is_told_before_the_switch(device, tmp_path):
    device.install("one")
    with pytest.raises(InputError, match="is not there"):
        device.install("two", health_command=("/no/such/command",))
    assert device.runs() == "one"
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter")
    broken.chmod(0o755)
    with pytest.raises(RolledBack) as caught:
        device.install("two", health_command=(str(broken),))
    assert "can't be run" in caught.value.why
    assert device.runs() == "one"


# --- trial, starts, boot loops


def test_who_starts_too_often_without_being_confirmed_goes_back(device):
    device.install("one")
    assert device.install("two", confirm="application", starts=2) == "trial"
    waits = replace(device.settings, confirm="application", starts=2)
    assert [started(device.root, "net", waits) for _ in range(4)] == ["trial", "trial", "rolled back", "ready"]
    assert device.runs() == "one"
    assert "started 3 times" in device.slots.state().history[-1]["why"]


def test_applications_count_their_starts_too(device, monkeypatch):
    monkeypatch.setattr("edgec.runtime.slot.TOGETHER", -1.0)
    device.install("one")
    device.install("two", confirm="application", starts=2)
    for _ in range(3):
        (version, *_) = versions(device.slots.folder)
        count_start(version)
    assert device.slots.starts() == 3
    assert versions(device.slots.folder)[0].link == "previous"  # without waiting for the agent
    waits = replace(device.settings, confirm="application", starts=2)
    with pytest.raises(RolledBack, match="failed, and"):
        settle(device.root, "net", waits)
    assert device.runs() == "one"


def test_a_confirmed_version_is_not_counted(device):
    device.install("one")
    device.install("two", confirm="application")
    with device.slots.lock(0):
        device.slots.confirm()
    assert {started(device.root, "net", device.settings) for _ in range(9)} == {"ready"}
    assert device.slots.state().history[-1]["event"] == "confirmed"


def test_a_power_cut_before_the_health_command_ended_leaves_a_trial_that_is_settled_later(device, monkeypatch):
    device.install("one")
    with monkeypatch.context() as patch:
        patch.setattr(installing, "check_health", lambda slot, settings: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            device.install("two", health_command=("true",))
    asks = replace(device.settings, health_command=("true",))
    assert started(device.root, "net", asks) == "trial"
    assert settle(device.root, "net", asks).status == "installed"
    assert device.slots.state().trial is None
    assert settle(device.root, "net", asks) is None
    assert device.runs() == "two"


def test_installing_what_runs_already_changes_nothing(device):
    device.install("one")
    before = (device.slots.folder / "state.json").read_bytes()
    assert device.install("one") == "current"
    assert (device.slots.folder / "state.json").read_bytes() == before


def test_a_file_that_a_repository_has_too_gets_its_number_there(device):
    device.install("one")
    published = replace(device.slots.current().release, version=3, channel="stable", origin="tuf http://models.example")
    for release in (published, replace(published, version=None, origin="file")):
        outcome = install(device.root, device.folder / "gone", release, device.settings)
        assert (outcome.status, outcome.release, device.slots.current().release) == ("current", published, published)


def test_going_back_to_an_older_version_needs_no_copy(device):
    device.install("one")
    device.install("two")
    slot = device.slots.previous()
    (device.folder / "one.edgec").unlink()
    release = slot.release
    install(device.root, device.folder / "gone", release, device.settings, check_artifact=lambda *_: None)
    assert device.slots.current() == slot


def test_a_version_to_go_back_to_may_be_named_by_its_number(device):
    for number, content in enumerate(("one", "two", "three"), 1):
        file = device.folder / f"{content}.edgec"
        release = replace(small.write_small(file, content), version=number)
        install(device.root, file, release, replace(device.settings, keep=3), check_artifact=lambda *_: None)
    go_back(device.root, "net", device.settings, "1")
    assert device.runs() == "one"
    with pytest.raises(InputError, match="'4' names no version"):
        go_back(device.root, "net", device.settings, "4")


def test_rollback_by_hand(device):
    for content in ("one", "two", "three"):
        device.install(content, keep=3)
    left, runs = go_back(device.root, "net", device.settings, small.digest(device.folder / "one.edgec")[:10])
    assert (left.sha256, runs.sha256) == tuple(
        small.digest(device.folder / f"{each}.edgec") for each in ("three", "one")
    )
    assert device.runs() == "one"
    with pytest.raises(InputError, match="names no version"):
        go_back(device.root, "net", device.settings, "abcdefabcdef")
    with pytest.raises(InputError, match="names no version"):
        go_back(device.root, "net", device.settings, "")
    with pytest.raises(InputError, match="runs already"):
        go_back(device.root, "net", device.settings, runs.sha256)
    assert go_back(device.root, "net", device.settings)[1].sha256 == small.digest(device.folder / "two.edgec")
    with pytest.raises(InputError, match="no version of net to go back to"):
        go_back(device.root, "net", device.settings)
    assert device.runs() == "two"


# --- others at work


def test_an_application_that_holds_updates_off_keeps_its_version_and_the_new_one_is_ready(device):
    device.install("one")
    with hold_updates(device.slots.folder), pytest.raises(Busy, match="holds updates of net off") as caught:
        device.install("two")
    assert caught.value.details == {"staged": True}
    assert device.runs() == "one"
    staged = device.slots.staged().artifact.stat().st_ino
    assert device.install("two") == "installed"
    assert device.slots.current().artifact.stat().st_ino == staged  # nothing was copied again


def test_two_agents_at_once(device):
    device.install("one")

    def meanwhile(artifact, settings):
        with pytest.raises(Busy, match="Another edgec-device"):
            device.install("three")

    assert device.install("two", meanwhile) == "installed"
    assert device.runs() == "two"


def test_short_memory_is_a_matter_of_time(device, monkeypatch):
    memory = {"MemTotal": 10**9, "MemAvailable": 10**6}
    monkeypatch.setattr("edgec.runtime.agent.compatibility._meminfo", lambda: memory)
    with pytest.raises(Busy, match=r"needs 5 MB of memory, and 1 MB are free"):
        device.install("one", manifest={"memory_bytes": 5_000_000})
    assert device.slots.staged() is not None
    assert device.slots.state().failed == {}


@pytest.mark.parametrize("clock", [0.0, 4e9, 2**40])
def test_no_clock_and_a_wrong_one_do_as_well(device, monkeypatch, clock):
    shown = time.gmtime(clock)
    monkeypatch.setattr("edgec.runtime.agent.state.time.gmtime", lambda: shown)
    device.install("one")
    device.install("two")
    go_back(device.root, "net", device.settings)
    assert device.runs() == "one"


# --- killed for real

_AGENT = """
import sys
from pathlib import Path
from edgec.runtime.agent.commands import main
sys.exit(main(["install", sys.argv[1], "--unsigned", "--root", sys.argv[2], "--json"]))
"""


@pytest.mark.parametrize("after", ["selftest", "health"])
def test_a_killed_agent_leaves_what_ran_and_the_next_run_installs(cnn, tmp_path, after):
    """A real artifact; the agent is killed while a process that it started is at work."""
    root = tmp_path / "root"
    first, second = small.write_small(tmp_path / "first.edgec", "one"), cnn.path
    (root / "trust" / "keys").mkdir(parents=True)
    mark = tmp_path / "mark"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *" {after} --json") touch {mark}; exec sleep 3;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    health = f"sh -c 'touch {mark}; exec sleep 3'" if after == "health" else "true"
    (root / "device.conf").write_text(f"[device]\npython = {python}\n[health]\ncommand = {health}\n")
    install(root, tmp_path / "first.edgec", first, Settings(root), check_artifact=lambda *_: None)
    command = [sys.executable, "-c", _AGENT, second, root]
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not mark.exists():
        assert agent.poll() is None
        time.sleep(0.02)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    slots = Slots(root, "net")
    assert slots.current().release.sha256 == (release_of(second, "file") if after == "health" else first).sha256
    (root / "device.conf").write_text("[health]\ncommand = true\n")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "installed"
    assert slots.current().release.sha256 == small.digest(second)
    assert slots.previous().release.sha256 == first.sha256
    assert slots.state().trial is None
