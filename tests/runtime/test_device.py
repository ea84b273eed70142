"""What a machine says of itself, and artifacts that it can't run: told before anything native is loaded."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from edgec.runtime import device
from edgec.runtime.bundle import Bundle
from edgec.runtime.device import ARM_FEATURES, architecture, check_device, cpu_features
from edgec.runtime.errors import DeviceUnfit
from edgec.runtime.manifest import fault


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that makes this process look like one of another machine."""

    def be(name, *, bits=64, auxiliary=None, cpuinfo=None, glibc="glibc 2.31"):
        monkeypatch.setattr(platform, "machine", lambda: name)
        monkeypatch.setattr(sys, "maxsize", (1 << bits - 1) - 1)
        monkeypatch.setattr(device, "_of_auxiliary_vector", lambda bits: auxiliary)
        monkeypatch.setattr(device, "_CPUINFO", tmp_path / "cpuinfo")
        if cpuinfo is not None:
            (tmp_path / "cpuinfo").write_text(cpuinfo)

        def confstr(key):
            assert key == "CS_GNU_LIBC_VERSION"
            if glibc is None:
                raise ValueError("unrecognized configuration name")
            return glibc

        monkeypatch.setattr(device.os, "confstr", confstr)

    return be


def manifest(arch="aarch64", features=("asimd",), **more):
    return {"arch": arch, "target": "board", "cpu_features": list(features), **more}


@pytest.mark.parametrize(
    ("said", "bits", "meant"),
    [
        ("x86_64", 64, "x86_64"),
        ("AMD64", 64, "x86_64"),
        ("arm64", 64, "aarch64"),
        ("aarch64", 64, "aarch64"),
        ("aarch64", 32, "armv7l"),  # Raspberry Pi OS of 32 bits on its 64-bit kernel
        ("armv8l", 32, "armv7l"),
        ("armv7l", 32, "armv7l"),
        ("x86_64", 32, "i686"),
        ("riscv64", 64, "riscv64"),
    ],
)
def test_the_architecture_is_that_of_this_process(machine, said, bits, meant):
    machine(said, bits=bits)
    assert architecture() == meant


def test_features_are_read_from_the_auxiliary_vector(machine):
    machine("aarch64", auxiliary=frozenset({"asimd"}), cpuinfo="Features\t: fp asimd asimddp\n")
    assert cpu_features() == {"asimd"}


@pytest.mark.parametrize("auxiliary", [None, frozenset()], ids=["unreadable", "empty"])
def test_without_it_the_features_line_of_cpuinfo_counts(machine, auxiliary):
    machine("aarch64", auxiliary=auxiliary, cpuinfo="processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n")
    assert cpu_features() == {"fp", "asimd", "asimddp"}


def test_on_an_emulators_host_cpuinfo_tells_nothing_of_arm(machine):
    machine("aarch64", cpuinfo="flags\t\t: fpu avx2\n")
    assert cpu_features() is None


def test_names_of_64_bit_features_tell_nothing_to_a_32_bit_process(machine):
    machine("aarch64", bits=32, cpuinfo="Features\t: fp asimd crc32 cpuid\n")
    assert cpu_features() is None
    machine("armv7l", bits=32, cpuinfo="Features\t: half thumb neon vfpv4 idiva\n")
    assert cpu_features() == {"half", "thumb", "neon", "vfpv4", "idiva"}


def test_x86_has_its_flags_in_cpuinfo(machine):
    machine("x86_64", cpuinfo="flags\t\t: fpu avx2 avx512_vnni\n")
    assert cpu_features() == {"fpu", "avx2", "avx512_vnni"}


KERNEL = {
    "aarch64": {
        "HWCAP": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc "
        "dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg",
        "HWCAP2": "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm "
        "svebf16 i8mm bf16 dgh rng bti mte ecv afp rpres mte3 sme",
    },
    "armv7l": {
        "HWCAP": "swp half thumb 26bit fastmult fpa vfp edsp java iwmmxt crunch thumbee neon vfpv3 vfpv3d16 tls vfpv4 "
        "idiva idivt vfpd32 lpae evtstrm",
        "HWCAP2": "aes pmull sha1 sha2 crc32",
    },
}
"""Names of the bits in the order of HWCAP_* and HWCAP2_* in Linux 6.1, arch/{arm64,arm}/include/uapi/asm/hwcap.h."""


