"""Deploying over ssh to a real sshd: what boards have afterwards, whatever went wrong on the way."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgec.errors import ArtifactError, UsageError
from edgec.runners import ssh
from edgec.runtime.agent import commands
from edgec.shipping.agent_program import Program, program
from edgec.shipping.boards import agent as agent_on_board
from edgec.shipping.boards import deploy, parallel
from edgec.shipping.boards.hosts import Host, hosts_of, known_hosts, parse_host
from edgec.shipping.boards.packages import read_packages
from edgec.shipping.boards.rollback import rolling_back
from edgec.shipping.boards.status import look
from edgec.shipping.signing import keys
from tests import boards
from tests.processes import ends
from tests.shipping import small_artifacts

_PATIENCE = 30


@dataclass(frozen=True)
class Workshop:
    """Signed artifacts of one model, by what they are; and the keys. program: the agent, written once."""

    folder: Path
    program: Program

    def artifact(self, name: str) -> Path:
        return self.folder / name / "net.edgec"

    def order(self, *names: str, **how) -> deploy.Order:
        trust = [(self.folder / f"{how.pop('trust')}.pub").read_bytes()] if "trust" in how else []
        packages = read_packages([self.artifact(name) for name in names], how.get("unsigned", False))
        return deploy.Order(packages, self.program, trust, **how)

    def sha256(self, name: str) -> str:
        (package,) = read_packages([self.artifact(name)], True)
        return package.release.sha256


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Artifacts "1", "2", "3" that work, "failing" whose self-test fails, "foreign" for another machine, "engineless"
    for an engine that is not installed, "bare" without a signature, "other" signed with the key "other" and not with
    "own"."""
    folder = tmp_path_factory.mktemp("workshop")
    for name in ("own", "other"):
        keys.generate(folder / f"{name}.key", folder / f"{name}.pub")
    for name in ("1", "2", "3", "other", "bare"):
        small_artifacts.artifact(folder / name, name.encode() * 50_000)
    small_artifacts.artifact(folder / "failing", failing=True)
    foreign = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    small_artifacts.artifact(folder / "foreign", target="elsewhere", arch=foreign)
    engine = {"name": "tflite", "distribution": "no-such-engine", "minimum_version": "2.0", "options": {}}
    small_artifacts.artifact(folder / "engineless", engine=engine)
    for name in ("1", "2", "3", "failing", "foreign", "engineless"):
        small_artifacts.sign(folder / name / "net.edgec", folder / "own.key")
    small_artifacts.sign(folder / "other" / "net.edgec", folder / "other.key")
    return Workshop(folder, program())


