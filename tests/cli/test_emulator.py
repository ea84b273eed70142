"""`edgec emulator`, and what `edgec doctor` says of emulators."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from edgec.emulator import roots
from tests.bundle.artifacts import cnn  # noqa: F401 (fixture)
from tests.cli.test_command_line import edgec
from tests.emulator.stand_ins import Programs

PRINTS = "import sys; print(sys.argv[1:], flush=True); sys.exit(7)"
ILLEGAL = """
import ctypes, mmap, struct
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(struct.pack("<II", 0x6E829420, 0xD65F03C0))  # udot v0.4s, v1.16b, v2.16b; ret
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
CRASHES = "import ctypes; ctypes.string_at(8)"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for the programs that fetch and emulate; roots are made in a folder of the test's own."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(tmp_path / "roots"))
    found = Programs(tmp_path / "bin")
    found.put_all()
    return found


@pytest.fixture
def artifact(tmp_path):
    """A file that Python can run, as artifacts are; its program is given."""

    def write(program):
        path = tmp_path / "model.edgec"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__main__.py", program)
        return path

    return write


def without_pip(*arguments):
    """The command line in a Python without pip, so that the one on PATH is taken."""
    code = "from edgec.emulator import wheels; wheels._own_pip = lambda: None; from edgec.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("verb", ["setup", "list", "run"])
def test_every_command_explains_itself(verb):
    result = edgec("emulator", verb, "--help")
    assert result.returncode == 0
    assert "Usage: " in result.stdout


def test_setup_makes_a_root_once_for_all_targets_of_an_architecture(programs):
    result = without_pip("emulator", "setup", "rpi4", "rpi5", "jetson-nano")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("aarch64: python 3.11.2, glibc 2.36, numpy 2.4.6, ai-edge-litert 2.3.0")
    assert result.stdout.count("\n") == 1
    assert "fetching Debian's packages for arm64" in result.stderr
    again = without_pip("emulator", "setup", "rpi3")
    assert again.stdout == result.stdout
    assert again.stderr == ""
    assert programs.count("mmdebstrap") == 1


def test_setup_tells_what_to_install(programs):
    (programs.folder / "mmdebstrap").unlink()
    result = without_pip("emulator", "setup", "rpi4")
    assert result.returncode == 8
    assert "error: mmdebstrap is not installed" in result.stderr
    assert "apt-get install mmdebstrap" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "No target is named"),
        (["host"], "host has no emulator"),
        (["rpi44"], "Did you mean 'rpi4'?"),
        (["rpi4", "--mirror", "nonsense"], "--mirror 'nonsense'"),
    ],
)
def test_setup_is_asked_for_what_is_not_there(programs, arguments, told):
    result = edgec("emulator", "setup", *arguments)
    assert result.returncode == 2
    assert told in result.stderr


def test_list_shows_what_is_missing(programs):
    result = edgec("emulator", "list")
    assert result.returncode == 0
    assert "There is no root for aarch64" in result.stdout
    assert "edgec emulator setup rpi4" in result.stdout
    assert "qemu-arm is not installed" in result.stdout
    assert "rpi2 (cortex-a7)" in result.stdout
    assert "qemu-aarch64 7.2.22 can't be a cortex-a76 (for rpi5)" in result.stdout


def test_list_shows_what_is_there_and_what_is_broken(programs):
    without_pip("emulator", "setup", "rpi4")
    listed = json.loads(edgec("emulator", "list", "--json").stdout)
    arm64, armhf = listed["architectures"]
    assert (arm64["state"], armhf["state"]) == ("ready", "missing")
    assert arm64["qemu_version"] == "7.2.22"
    assert arm64["targets"]["rpi4"] == "cortex-a72"
    assert arm64["packages"]["libc6"] == "2.36-9"

    program = roots.place("aarch64") / "files/usr/bin/python3.11"
    program.write_bytes(b"Python")  # of the same size
    assert edgec("emulator", "list").returncode == 0
    verified = edgec("emulator", "list", "--verify")
    assert verified.returncode == 8
    assert "usr/bin/python3.11 was changed" in verified.stdout
    assert "edgec emulator setup --force rpi4" in verified.stdout


def test_list_shows_roots_of_other_versions(programs):
    without_pip("emulator", "setup", "rpi4")
    here = roots.place("aarch64")
    here.rename(here.with_name("aarch64-000000000000"))
    result = edgec("emulator", "list")
    assert "aarch64-000000000000 was made by another version of edgec" in result.stdout


