"""Whether a device can run a release: each thing that does not fit has its own class and words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgec.runtime.agent import compatibility
from edgec.runtime.agent.compatibility import check, check_free_memory, needs_of
from edgec.runtime.device import architecture
from edgec.runtime.errors import Busy, DeviceUnfit, EngineMissing, InputError
from tests.runtime.agent import small

_NO_ENGINE = {"name": "tvm", "distribution": "", "minimum_version": ""}


def needs(**fields):
    return {
        "arch": architecture(),
        "cpu_features": [],
        "min_glibc": None,
        "memory_bytes": None,
        "format_version": 1,
        "python": "3.9",
        "engine": _NO_ENGINE,
        **fields,
    }


def engine(distribution, minimum, name="openvino"):
    return {"name": name, "distribution": distribution, "minimum_version": minimum}


@pytest.fixture
def memory(monkeypatch):
    found = {"MemTotal": 100_000_000, "MemAvailable": 30_000_000, "SwapFree": 1_000_000}
    monkeypatch.setattr(compatibility, "_meminfo", lambda: found)
    return found


def test_what_fits_fits():
    assert check(needs(), "host") == []


def test_the_needs_of_a_manifest():
    manifest = small.manifest(cpu_features=["asimd"], min_glibc="2.17", memory_bytes=5, format_version=1)
    assert needs_of(manifest) == needs(cpu_features=["asimd"], min_glibc="2.17", memory_bytes=5)


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"arch": "riscv64"}, DeviceUnfit, "is for riscv64, and this machine is"),
        ({"cpu_features": ["telepathy"]}, DeviceUnfit, "CPU lacks what the artifact relies on: telepathy"),
        ({"min_glibc": "2.99"}, DeviceUnfit, "the artifact needs 2.99"),
        ({"memory_bytes": 200_000_000}, DeviceUnfit, "needs 200 MB of memory, and this device has 100 MB"),
        ({"format_version": 2}, DeviceUnfit, "has the format version 2, and this edgec-device reads 1"),
        ({"python": "3.99"}, DeviceUnfit, "and the release needs 3.99"),
        ({"engine": engine("no-such-engine", "1.0")}, EngineMissing, "The engine openvino is not installed for"),
    ],
)
def test_each_thing_that_does_not_fit_has_its_words(memory, asked, kind, words):
    with pytest.raises(kind, match=words) as caught:
        check(needs(**asked), "rpi4-aarch64")
    assert caught.value.exit_code == (8 if kind is EngineMissing else 10)
    assert caught.value.why and caught.value.fix


def test_an_older_engine_is_told_and_left_to_the_self_test():
    (note,) = check(needs(engine=engine("numpy", "999.0")), "host")
    assert "is older than 999.0" in note
    assert check(needs(engine=engine("numpy", "1.0")), "host") == []


def test_another_package_may_run_the_same_payload(monkeypatch):
    found = compatibility._Installed((3, 9, 2), {"numpy": "1.26", "tflite-runtime": "2.14.0"})
    monkeypatch.setattr(compatibility, "_installed", lambda python, names: found)
    assert check(needs(engine=engine("ai-edge-litert", "2.1", "tflite")), "host") == []


def test_numpy_is_asked_for_before_a_download(monkeypatch):
    found = compatibility._Installed((3, 9, 2), {"tflite-runtime": "2.14.0"})
    monkeypatch.setattr(compatibility, "_installed", lambda python, names: found)
    with pytest.raises(EngineMissing, match="numpy is not installed for /opt/python3") as caught:
        check(needs(), "host", "/opt/python3")
    assert "/opt/python3 -m pip install numpy" in caught.value.fix


def test_memory_that_is_short_now_may_be_there_later(memory):
    check_free_memory(needs(memory_bytes=31_000_000))
    with pytest.raises(Busy, match="needs 32 MB of memory, and 31 MB are free"):
        check_free_memory(needs(memory_bytes=32_000_000))
    check_free_memory(needs())


def test_a_system_that_does_not_tell_its_memory_is_not_asked(memory):
    memory.clear()
    check(needs(memory_bytes=10**15), "host")
    check_free_memory(needs(memory_bytes=10**15))


def test_the_machine_s_own_memory_is_read():
    found = compatibility._meminfo()
    assert found["MemTotal"] >= found["MemAvailable"] > 0


def test_the_interpreter_that_will_run_it_is_asked(tmp_path):
    with pytest.raises(InputError, match="does not run as a Python"):
        check(needs(), "host", str(tmp_path / "python"))
    with pytest.raises(InputError, match="does not run as a Python"):
        check(needs(), "host", "/bin/true")
    version = subprocess.run([sys.executable, "-c", "import sys; print(sys.version_info[:3])"], capture_output=True)
    assert str(compatibility._installed(sys.executable, ()).python) == version.stdout.decode().strip()
