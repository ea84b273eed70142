"""Making roots: whole or not at all, once for all who want it, and whether what is there is whole."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from edgec.emulator import cores, debian, making, roots
from edgec.emulator.making import make
from edgec.emulator.recipe import RECIPES
from edgec.errors import OutputError, ToolMissing, UsageError, WorkerTimedOut
from tests.emulator.proof_model import PLACE, proof_model

SLOW_PIP = "import time, pathlib; pathlib.Path({marker!r}).touch(); time.sleep(600)"


@pytest.fixture
def whole(programs):
    """A root, made by stand-ins."""
    programs.put_all()
    return make("aarch64")


def left(folder):
    """What there is but locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_root_tells_what_is_in_it(whole):
    assert whole.arch == "aarch64"
    assert whole.versions["ai-edge-litert"] == "2.3.0"
    assert whole.packages["libc6"] == "2.36-9"
    assert (whole.path / "usr/bin/python3.11").read_bytes() == b"python"
    assert whole.bytes == sum(path.stat().st_size for path in whole.path.rglob("*") if path.is_file())
    assert roots.find("aarch64") == whole
    assert left(roots.folder()) == [roots.place("aarch64").name]


def test_what_is_there_is_not_made_again(programs, whole):
    said = []
    assert make("aarch64", say=said.append) == whole
    assert programs.count("mmdebstrap") == 1
    assert said == []


def test_nothing_is_needed_for_what_is_there(programs, whole):
    """Neither tools nor a folder that can be written: as in an image that comes with its roots."""
    for program in programs.folder.iterdir():
        program.unlink()
    for lock in roots.folder().glob(".*.lock"):
        lock.unlink()
    assert make("aarch64") == whole
    assert not list(roots.folder().glob(".*"))


def test_force_makes_it_anew(programs, whole):
    (whole.path / "usr/bin/python3.11").write_bytes(b"broken")
    assert make("aarch64", force=True) == whole
    assert (whole.path / "usr/bin/python3.11").read_bytes() == b"python"
    assert programs.count("mmdebstrap") == 2
    assert left(roots.folder()) == [roots.place("aarch64").name]


@pytest.mark.parametrize("damage", ["missing", "cut short", "linked elsewhere", "record", "record of another kind"])
def test_a_broken_root_is_told_and_not_used(whole, damage):
    program = whole.path / "usr/bin/python3.11"
    record = whole.path.parent / "root.json"
    if damage == "cut short":
        program.write_bytes(b"pyth")
    elif damage == "record":
        record.write_text(record.read_text()[:100])
    elif damage == "record of another kind":
        record.write_text("[]")
    else:
        program.unlink()
    if damage == "linked elsewhere":
        program.symlink_to(sys.executable)
    for use in (roots.find, make):
        with pytest.raises(ToolMissing) as caught:
            use("aarch64")
        assert caught.value.exit_code == 8
        assert "edgec emulator setup --force rpi4" in caught.value.fix
        assert ("root.json" if "record" in damage else "usr/bin/python3.11") in caught.value.why


def test_a_change_that_keeps_the_size_is_found_by_the_digests(whole):
    program = whole.path / "usr/bin/python3.11"
    program.write_bytes(b"Python")
    assert roots.find("aarch64") == whole
    with pytest.raises(ToolMissing, match=r"python3\.11 was changed"):
        roots.verify(whole.path.parent)


def test_a_file_that_was_added_is_found_by_the_list(whole):
    (whole.path / "usr/lib/python3.11/numpy.py").write_text("import os")
    with pytest.raises(ToolMissing, match=r"numpy\.py was added"):
        roots.verify(whole.path.parent)


def test_a_newer_edgec_makes_another_root_and_leaves_this_one(programs, whole, monkeypatch):
    recipe = RECIPES["aarch64"]
    monkeypatch.setattr(making, "RECIPES", {"aarch64": replace(recipe, packages=(*recipe.packages, "libexpat1"))})
    monkeypatch.setattr(roots, "RECIPES", making.RECIPES)
    assert roots.find("aarch64") is None
    newer = make("aarch64")
    assert newer.path != whole.path
    assert roots.verify(whole.path.parent) == whole


def test_a_tool_that_fails_leaves_nothing(programs):
    programs.put_all()
    programs.put_failing("pip", "ERROR: no network\n")
    with pytest.raises(ToolMissing):
        make("aarch64")
    assert left(roots.folder()) == []
    assert roots.find("aarch64") is None