@pytest.mark.parametrize("arch", sorted(ARM_FEATURES))
def test_bits_are_the_kernels(arch):
    entries = {16: KERNEL[arch]["HWCAP"].split(), 26: KERNEL[arch]["HWCAP2"].split()}
    for name, (entry, bit) in ARM_FEATURES[arch].items():
        assert 1 << entries[entry].index(name) == bit, name


def test_an_artifact_for_another_architecture_is_refused(machine):
    machine("aarch64", bits=32, auxiliary=frozenset({"neon"}))
    with pytest.raises(DeviceUnfit) as caught:
        check_device(manifest())
    assert caught.value.exit_code == 10
    assert caught.value.what == "This artifact is for aarch64, and this machine is armv7l"


def test_a_missing_feature_is_named(machine):
    machine("aarch64", auxiliary=frozenset({"asimd", "fp"}))
    with pytest.raises(DeviceUnfit) as caught:
        check_device(manifest(features=("asimd", "asimddp", "i8mm")))
    assert caught.value.exit_code == 10
    assert caught.value.what == "This CPU lacks what the artifact relies on: asimddp, i8mm"
    assert "'board'" in caught.value.why and caught.value.fix


def test_features_that_are_not_told_are_a_remark(machine):
    machine("aarch64")
    (text,) = check_device(manifest())
    assert "does not tell which CPU features" in text


@pytest.mark.parametrize("least", ["2.17", "2.31"])
def test_a_glibc_that_is_new_enough_is_no_matter(machine, least):
    machine("aarch64", auxiliary=frozenset({"asimd"}))
    assert check_device(manifest(min_glibc=least)) == []


@pytest.mark.parametrize("least", ["2.32", "2.100", "3.0"])
def test_an_older_glibc_is_refused(machine, least):
    machine("aarch64", auxiliary=frozenset({"asimd"}))
    with pytest.raises(DeviceUnfit) as caught:
        check_device(manifest(min_glibc=least))
    assert caught.value.exit_code == 10
    assert caught.value.what == f"This system has glibc 2.31, and the artifact needs {least}"
    assert caught.value.fix


@pytest.mark.parametrize("said", [None, "", "musl 1.2"])
def test_another_c_library_is_a_remark(machine, said):
    machine("aarch64", auxiliary=frozenset({"asimd"}), glibc=said)
    (text,) = check_device(manifest(min_glibc="2.17"))
    assert "needs glibc 2.17" in text
    assert check_device(manifest()) == []


def test_no_auxiliary_vector_without_ctypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert device._of_auxiliary_vector(ARM_FEATURES["aarch64"]) is None


@pytest.mark.parametrize("version", [2.17, "2", "2.x", "", "2.17; rm", None])
def test_a_manifest_whose_glibc_is_no_version_is_malformed(cnn, version):
    whole = Bundle.open(cnn.path).manifest
    assert fault({**whole, "min_glibc": "2.17"}) is None
    assert fault({**whole, "min_glibc": version}) == "'min_glibc' is not a version"


UNFIT = """
import sys
from importlib.machinery import PathFinder

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "openvino", "ai_edge_litert", "tflite_runtime"):
            print("imported", name)
        return None

sys.meta_path.insert(0, Watch())
sys.path.insert(0, sys.argv[1])
import edgec_runtime.device
edgec_runtime.device.cpu_features = lambda: frozenset()
"""


COMMAND = (
    UNFIT
    + """
from pathlib import Path
from edgec_runtime.commands import main
sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
"""
)
LOAD = (
    UNFIT
    + """
import edgec_runtime
edgec_runtime.load(sys.argv[1])
"""
)


def _unfit(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("command", [["selftest"], ["run", "x.npy"], ["bench"]], ids=lambda command: command[0])
def test_no_command_imports_numpy_or_an_engine_on_a_machine_that_is_not_fit(cnn, command):
    done = _unfit(COMMAND, cnn.path, *command)
    assert (done.stdout, done.returncode) == ("", 10)
    assert "This CPU lacks what the artifact relies on" in done.stderr


def test_nor_does_loading_in_python(cnn):
    done = _unfit(LOAD, cnn.path)
    assert (done.stdout, done.returncode) == ("", 1)
    assert "DeviceUnfit: This CPU lacks what the artifact relies on" in done.stderr


@pytest.mark.parametrize("command", ["info", "verify"])
def test_info_and_verify_work_on_any_machine(cnn, command):
    done = _unfit(COMMAND, cnn.path, command)
    assert done.returncode == 0 and "imported" not in done.stdout
