"""`edgec-device`, as its user has it: exit codes, one JSON document, words for each way to be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from edgec.runtime.agent import compatibility
from edgec.runtime.agent.commands import VERBS, main
from edgec.runtime.agent.install import check_artifact as real_check
from edgec.runtime.agent.settings import read_settings
from edgec.runtime.agent.slots import Slots
from edgec.runtime.errors import InputError
from tests.runtime.agent import small

_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A device's folder, and two small artifacts beside it whose own checks pass without being run."""
    monkeypatch.setenv("EDGEC_DEVICE_DIR", str(tmp_path / "root"))
    monkeypatch.setattr(
        compatibility, "_installed", lambda python, names: compatibility._Installed((3, 11, 7), {"numpy": "2"})
    )
    monkeypatch.setattr("edgec.runtime.agent.health.children.run", lambda *_: type("Ended", (), {"code": 0})())
    for content in ("one", "two"):
        small.write_small(tmp_path / f"{content}.edgec", content)
    return tmp_path


def test_the_stand_in_is_for_the_checks_that_install_makes():
    assert real_check.__module__ == "edgec.runtime.agent.health"


def run(capsys, *words):
    """Exit code and document."""
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def text(capsys, *words):
    assert main([*map(str, words)]) == 0
    return capsys.readouterr().out