def test_run_passes_the_exit_code_and_warns_of_times(rpi4_machine, artifact):
    result = edgec("emulator", "run", "rpi4", artifact(PRINTS), "run", "x.npy", "--top", "3")
    assert result.returncode == 7
    assert result.stdout == "['run', 'x.npy', '--top', '3']\n"
    assert "no time that is printed is the device's" in result.stderr
    assert rpi4_machine.qemu.version in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("target", "machine"), [("rpi4", "rpi4_machine"), ("rpi2", "rpi2_machine")])
def test_run_proves_the_file_that_is_shipped(target, machine, request, digits, tmp_path):
    request.getfixturevalue(machine)
    options = [
        "--calib",
        digits.calibration,
        "--preprocess",
        digits.recipe,
        "--target",
        target,
        "--backend",
        "tflite",
        "-o",
        tmp_path,
    ]
    assert edgec("build", digits.model, *options).returncode == 0
    (artifact,) = tmp_path.glob("*.edgec")
    result = edgec("emulator", "run", target, artifact, "selftest")
    assert result.returncode == 0, result.stderr
    assert "ok, 3 samples" in result.stdout


def test_run_tells_an_illegal_instruction(rpi4_machine, artifact, tmp_path):
    result = edgec("emulator", "run", "rpi4", artifact(ILLEGAL), "selftest", cwd=tmp_path)
    assert result.returncode == 10
    assert "ended with an illegal instruction: it uses something that cortex-a72 lacks" in result.stderr
    assert [path.name for path in tmp_path.iterdir() if "core" in path.name] == []


def test_run_where_the_core_has_the_instruction(rpi5_machine, artifact):
    assert edgec("emulator", "run", "rpi5", artifact(ILLEGAL), "selftest").returncode == 0


def test_run_tells_a_crash(rpi4_machine, artifact, tmp_path):
    result = edgec("emulator", "run", "rpi4", artifact(CRASHES), "selftest", cwd=tmp_path)
    assert result.returncode == 70
    assert "Segmentation fault (signal 11)" in result.stderr


def test_run_does_not_time(rpi4_machine, artifact):
    result = edgec("emulator", "run", "rpi4", artifact(PRINTS), "bench", "--duration", "1s")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "An emulated device is not timed" in result.stderr


def test_run_without_the_file(rpi4_machine, tmp_path):
    result = edgec("emulator", "run", "rpi4", tmp_path / "no.edgec", "selftest")
    assert result.returncode == 2
    assert "There is no artifact" in result.stderr


def test_run_on_a_target_without_an_emulator(artifact):
    result = edgec("emulator", "run", "host", artifact(PRINTS), "selftest")
    assert result.returncode == 2
    assert "host has no emulator" in result.stderr


def test_run_without_a_root(programs, artifact):
    result = edgec("emulator", "run", "rpi4", artifact(PRINTS), "selftest")
    assert result.returncode == 8
    assert "edgec emulator setup rpi4" in result.stderr


def test_run_refuses_what_is_for_another_architecture(rpi4_machine, cnn):  # noqa: F811
    result = edgec("emulator", "run", "rpi4", cnn.path, "selftest")
    assert result.returncode == 10
    assert "this machine is aarch64" in result.stderr


def test_run_refuses_a_truncated_artifact(rpi4_machine, cnn, tmp_path):  # noqa: F811
    (tmp_path / "cut.edgec").write_bytes(cnn.path.read_bytes()[:-1000])
    result = edgec("emulator", "run", "rpi4", tmp_path / "cut.edgec", "selftest")
    assert result.returncode == 9
    assert "only the beginning of one" in result.stderr


def test_doctor_tells_of_emulators(programs):
    found = json.loads(edgec("doctor", "--json").stdout)
    arm64, armhf = found["emulators"]
    assert (arm64["qemu"], arm64["qemu_version"], arm64["state"]) == ("qemu-aarch64", "7.2.22", "missing")
    assert armhf["qemu_version"] is None
    text = edgec("doctor").stdout
    assert "qemu-aarch64   7.2.22, root for aarch64: missing" in text
    assert "edgec emulator setup rpi4" in text
    assert "apt-get install qemu-user-static" in text
    assert arm64["counter"] is None
    assert "instructions can't be counted" in text
    assert "apt-get install qemu-user (Debian 12" in text
    assert os.environ["EDGEC_ROOTS_DIR"] not in text
