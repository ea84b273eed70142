"""`edgec targets` and `edgec doctor` on devices: what they are, and what compiles for them."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

from edgec.cli import doctor, targets


def _said(command, *options):
    result = CliRunner().invoke(command, list(options))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.stdout


def _of(name):
    lines = _said(targets.command).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"{name} "))
    following = (index for index in range(start + 1, len(lines)) if not lines[index].startswith(" "))
    return [line.strip() for line in lines[start + 1 : next(following, len(lines))]]


def test_a_target_is_shown_with_its_core_glibc_memory_and_emulator():
    assert _of("rpi4") == [
        "aarch64: asimd",
        "core cortex-a72, glibc 2.31 or later, 1024 MiB of memory",
        "emulated by qemu-aarch64 as cortex-a72",
        "backends: tflite, openvino, tvm",
    ]


def test_what_a_target_leaves_open_is_not_shown():
    assert _of("x86-64-v3") == ["x86_64: sse4_2, avx, avx2, fma", "backends: openvino, tflite, tvm"]
    assert _of("aarch64-generic")[1] == "glibc 2.31 or later"


def test_targets_as_json_have_all_of_it():
    (rpi2,) = (each for each in json.loads(_said(targets.command, "--json")) if each["name"] == "rpi2")
    assert (rpi2["triple"], rpi2["cpu"], rpi2["min_glibc"]) == ("arm-linux-gnueabihf", "cortex-a7", "2.31")
    assert (rpi2["memory_mib"], rpi2["emulator"]) == (1024, {"qemu": "qemu-arm", "cpu": "cortex-a7"})


def test_doctor_says_which_compiler_is_taken_for_which_triple():
    compilers = json.loads(_said(doctor.command, "--json"))["compilers"]
    assert sorted(compilers) == ["aarch64-linux-gnu", "arm-linux-gnueabihf", "x86_64-linux-gnu"]
    for each in compilers.values():
        assert each["name"] == "zig" and each["glibc"] is None and not each["install"]
    assert f"zig {each['version']}, links for the glibc that a target names" in _said(doctor.command)


@pytest.fixture
def without_zig(monkeypatch, tmp_path):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else known(name))
    monkeypatch.setenv("PATH", str(tmp_path))


def test_doctor_says_how_to_get_one(without_zig):
    compilers = json.loads(_said(doctor.command, "--json"))["compilers"]
    assert compilers["arm-linux-gnueabihf"] == {
        "name": None,
        "version": None,
        "glibc": None,
        "install": "pip install 'edgec[cross]', or apt-get install gcc-arm-linux-gnueabihf (Debian, Ubuntu)",
    }
    text = _said(doctor.command)
    assert "not installed" in text and "gcc-aarch64-linux-gnu" in text
