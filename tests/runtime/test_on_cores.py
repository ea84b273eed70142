"""One and the same file on emulated cores: it runs where its needs are met, and says what is missing elsewhere.

What these cores really do is the measure: an instruction that a core lacks ends a program there, and the features that
edgec reads, of devices and of machine code, tell it beforehand.
"""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from edgec.bundle.write import runtime_sources, write_bundle
from edgec.elf.reading import read
from edgec.errors import DeviceError
from edgec.fit import Fit, require_fit
from edgec.runtime.bundle import Bundle
from tests.compiled import DOT, library, target

FEATURES = """
import json
from edgec_runtime import device
print(json.dumps([device.architecture(), sorted(device.cpu_features()), device.glibc()]))
"""


@pytest.fixture
def machines(rpi3_machine, rpi4_machine, rpi5_machine):
    """Cores of three generations; only the last one has dot products."""
    return {machine.core: machine for machine in (rpi3_machine, rpi4_machine, rpi5_machine)}


@pytest.fixture
def runtime_path(tmp_path):
    """A folder with the runtime, as artifacts carry it."""
    for name, source in runtime_sources().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(source)
    return tmp_path


def _run(machine, arguments, path=(), **options):
    command, environment = machine.python(list(map(str, arguments)), path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, **options)


@pytest.fixture
def built(digits_for_rpi5):
    return digits_for_rpi5


@pytest.mark.parametrize("command", ["selftest", "bench"])
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a72"])
def test_an_artifact_that_relies_on_dot_products_says_so_on_cores_without_them(machines, built, core, command):
    done = _run(machines[core], [built, command, "--json"])
    assert done.returncode == 10, done.stderr
    assert "asimddp" in json.loads(done.stdout)["error"]["what"]


def test_the_same_artifact_tests_itself_on_a_core_with_them(machines, built):
    done = _run(machines["cortex-a76"], [built, "selftest", "--json"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a72", "cortex-a76"])
def test_an_artifact_that_relies_on_no_more_than_all_of_them_have_runs_on_all(machines, built, tmp_path, core):
    path = _changed(built, tmp_path, target="rpi3", cpu_features=["asimd"])
    done = _run(machines[core], [path, "selftest"])
    assert done.returncode == 0, done.stderr


def test_an_artifact_that_needs_a_newer_glibc_than_the_systems_says_so(machines, built, tmp_path):
    machine = machines["cortex-a76"]
    here = machine.root.versions["glibc"].partition("-")[0]
    assert _run(machine, [_changed(built, tmp_path, min_glibc=here), "verify"]).returncode == 0
    assert _run(machine, [_changed(built, tmp_path, min_glibc=here), "selftest"]).returncode == 0
    done = _run(machine, [_changed(built, tmp_path, min_glibc="2.99"), "selftest"])
    assert done.returncode == 10
    assert f"This system has glibc {here}, and the artifact needs 2.99" in done.stderr


def test_a_device_of_another_architecture_says_so(rpi2_machine, built):
    done = _run(rpi2_machine, [built, "selftest"])
    assert done.returncode == 10
    assert "This artifact is for aarch64, and this machine is armv7l" in done.stderr


def test_a_core_tells_its_features(machines, rpi2_machine, runtime_path):
    told = {}
    for core, machine in {**machines, "cortex-a7": rpi2_machine}.items():
        arch, features, glibc = json.loads(_run(machine, ["-c", FEATURES], [str(runtime_path)]).stdout)
        assert (arch, ".".join(map(str, glibc))) == (
            machine.root.arch,
            machine.root.versions["glibc"].partition("-")[0],
        )
        told[core] = set(features)
    newer = {"asimddp", "asimdhp", "fphp", "asimdrdm", "atomics", "lrcpc"}
    for core in ("cortex-a53", "cortex-a72"):
        assert told[core] >= {"fp", "asimd", "crc32"} and not told[core] & newer
    assert told["cortex-a76"] >= {"asimd", *newer} and not told["cortex-a76"] & {"i8mm", "bf16", "sve"}
    assert told["cortex-a7"] >= {"neon", "vfpv4", "idiva"} and "asimd" not in told["cortex-a7"]


@pytest.mark.parametrize("name", ["rpi2", "rpi3", "rpi4", "rpi5"])
def test_what_a_built_in_target_names_its_core_has(name, request, runtime_path):
    machine = request.getfixturevalue(f"{name}_machine")
    _, features, _ = json.loads(_run(machine, ["-c", FEATURES], [str(runtime_path)]).stdout)
    assert set(target(name).features) <= set(features)


PRODUCT = """
import ctypes, sys
count = 64
a = (ctypes.c_int8 * count)(*range(-32, 32))
b = (ctypes.c_int8 * count)(*range(127, 63, -1))
print(ctypes.CDLL(sys.argv[1]).dot(a, b, count))
"""
RIGHT = sum(a * b for a, b in zip(range(-32, 32), range(127, 63, -1), strict=True))


def test_what_is_refused_for_a_core_dies_on_it_and_what_is_accepted_is_right(machines, tmp_path):
    """The same library, by edgec's reading of it and by the cores."""
    path = library(tmp_path, DOT, target("rpi5"))
    assert list(read(path).extensions) == ["asimddp"]
    with pytest.raises(DeviceError, match="uses asimddp, which rpi4 does not have"):
        require_fit({"payload/kernels.so": path}, target("rpi4"))
    assert require_fit({"payload/kernels.so": path}, target("rpi5")) == Fit()
    for core in ("cortex-a53", "cortex-a72"):
        assert _run(machines[core], ["-c", PRODUCT, path]).returncode == -signal.SIGILL
    done = _run(machines["cortex-a76"], ["-c", PRODUCT, path])
    assert (done.stdout, done.returncode) == (f"{RIGHT}\n", 0)


@pytest.mark.parametrize("name", ["rpi2", "rpi3", "rpi4", "rpi5"])
def test_what_is_compiled_for_a_target_is_right_on_its_core(name, request, tmp_path):
    done = _run(request.getfixturevalue(f"{name}_machine"), ["-c", PRODUCT, library(tmp_path, DOT, target(name))])
    assert (done.stdout, done.returncode) == (f"{RIGHT}\n", 0), done.stderr


def _changed(artifact, folder, **changes):
    """The artifact with other values in its manifest, sealed again."""
    bundle = Bundle.open(artifact)
    own = ("edgec_runtime/", "__main__.py")
    files = {name: bundle.read(name) for name in bundle.manifest["files"] if not name.startswith(own)}
    path = folder / "changed.edgec"
    write_bundle(path, {**bundle.manifest, **changes}, files)
    return path
