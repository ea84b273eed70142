"""The device agent as one file: what is in it, and that it needs nothing but Python."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile

import pytest

from edgec.errors import ToolMissing
from edgec.shipping import agent_program
from edgec.version import __version__
from tests.shipping import small_artifacts

_BARE = (sys.executable, "-I", "-S")  # no installed packages, no paths of this environment


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program, written once."""
    place = tmp_path_factory.mktemp("program") / agent_program.NAME
    place.write_bytes(agent_program.program().content)
    return place


def names(program):
    with zipfile.ZipFile(program) as archive:
        return archive.namelist()


def test_the_same_bytes_each_time(program):
    assert agent_program.program().content == program.read_bytes()
    assert len(program.read_bytes()) < 400_000


def test_every_module_in_it_finds_what_it_imports(program):
    """Without any package: what was left out is missed by nothing that is in it."""
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names(program)
        if name.endswith(".py") and not name.endswith("__main__.py")
    ]
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "assert 'cryptography' not in sys.modules and 'numpy' not in sys.modules"
    )
    needing_cryptography = {"securesystemslib.signer._crypto_utils"}  # asked for only after it was found
    tried = sorted(set(modules) - needing_cryptography)
    assert "edgec_runtime.agent.verbs.install" in tried and "tuf.ngclient.updater" in tried
    done = subprocess.run([*_BARE, "-c", code, str(program), *tried], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_no_device_needs_is_left_out(program):
    inside = names(program)
    assert not [name for name in inside if name.endswith("o_signer.py") or "_gpg" in name or "/contrib/" in name]
    assert not [name for name in inside if name.startswith("edgec_runtime/engines/") or name.endswith("bench.py")]
    assert {name.split("/")[0] for name in inside} == {
        "__main__.py", "edgec_runtime", "licences", "securesystemslib", "tuf", "urllib3",
    }  # fmt: skip


def test_licences_are_in_it(program):
    with zipfile.ZipFile(program) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if name.startswith("licences/")}
    assert {name.split("/")[1] for name in texts} == {"edgec", "securesystemslib", "tuf", "urllib3"}
    assert "licences/securesystemslib/ed25519/LICENSE" in texts, "what it holds copies of has a licence, too"
    assert all("licen" in text.lower() or "CC0" in text for text in texts.values())


def test_it_runs_by_itself_and_tells_its_version(program):
    program.chmod(0o755)
    done = subprocess.run([*_BARE, str(program), "--version"], capture_output=True, text=True)
    assert done.stdout == f"edgec-device {__version__}\n"
    assert program.read_bytes().startswith(b"#!/usr/bin/env python3\n")


def test_it_verifies_and_installs_where_cryptography_is_missing(program, tmp_path):
    """Ed25519 in pure Python: a good signature is taken, one byte more is not."""
    small_artifacts.keys.generate(tmp_path / "a.key", tmp_path / "a.pub")
    artifact = small_artifacts.sign(small_artifacts.artifact(tmp_path / "1"), tmp_path / "a.key")

    def run(*words):
        done = subprocess.run(
            [*_BARE, str(program), words[0], "--root", str(tmp_path / "root"), "--json", *words[1:]],
            capture_output=True,
            text=True,
        )
        return done.returncode, json.loads(done.stdout)

    assert run("init", "--trust-key", str(tmp_path / "a.pub"))[0] == 0
    assert run("install", str(artifact))[1]["status"] == "installed"
    envelope = artifact.with_name("net.edgec.dsse.json")
    document = json.loads(envelope.read_text())
    document["payload"] = "A" + document["payload"][1:]
    envelope.write_text(json.dumps(document))
    code, told = run("install", str(artifact))
    assert (code, told["error"]["kind"]) == (9, "Untrusted")
    assert "changed after it was signed" in told["error"]["what"]


def test_an_old_python_gets_a_plain_message(monkeypatch):
    """The program's first module is read by Pythons that know nothing of what comes after it."""
    tree = ast.parse(agent_program._MAIN, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    said = io.StringIO()
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    monkeypatch.setattr(sys, "version", "3.8.18 (main)")
    monkeypatch.setattr(sys, "stderr", said)
    with pytest.raises(SystemExit) as ended:
        exec(agent_program._MAIN, {})
    assert ended.value.code == 10
    assert said.getvalue() == "error: the device agent needs Python 3.9 or later, and this is 3.8.18\n"


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(agent_program, "_LEFT_OUT", {"no-such-library": ()})
    with pytest.raises(ToolMissing, match="no-such-library is not installed") as caught:
        agent_program.program()
    assert "edgec[ship]" in caught.value.fix