def test_every_command_has_help_and_takes_json(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        out = capsys.readouterr().out
        assert "--json" in out and "--root" in out


def test_a_folder_that_init_did_not_make_is_none(capsys, device):
    for words in (
        ["status"],
        ["install", device / "one.edgec"],
        ["boot"],
        ["log"],
        ["confirm"],
        ["rollback"],
        ["prune"],
    ):
        code, document = run(capsys, *words)
        assert (code, document["error"]["kind"]) == (2, "InputError")
        assert "edgec-device init" in document["error"]["fix"]
    assert not (device / "root").exists()


def test_from_init_to_rollback(capsys, device):
    assert run(capsys, "init", "--target", "host", "--keep", "3")[1]["written"] == ["device.conf"]
    code, document = run(capsys, "install", device / "one.edgec", "--unsigned")
    assert (code, document["status"], document["before"]) == (0, "installed", None)
    assert run(capsys, "install", device / "two.edgec", "--unsigned")[1]["before"]["sha256"] == small.digest(
        device / "one.edgec"
    )
    _, status = run(capsys, "status")
    assert status["models"]["net"]["current"]["sha256"] == small.digest(device / "two.edgec")
    assert status["models"]["net"]["previous"]["sha256"] == small.digest(device / "one.edgec")
    code, document = run(capsys, "rollback", "net")
    assert (code, document["release"]["sha256"]) == (0, small.digest(device / "one.edgec"))
    code, document = run(capsys, "install", device / "two.edgec", "--unsigned")
    assert (code, document["error"]["why"]) == (6, "Taken back by hand.")
    assert run(capsys, "install", device / "two.edgec", "--unsigned", "--retry")[0] == 0
    events = [line["event"] for line in run(capsys, "log", "net")[1]["models"]["net"]]
    assert events == ["switched", "confirmed", "switched", "confirmed", "rolled back", "switched", "confirmed"]


def test_what_a_person_reads(capsys, device):
    assert "trusts nobody yet" in text(capsys, "init", "--target", "host")
    one, two = (small.digest(device / f"{each}.edgec")[:12] for each in ("one", "two"))
    assert text(capsys, "install", device / "one.edgec", "--unsigned") == f"net {one}: runs now\n"
    text(capsys, "install", device / "two.edgec", "--unsigned")
    shown = text(capsys, "status")
    assert f"  a  {one}  0.00 MB  to go back to\n  b  {two}  0.00 MB  runs\n" in shown
    text(capsys, "rollback")
    assert f"b  {two}  0.00 MB  failed: Taken back by hand." in text(capsys, "status")
    assert text(capsys, "boot") == "net: ready\n"
    assert text(capsys, "prune") == "0.0 MB removed\n"
    assert "rolled back" in text(capsys, "log")


def test_the_application_confirms_where_it_is_to(capsys, device):
    run(capsys, "init", "--confirm", "application", "--starts", "2")
    assert "on trial until `edgec-device confirm net`" in text(capsys, "install", device / "one.edgec", "--unsigned")
    assert "on trial: 0 of 2 starts" in text(capsys, "status")
    assert run(capsys, "boot")[1]["models"] == {"net": "trial"}
    assert run(capsys, "confirm", "--if-healthy")[0] == 2
    assert run(capsys, "confirm")[1]["status"] == "confirmed"
    assert run(capsys, "status")[1]["models"]["net"]["trial"] is None


def test_boot_looks_after_every_model_before_it_fails(capsys, device):
    run(capsys, "init")
    for name in ("aaa", "net", "zzz"):
        small.write_small(device / "a.edgec", name, name=name)
        assert run(capsys, "install", device / "a.edgec", "--unsigned")[0] == 0
    (device / "root" / "models" / "net" / "state.json").write_text('{"schema": 99}')
    code, document = run(capsys, "boot")
    assert (code, document["models"]) == (10, {"aaa": "ready", "net": "failed", "zzz": "ready"})


def test_boot_does_not_wait_for_an_agent_that_waits_for_the_application(capsys, device):
    """A health command that restarts the application, whose unit calls `boot`."""
    run(capsys, "init")
    run(capsys, "install", device / "one.edgec", "--unsigned")
    with Slots(device / "root", "net").lock(0):
        assert run(capsys, "boot") == (0, {"status": "ok", "models": {"net": "busy"}})


# --- who is trusted


def test_without_a_key_nothing_is_installed_unless_that_is_said(capsys, device):
    run(capsys, "init")
    code, document = run(capsys, "install", device / "one.edgec")
    assert (code, document["error"]["kind"]) == (9, "Untrusted")
    assert "does not know whom to trust" in document["error"]["what"]


def test_with_a_key_nothing_unsigned_is_installed(capsys, device):
    (device / "fleet.pub").write_text(_KEY)
    assert run(capsys, "init", "--trust-key", device / "fleet.pub")[1]["written"] == [
        "trust/keys/fleet.pub",
        "device.conf",
    ]
    code, document = run(capsys, "install", device / "one.edgec", "--unsigned")
    assert (code, document["error"]["what"]) == (9, "This device takes signed artifacts only")
    code, document = run(capsys, "install", device / "one.edgec")
    assert (code, document["error"]["what"]) == (9, "one.edgec is not signed")
    assert Slots(device / "root", "net").current() is None


def test_init_keeps_what_is_there_and_adds_keys(capsys, device):
    run(capsys, "init", "--target", "host")
    before = (device / "root" / "device.conf").read_bytes()
    code, document = run(capsys, "init", "--target", "rpi4-aarch64")
    assert (code, document["error"]["kind"]) == (2, "InputError")
    (device / "fleet.pub").write_text(_KEY)
    assert run(capsys, "init", "--trust-key", device / "fleet.pub")[1]["written"] == ["trust/keys/fleet.pub"]
    assert (device / "root" / "device.conf").read_bytes() == before
    assert run(capsys, "init", "--target", "rpi4-aarch64", "--replace")[0] == 0
    assert read_settings(device / "root").target == "rpi4-aarch64"


def test_what_no_flag_names_is_kept_when_the_configuration_is_changed(capsys, device):
    run(capsys, "init", "--target", "host", "--id", "camera-1", "--url", "https://models.example/fleet")
    place = device / "root" / "device.conf"
    place.write_text(place.read_text().replace("# selftest = 10m", "selftest = 20m"))
    assert run(capsys, "init", "--replace", "--keep", "3", "--url", "https://models.example/b")[0] == 0
    settings = read_settings(device / "root")
    assert (settings.target, settings.id, settings.keep) == ("host", "camera-1", 3)
    assert (settings.repository, settings.selftest_timeout) == ("https://models.example/b", 1200.0)
    (device / "root.json").write_text(json.dumps({"signed": {"_type": "root"}, "signatures": []}))
    assert run(capsys, "init", "--replace", "--trust-root", device / "root.json")[1]["written"] == ["trust/root.json"]
    assert read_settings(device / "root") == settings


def test_another_root_of_trust_is_not_taken_by_accident(capsys, device):
    for name in ("root.json", "other.json"):
        (device / name).write_text(
            json.dumps({"signed": {"_type": "root", "version": 1, "name": name}, "signatures": []})
        )
    assert run(capsys, "init", "--trust-root", device / "root.json")[0] == 0
    (device / "root" / "metadata" / "timestamp.json").write_text("{}")
    code, document = run(capsys, "init", "--trust-root", device / "other.json")
    assert (code, "is another one" in document["error"]["what"]) == (2, True)
    assert run(capsys, "init", "--trust-root", device / "other.json", "--replace")[0] == 0
    assert not list((device / "root" / "metadata").iterdir())
    (device / "timestamp.json").write_text(json.dumps({"signed": {"_type": "timestamp"}}))
    code, document = run(capsys, "init", "--trust-root", device / "timestamp.json", "--replace")
    assert (code, document["error"]["what"].endswith("metadata of the role 'timestamp'")) == (2, True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--keep", "1"], "no number from 2 to 26"),
        (["--health-timeout", "soon"], "is not a duration"),
        (["--health-command", "sh -c 'x"], "can't be understood"),
        (["--confirm", "nobody"], "is not known"),
        (["--id", "../x"], "is no name for a device"),
        (["--target", "a\nkeep = 9"], "holds a line break"),
    ],
)
def test_init_refuses_what_can_not_be(capsys, device, flags, words):
    code, document = run(capsys, "init", *flags)
    assert (code, words in document["error"]["what"]) == (2, True)
    assert not (device / "root").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("target = host", "can't be understood"),
        ("[device]\nspeed = 9", "a key 'speed' in [device]"),
        ("[devise]\ntarget = host", "a section [devise]"),
        ("[device]\nkeep = two", "no number"),
        ("[device]\ntarget = a\ntarget = b", "can't be understood"),
    ],
)
def test_a_configuration_with_a_slip_is_refused(capsys, device, content, words):
    run(capsys, "init")
    (device / "root" / "device.conf").write_text(content)
    code, document = run(capsys, "status")
    assert (code, words in document["error"]["what"]) == (2, True)