@dataclass(frozen=True)
class Device:
    """A board with version 1 installed, and the agent. host: as it is deployed to."""

    board: boards.TestBoard
    root: Path
    workshop: Workshop

    @property
    def host(self) -> Host:
        return Host(boards.HOST, str(self.root))

    @property
    def runs(self) -> str:
        """The artifact that applications load: its name in the workshop."""
        (content,) = {(self.root / "models" / "net" / "current" / "model.edgec").read_bytes()}
        return next(
            each.name
            for each in self.workshop.folder.iterdir()
            if each.is_dir() and self.workshop.artifact(each.name).read_bytes() == content
        )

    def deploy(self, *names: str, tell=lambda step: None, **how):
        """What becomes of it."""
        return self.work(deploy.deploying(self.workshop.order(*names, **how)), tell)

    def work(self, work, tell=lambda step: None, host_keys=""):
        ((report,), _) = parallel.on_boards([self.host], work, 1, tell, host_keys)
        return report

    def configure(self, *lines: str) -> None:
        (self.root / "device.conf").write_text("\n".join(lines))

    def settles(self) -> bool:
        """Whether nothing is left of the session, as soon as sshd has noticed its end."""
        for pid in self.board.sessions():
            assert ends(pid)
        deadline = time.monotonic() + _PATIENCE
        while (left := boards.names(self.root / "incoming")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not left


@pytest.fixture(scope="session")
def with_version_1(workshop, tmp_path_factory):
    """A device's folder with version 1, to be copied."""
    root = tmp_path_factory.mktemp("version-1") / "root"
    assert commands.main(["init", "--quiet", "--root", str(root), "--trust-key", str(workshop.folder / "own.pub")]) == 0
    assert commands.main(["install", "--quiet", "--root", str(root), str(workshop.artifact("1"))]) == 0
    (root / "bin").mkdir()
    (root / "bin" / "edgec-device").write_bytes(workshop.program.content)
    (root / "incoming").mkdir()
    return root


@pytest.fixture
def root(tmp_path, with_version_1):
    shutil.copytree(with_version_1, tmp_path / "root", symlinks=True)
    return tmp_path / "root"


@pytest.fixture
def device(board, root, workshop):
    return Device(board, root, workshop)


def failure(report):
    (error,) = report.errors
    assert error.what and error.why and error.fix
    return error


# --- what works ---


def test_the_first_deployment_and_those_after_it(board, tmp_path, workshop):
    """The agent, the key, the artifact; then only what is not there yet."""
    device = Device(board, tmp_path / "new" / "root", workshop)
    steps = []
    report = device.deploy("1", trust="own", tell=steps.append)
    assert report.errors == []
    assert (report.agent["before"], report.agent["after"]) == ("", workshop.program.version)
    (model,) = report.models
    assert (model.model, model.result, model.before) == ("net", "installed", None)
    assert model.after["sha256"] == workshop.sha256("1") and model.after["origin"] == "ssh"
    assert device.runs == "1" and device.settles() and board.left() == []
    assert (device.root / "bin" / "edgec-device").read_bytes() == workshop.program.content
    (pinned,) = (device.root / "trust" / "keys").iterdir()
    assert pinned.read_bytes() == (workshop.folder / "own.pub").read_bytes()
    for path in (device.root, device.root / "models" / "net" / "a" / "model.edgec", device.root / "bin"):
        assert path.stat().st_mode & 0o044 == 0o044, "applications of other users read it"
    sending = [step for step in steps if step.total]
    assert sending[-1].done == sending[-1].total == workshop.artifact("1").stat().st_size

    (model,) = device.deploy("1").models
    assert (model.result, model.sent) == ("unchanged", 0)
    report = device.deploy("2", trust="own")
    (model,) = report.models
    assert (model.result, model.before["sha256"]) == ("installed", workshop.sha256("1"))
    assert report.agent["before"] == report.agent["after"] == workshop.program.version
    (model,) = device.deploy("1").models
    assert (model.result, model.sent) == ("installed", 0), "it is in the other slot"
    assert device.runs == "1"


def test_a_look_changes_nothing(board, tmp_path, workshop):
    device = Device(board, tmp_path / "root", workshop)
    report = device.deploy("1", trust="own", dry_run=True)
    (model,) = report.models
    assert (model.result, report.errors) == ("would be installed", [])
    assert report.device["arch"] == os.uname().machine and report.device["free_bytes"] > 0
    report = device.work(look)
    assert (report.models, report.agent["before"], report.errors) == ([], "", [])
    assert not device.root.exists() and board.left() == []


def test_going_back(device, workshop):
    assert commands.main(["install", "--quiet", "--root", str(device.root), str(workshop.artifact("2"))]) == 0
    (model,) = device.work(rolling_back(None, None)).models
    assert (model.result, model.after["sha256"], device.runs) == ("rolled back", workshop.sha256("1"), "1")
    error = failure(device.deploy("2"))
    assert "failed on board before" in error.what and error.exit_code == 6 and "--retry" in error.fix
    assert device.deploy("2", retry=True).models[0].result == "installed"
    (model,) = device.work(rolling_back("net", workshop.sha256("1")[:10])).models
    assert (model.result, device.runs) == ("rolled back", "1")


def test_going_back_to_what_is_not_there(device):
    report = device.work(rolling_back("net", "ffff"))
    assert "names no version" in failure(report).what
    assert (report.models[0].result, report.installed, device.runs) == ("failed", {}, "1")


def test_going_back_where_nothing_is(board, tmp_path, workshop):
    error = failure(Device(board, tmp_path / "root", workshop).work(rolling_back(None, None)))
    assert "nothing to roll back" in error.what and "no device agent" in error.why


# --- versions that fail there ---


def test_a_failing_health_command_takes_the_version_back(device, workshop):
    device.configure("[health]", "command = sh -c 'echo no picture >&2; exit 3'")
    report = device.deploy("2")
    (model,) = report.models
    error = failure(report)
    assert (model.result, error.exit_code, error.kind) == ("rolled back", 6, "RolledBack")
    assert "no picture" in error.why and model.after["sha256"] == workshop.sha256("1") and device.runs == "1"


def test_a_failing_self_test_keeps_the_old_version(device):
    report = device.deploy("failing")
    error = failure(report)
    assert (error.kind, error.exit_code, error.why) == ("SelftestFailed", 6, "y is too far off")
    assert report.models[0].result == "failed" and device.runs == "1" and device.settles()


def test_an_artifact_for_another_device_is_not_sent(device, workshop):
    """Unless there is one for this device, too."""
    report = device.deploy("foreign")
    (model,) = report.models
    error = failure(report)
    assert (model.result, model.sent, error.kind, error.exit_code) == ("refused", 0, "DeviceUnfit", 10)
    (model,) = device.deploy("foreign", "2", dry_run=True).models
    assert (model.result, model.artifact) == ("would be installed", workshop.artifact("2"))
    assert device.runs == "1"


def test_an_engine_that_is_missing(board, tmp_path, workshop):
    """The agent stays: it is told there in which Python the engine is."""
    device = Device(board, tmp_path / "root", workshop)
    report = device.deploy("engineless", trust="own")
    error = failure(report)
    assert (error.kind, error.exit_code, report.models[0].sent) == ("EngineMissing", 8, 0)
    assert "no-such-engine" in error.fix and "[device] python" in error.fix
    assert (device.root / "bin" / "edgec-device").read_bytes() == workshop.program.content
    assert not (device.root / "trust").exists()


# --- whom a board trusts ---


def test_what_was_changed_on_the_way_is_refused_by_the_board(another_board, root, workshop, tmp_path):
    """A `tar` there that flips a byte of each artifact."""
    (tmp_path / "bin").mkdir()
    flip = "import sys; p = sys.argv[1]; b = bytearray(open(p, 'rb').read()); b[9999] ^= 1; open(p, 'wb').write(b)"
    (tmp_path / "bin" / "tar").write_text(
        f'#!/bin/sh\n/bin/tar "$@" || exit\ncd "$4" && [ -f net.edgec ] || exit 0\n'
        f"exec python3 -c {shlex.quote(flip)} net.edgec\n"
    )
    (tmp_path / "bin" / "tar").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    device = Device(another_board(PATH=path), root, workshop)
    error = failure(device.deploy("2"))
    assert (error.kind, error.exit_code) == ("Untrusted", 9)
    assert "was changed after it was signed" in error.what and device.runs == "1" and device.settles()


def test_a_signature_of_another_file_is_refused_by_the_board(device, workshop, tmp_path):
    shutil.copytree(workshop.folder / "2", tmp_path / "2")
    shutil.copy(workshop.artifact("3").with_name("net.edgec.dsse.json"), tmp_path / "2")
    order = workshop.order("3")
    (package,) = read_packages([tmp_path / "2" / "net.edgec"], False)
    error = failure(device.work(deploy.deploying(replace(order, packages=[package]))))
    assert "The signature is of another file" in error.what and device.runs == "1"


def test_a_key_that_the_board_does_not_trust(device):
    report = device.deploy("other")
    error = failure(report)
    assert "signed by nobody whom board trusts" in error.what and error.exit_code == 9
    assert report.models[0].result == "not begun" and report.models[0].sent == 0


def test_keys_that_were_pinned_are_not_replaced_unasked(device, workshop):
    pinned = device.root / "trust" / "keys"
    error = failure(device.deploy("other", trust="other"))
    assert "trusts other keys" in error.what and "--replace-trust" in error.fix
    assert [each.read_bytes() for each in pinned.iterdir()] == [(workshop.folder / "own.pub").read_bytes()]
    assert device.deploy("other", trust="other", replace_trust=True).errors == []
    assert [each.read_bytes() for each in pinned.iterdir()] == [(workshop.folder / "other.pub").read_bytes()]
    assert device.runs == "other"


def test_artifacts_without_a_signature(board, tmp_path, workshop):
    with pytest.raises(ArtifactError, match="is not signed") as caught:
        workshop.order("bare")
    assert "edgec sign" in caught.value.fix and "--unsigned" in caught.value.fix
    device = Device(board, tmp_path / "root", workshop)
    assert "trusts no key yet" in failure(device.deploy("1")).what
    assert not (device.root / "bin").exists()
    assert device.deploy("bare", unsigned=True).models[0].result == "installed"


def test_a_board_that_trusts_keys_takes_signed_artifacts_only(device):
    error = failure(device.deploy("bare", unsigned=True))
    assert "takes signed artifacts only" in error.what and device.runs == "1"


# --- hosts ---


def test_a_host_whose_key_is_not_known(device):
    """Also where the user's configuration would let ssh take it."""
    (device.board.folder / "known").write_text("")
    device.board.configure("StrictHostKeyChecking no")
    error = failure(device.deploy("2"))
    assert "The key of board is not known" in error.what and device.runs == "1"
    assert (device.board.folder / "known").read_text() == "", "it is not taken for known from now on"


def test_a_host_with_another_key(device):
    known = device.board.folder / "known"
    known.write_text(known.read_text().split()[0] + " " + (device.board.folder / "user.pub").read_text())
    assert "is not the one that is known" in failure(device.deploy("2")).what


def test_keys_of_hosts_from_a_file(device, tmp_path):
    right = known_hosts(device.board.folder / "host.pub")
    wrong = known_hosts(device.board.folder / "user.pub")
    as_known = (device.board.folder / "known").read_text()
    assert known_hosts(device.board.folder / "known") == as_known
    (device.board.folder / "known").write_text("")
    report = device.work(look, host_keys=right)
    assert [model.result for model in report.models] == ["runs"] and report.errors == []
    assert report.installed["net"]["current"]["sha256"] == device.workshop.sha256("1")
    assert "is not the one that is known" in failure(device.work(look, host_keys=wrong)).what
    (tmp_path / "nothing").write_text("hello\n")
    with pytest.raises(UsageError, match="holds no keys of hosts"):
        known_hosts(tmp_path / "nothing")


def test_several_boards_of_which_one_is_down(another_board, root, workshop, tmp_path):
    first = another_board(PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    shutil.copytree(root, tmp_path / "second", symlinks=True)
    lines = (first.folder / "config").read_text().replace(f"Host {boards.HOST}\n", "Host second\n")
    down = "Host down\n  HostName 127.0.0.1\n  Port 1\n"
    with (first.folder / "config").open("a") as file:
        file.write(f"{lines}{down}")
    hosts = [Host("down"), Host(boards.HOST, str(root)), Host("second", str(tmp_path / "second"))]
    reports, interrupted = parallel.on_boards(hosts, deploy.deploying(workshop.order("1")), 2, lambda step: None)
    assert [report.host for report in reports] == hosts and not interrupted
    assert "down can't be reached" in failure(reports[0]).what
    assert [model.result for report in reports[1:] for model in report.models] == ["unchanged", "unchanged"]
    assert parallel.exit_code(reports) == 10
    assert parallel.exit_code(reports[1:]) == 0


def test_two_deployments_at_once(device, workshop):
    """One waits for the other; where that takes too long it says so. What runs is one of the two."""
    device.configure("[limits]", "lock_wait = 0.1s", "[health]", "command = sleep 0.3")
    reports = {}
    threads = [
        threading.Thread(target=lambda name=name: reports.update({name: device.deploy(name)})) for name in ("2", "3")
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    done = [name for name, report in reports.items() if not report.errors]
    assert done and device.runs in done
    assert all(failure(report).kind == "Busy" for name, report in reports.items() if name not in done)


def test_an_agent_that_is_at_work(device):
    device.configure("[limits]", "lock_wait = 0.1s")
    with (device.root / "models" / "net" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = device.deploy("2")
    error = failure(report)
    assert (error.kind, error.exit_code, report.models[0].result) == ("Busy", 75, "failed")
    assert device.runs == "1"


# --- what breaks on the way ---


def cut(board) -> None:
    for session in board.sessions():
        os.kill(session, signal.SIGKILL)


def test_a_connection_that_breaks_while_an_artifact_is_sent(device):
    def tell(step):
        if step.total and step.done:
            cut(device.board)

    report = device.deploy("2", tell=tell)
    assert "connection to board was lost" in failure(report).what, str(failure(report))
    assert report.models[0].result == "connection lost"
    assert device.runs == "1" and device.settles()


def test_a_connection_that_breaks_while_a_version_is_on_trial(device, tmp_path):
    """The board brings it to an end by itself."""
    device.configure(
        "[health]", f"command = sh -c 'touch {tmp_path}/asked; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done'"
    )

    def cut_then() -> None:
        wait_for(tmp_path / "asked")
        cut(device.board)

    thread = threading.Thread(target=cut_then)
    thread.start()
    report = device.deploy("2")
    thread.join()
    assert report.models[0].result == "connection lost"
    (tmp_path / "go").touch()
    state = device.root / "models" / "net" / "state.json"
    deadline = time.monotonic() + _PATIENCE
    while json.loads(state.read_text())["trial"] is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(state.read_text())["trial"] is None and device.runs == "2" and device.settles()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c(device, monkeypatch, workshop):
    sending = threading.Event()
    waited = []

    def wait(futures):
        if not waited:
            waited.append(sending.wait(_PATIENCE))
            raise KeyboardInterrupt
        for each in futures:
            each.result()

    def tell(step):
        if step.total:
            sending.set()
            time.sleep(0.2)

    monkeypatch.setattr(parallel, "wait", wait)
    hosts = [device.host, Host("never")]
    (first, never), interrupted = parallel.on_boards(hosts, deploy.deploying(workshop.order("2")), 1, tell)
    assert interrupted and first.models[0].result in ("interrupted", "installed")
    assert "Interrupted" in failure(never).what and "--status" in failure(never).fix
    assert device.settles()


def test_no_room(device, monkeypatch):
    monkeypatch.setattr(deploy, "_MARGIN", 1 << 60)
    report = device.deploy("2")
    error = failure(report)
    assert "has no room" in error.what and error.exit_code == 73
    assert report.models[0].sent == 0 and device.runs == "1"


def test_a_disk_that_is_full_in_the_middle(another_board, root, workshop, tmp_path):
    """A `tar` there for which 20 KB are too much."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "tar").write_text(
        "#!/bin/sh\nhead -c 20000 >$4/part\n"
        '[ "$(wc -c <$4/part)" -lt 20000 ] || { cat >/dev/null; echo "tar: No space left on device" >&2; exit 2; }\n'
        'exec /bin/tar "$@" <$4/part\n'
    )
    (folder / "tar").chmod(0o755)
    device = Device(another_board(PATH=f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin"), root, workshop)
    report = device.deploy("2")
    assert "disk of board is full" in failure(report).what
    assert report.models[0].result == "failed" and device.runs == "1" and device.settles()


def test_folders_that_can_not_be_written(board, tmp_path, workshop):
    (tmp_path / "file").touch()
    error = failure(Device(board, tmp_path / "file" / "root", workshop).deploy("1", trust="own"))
    assert "There is no folder for the device agent" in error.what and "sudo install -d" in error.fix
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "bin").touch()
    error = failure(Device(board, tmp_path / "root", workshop).deploy("1", trust="own"))
    assert f"can't be written to {tmp_path}/root/bin on board" in error.what and error.exit_code == 10


# --- boards and their agents ---


def fake_python(folder: Path, script: str) -> Path:
    folder.mkdir()
    (folder / "python3").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "python3").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("""echo '{"python": [3, 8, 10], "agent": null}'""", "Python on board is 3.8.10"),
        ("echo broken >&2; exit 1", "python3 on board does not run"),
    ],
)
def test_a_board_whose_python_does_not_do(another_board, tmp_path, workshop, script, what):
    board = another_board(PATH=f"{fake_python(tmp_path / 'bin', script)}:/usr/bin:/bin")
    assert what in failure(Device(board, tmp_path / "root", workshop).deploy("1", trust="own")).what


def test_a_board_without_python(another_board, tmp_path, workshop):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "bash", "mktemp", "df", "tail", "tar", "cat", "rm", "chmod", "uname", "readlink", "mkdir"):
        (folder / name).symlink_to(shutil.which(name))
    device = Device(another_board(PATH=folder), tmp_path / "root", workshop)
    error = failure(device.deploy("1", trust="own"))
    assert "There is no python3" in error.what and "apt-get install python3" in error.fix


@pytest.mark.parametrize(
    ("version", "sha256", "sent"),
    [
        ("", "", True),
        ("0.0.9", "another", True),
        ("the same", "another", True),
        ("the same", "the same", False),
        ("99.0", "another", False),
    ],
)
def test_which_agents_are_replaced(workshop, version, sha256, sent):
    own = workshop.program
    version = own.version if version == "the same" else version
    had = agent_on_board.Had(version, own.sha256 if sha256 == "the same" else sha256, "3.11.2")
    board = ssh.Board("board", (), None, "/folder", 0, None, "/root")
    assert agent_on_board.AgentOnBoard(board, had).needs(own) == sent


def test_what_a_power_cut_left_is_put_in_order(device, workshop):
    """Half an agent, and files of a session that nobody ended."""
    (device.root / "bin" / "edgec-device").write_bytes(workshop.program.content[:5000])
    left = device.root / "incoming" / "edgec.AAAAAAAA"
    left.mkdir()
    (left / ".keeper").write_text("4194305\n")  # above every process's number
    (left / "net.edgec").write_bytes(b"half")
    report = device.deploy("1")
    assert (report.agent["before"], report.models[0].result) == ("", "unchanged")
    assert (device.root / "bin" / "edgec-device").read_bytes() == workshop.program.content
    assert not left.exists() and device.settles()


@pytest.mark.parametrize(
    ("path", "taken", "name"),
    [
        ("dist/net.edgec", [], "net.edgec"),
        ("other/net.edgec", ["x", "net.edgec"], "2-net.edgec"),
        ("-rf $(id);.edgec", [], "rf___id__.edgec"),
        ("...", ["x"], "1-"),
    ],
)
def test_names_of_files_on_boards(path, taken, name):
    assert agent_on_board.plain_name(Path(path), taken) == name


# --- names of hosts ---


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("board", Host("board")),
        ("pi@board", Host("pi@board")),
        ("ssh://pi@board", Host("pi@board")),
        ("ssh://pi@board:2222", Host("ssh://pi@board:2222")),
        ("ssh://board/", Host("board")),
        ("ssh://board/srv/edgec", Host("board", "/srv/edgec")),
        ("ssh://board:22/~/edgec/", Host("ssh://board:22", "~/edgec")),
    ],
)
def test_names_of_hosts(text, host):
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text", ["board:22", "pi@board:/srv", "ssh://board/a b", "ssh://board/a/../b", "ssh://-o/x", ""]
)
def test_what_names_no_host(text):
    with pytest.raises(UsageError) as caught:
        parse_host(text)
    assert caught.value.what and caught.value.why and caught.value.fix


def test_hosts_from_a_file(tmp_path):
    (tmp_path / "hosts").write_text("# the hall\npi@a\n\nssh://b:2222/srv/x  # the door\n")
    assert hosts_of(["c"], tmp_path / "hosts") == [Host("c"), Host("pi@a"), Host("ssh://b:2222", "/srv/x")]
    with pytest.raises(UsageError, match="is named twice"):
        hosts_of(["pi@a"], tmp_path / "hosts")
    with pytest.raises(UsageError, match="No board is named"):
        hosts_of([], None)
    with pytest.raises(UsageError, match="can't be read"):
        hosts_of([], tmp_path / "nothing")