def test_a_root_that_does_not_run_is_none(programs):
    programs.put_all()
    qemu = (programs.folder / "qemu-aarch64-static").read_text()
    broken = qemu.replace('print(\'{"python"', "sys.exit('no module named numpy'); print('{\"python\"")
    assert broken != qemu
    (programs.folder / "qemu-aarch64-static").write_text(broken)
    with pytest.raises(ToolMissing) as caught:
        make("aarch64")
    assert "does not run on a cortex-a53 by qemu-aarch64 7.2.22" in caught.value.what
    assert "no module named numpy" in caught.value.why
    assert left(roots.folder()) == []


def test_the_emulator_is_asked_for_before_anything_is_fetched(programs):
    programs.put_all()
    (programs.folder / "qemu-aarch64-static").unlink()
    with pytest.raises(ToolMissing, match="qemu-aarch64 is not installed"):
        make("aarch64")
    assert programs.count("mmdebstrap") == 0


def test_a_folder_that_can_not_be_written(programs, tmp_path, monkeypatch):
    programs.put_all()
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(tmp_path / "file" / "roots"))
    with pytest.raises(OutputError) as caught:
        make("aarch64")
    assert caught.value.exit_code == 73
    assert "EDGEC_ROOTS_DIR" in caught.value.fix


@pytest.mark.parametrize("limit", [(making, "_PROOF_SECONDS"), (cores, "_SECONDS")])
def test_an_emulator_that_hangs(programs, monkeypatch, limit):
    programs.put_all()
    what = "proof.py" if limit[0] is making else "auxv"
    slow = f"import time; any({what!r} in word for word in sys.argv) and time.sleep(600)"
    program = programs.folder / "qemu-aarch64-static"
    program.write_text(program.read_text().replace("import struct, sys", f"import struct, sys\n{slow}"))
    monkeypatch.setattr(*limit, 0.5)
    with pytest.raises(WorkerTimedOut, match="an emulated cortex-a53 did not finish"):
        make("aarch64")
    assert left(roots.folder()) == []


@pytest.mark.parametrize("variable", ["EDGEC_ROOTS_DIR", "EDGEC_CACHE_DIR"])
def test_a_folder_with_a_colon_is_refused_before_anything_is_fetched(programs, tmp_path, monkeypatch, variable):
    programs.put_all()
    monkeypatch.setenv(variable, str(tmp_path / "a:b"))
    with pytest.raises(UsageError, match="a:b"):
        make("aarch64")
    assert programs.count("mmdebstrap") == 0
    assert not (tmp_path / "a:b").exists()


def test_a_disk_that_is_full(programs, monkeypatch):
    """When it is edgec itself that has no room to write."""
    programs.put_all()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(debian, "unpack", full)
    with pytest.raises(OutputError) as caught:
        make("aarch64")
    assert caught.value.exit_code == 73
    assert "EDGEC_ROOTS_DIR" in caught.value.fix
    assert left(roots.folder()) == []


def test_the_model_that_a_root_has_to_run_is_what_its_script_makes():
    """Else: `python -m tests.emulator.proof_model`."""
    assert PLACE.read_bytes() == proof_model()


def test_a_mirror_that_is_none(programs):
    programs.put_all()
    with pytest.raises(UsageError):
        make("aarch64", "mirror.example")


def maker(programs):
    """A process that makes the root, where `programs` are all of PATH."""
    code = "from edgec.emulator import wheels; wheels._own_pip = lambda: None\n"
    code += "from edgec.emulator.making import make; make('aarch64')"
    return subprocess.Popen([sys.executable, "-c", code])


def test_killed_half_way_it_leaves_nothing_that_counts(programs, tmp_path):
    programs.put_all()
    pip = (programs.folder / "pip").read_text()
    marker = tmp_path / "fetching wheels"
    programs.put("pip", SLOW_PIP.format(marker=str(marker)))
    process = maker(programs)
    while not marker.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert roots.find("aarch64") is None
    assert any(path.name.startswith(".making-") for path in roots.folder().iterdir())
    (programs.folder / "pip").write_text(pip)
    make("aarch64")
    assert left(roots.folder()) == [roots.place("aarch64").name]


def test_of_several_at_once_one_makes_it(programs):
    programs.put_all()
    processes = [maker(programs) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert programs.count("mmdebstrap") == 1
    assert roots.verify(roots.place("aarch64")).arch == "aarch64"


def test_the_record_names_no_place_of_this_machine(whole, tmp_path):
    record = (whole.path.parent / "root.json").read_text()
    assert str(tmp_path) not in record
    assert set(json.loads(record)) == {"arch", "recipe", "suite", "versions", "packages", "files"}
    assert os.environ["EDGEC_ROOTS_DIR"] not in record