def test_the_id_is_the_machine_s_and_does_not_tell_it(tmp_path, monkeypatch):
    machine = tmp_path / "machine-id"
    monkeypatch.setattr("edgec.runtime.agent.settings._MACHINE_ID", machine)
    assert read_settings(tmp_path).id == ""
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    name = read_settings(tmp_path).id
    assert len(name) == 32 and "0123456789" not in name
    machine.write_text("0123456789abcdef0123456789abcdee\n")
    assert read_settings(tmp_path).id != name


def test_a_device_without_a_machine_id_is_given_one(capsys, device, monkeypatch):
    monkeypatch.setattr("edgec.runtime.agent.settings._MACHINE_ID", device / "none")
    first = run(capsys, "init")[1]["id"]
    assert len(first) == 32
    assert read_settings(device / "root").id == first


# --- hold


def test_hold_runs_a_command_while_no_version_can_be_switched(capsys, device):
    run(capsys, "init")
    run(capsys, "install", device / "one.edgec", "--unsigned")
    code = "from edgec.runtime.agent.slots import Slots; from pathlib import Path; import sys;"
    code += "print(Slots(Path(sys.argv[1]), 'net').in_use())"
    command = [sys.executable, "-m", "edgec.runtime.agent", "hold", "--", sys.executable, "-c", code, device / "root"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert not Slots(device / "root", "net").in_use()


def test_hold_ends_as_its_command_does(device, capsys):
    run(capsys, "init")
    command = [sys.executable, "-m", "edgec.runtime.agent", "hold", "--", "sh", "-c", "exit 7"]
    assert subprocess.run(command, check=False).returncode == 7
    assert main(["hold", "--json", "--"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["what"] == "No command was given"


def test_under_systemd_lines_have_the_journal_s_priorities(capsys, device, monkeypatch):
    run(capsys, "init")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    main(["install", str(device / "one.edgec"), "--unsigned"])
    lines = capsys.readouterr().err.splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<6>"]
    main(["install", str(device / "two.edgec"), "--unsigned", "--quiet"])
    assert capsys.readouterr().err == ""


def test_a_folder_that_may_not_be_read_is_said_to_be(capsys, device, monkeypatch):
    run(capsys, "init")

    def denied(*_):
        raise PermissionError(13, "Permission denied", "/srv/x")

    monkeypatch.setattr("edgec.runtime.agent.verbs.status.models_of", denied)
    code, document = run(capsys, "status")
    assert (code, document["error"]["what"]) == (73, "/srv/x can't be read")


def test_settings_without_a_file_are_the_defaults(tmp_path):
    settings = read_settings(tmp_path)
    assert (settings.keep, settings.confirm, settings.health_command) == (2, "health", ())
    (tmp_path / "device.conf").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not text"):
        read_settings(tmp_path)
