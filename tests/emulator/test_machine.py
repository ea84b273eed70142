"""An emulated device, really run: it is the core that it is said to be, and nothing of this machine shows through."""

import json
import signal
import subprocess
import zipfile
from dataclasses import replace

import pytest

from edgec.emulator.machine import Machine
from edgec.errors import ToolMissing, UsageError
from edgec.targets import Emulator, load_target

UDOT = """
import ctypes, mmap, struct
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(struct.pack("<II", 0x6E829420, 0xD65F03C0))  # udot v0.4s, v1.16b, v2.16b; ret
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print("done")
"""


def start(machine, code, path=(), **options):
    command, environment = machine.python(["-c", code], path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, **options)


def run(machine, code, path=(), **options):
    ran = start(machine, code, path, **options)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_it_has_the_devices_architecture_python_and_numpy(rpi4_machine, rpi2_machine):
    code = "import json, numpy, platform as p; print(json.dumps([p.machine(), p.python_version(), numpy.__version__]))"
    for machine, name in ((rpi4_machine, "aarch64"), (rpi2_machine, "armv7l")):
        versions = machine.root.versions
        assert run(machine, code) == [name, versions["python"], versions["numpy"]]


def test_it_is_called_by_its_emulator_and_core(rpi4_machine, rpi2_machine):
    assert rpi4_machine.label == "qemu-aarch64:cortex-a72"
    assert rpi2_machine.label == "qemu-arm:cortex-a7"


def test_instructions_that_the_core_lacks_are_illegal(rpi4_machine, rpi5_machine):
    assert start(rpi4_machine, UDOT).returncode == -signal.SIGILL
    assert start(rpi5_machine, UDOT).stdout == "done\n"


@pytest.mark.parametrize("name", ["rpi4_machine", "rpi2_machine"])
def test_nothing_is_imported_from_this_machine(name, request, monkeypatch, tmp_path):
    machine = request.getfixturevalue(name)
    (tmp_path / "numpy.py").write_text("raise SystemExit('this machine shows through')")
    for variable in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    code = """
import json, os, sys, sysconfig
import numpy
maps = [line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if len(line.split(None, 5)) == 6]
print(json.dumps({
    "path": sys.path,
    "modules": [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)],
    "libraries": [name for name in maps if ".so" in name],
    "variables": sorted(os.environ),
}))
"""
    found = run(machine, code)
    command, _ = machine.python([])
    view = command[command.index("-L") + 1]
    assert [entry for entry in found["path"] if not entry.startswith(view)] == [""]  # where `-c` looks first
    assert found["modules"]
    assert all(file.startswith(view) for file in found["modules"])
    assert found["libraries"]
    root = str(machine.root.path)
    assert all(file.startswith((root, view)) for file in found["libraries"] if "qemu" not in file)
    assert found["variables"] == ["LC_CTYPE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHOME"]


def test_the_engine_runs_a_model(rpi4_machine, rpi2_machine):
    """On the core of the target, not only on the one that the root was proved with."""
    from edgec.emulator import making
    from edgec.emulator.recipe import RECIPES

    for machine in (rpi4_machine, rpi2_machine):
        recipe = RECIPES[machine.root.arch]
        given = [recipe.engine, recipe.engine_module]
        check = making._PROOF.read_text().partition("for imported in")[0] + "\nprint('proved')"
        ran = start(machine, f"import sys\nsys.argv[1:] = {given}\n__file__ = {str(making._PROOF)!r}\n{check}")
        assert ran.stdout == "proved\n", ran.stderr


def test_its_system_is_the_devices(rpi4_machine):
    code = """
import json, os
print(json.dumps({
    "cpus": os.cpu_count(),
    "part": [line.split()[-1] for line in open("/proc/cpuinfo") if line.startswith("CPU part")],
    "self": os.path.basename(open("/proc/self/cmdline").read().split("\\0")[0]),
    "cache": open("/sys/devices/system/cpu/cpu0/cache/index0/size").read(),
}))
"""
    assert run(rpi4_machine, code) == {"cpus": 1, "part": ["0xd08"], "self": "python3.11", "cache": ""}


def test_it_imports_from_the_folders_and_archives_that_it_is_given(rpi4_machine, tmp_path):
    (tmp_path / "one.py").write_text("value = 1")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("two.py", "value = 2")
    code = "import json, one, two; print(json.dumps([one.value, two.value]))"
    assert run(rpi4_machine, code, [str(tmp_path), str(tmp_path / "more.zip")]) == [1, 2]
    assert list(tmp_path.glob("__pycache__")) == []


def test_it_reads_and_writes_this_machines_files(rpi4_machine, tmp_path):
    code = (
        "import json, pathlib; pathlib.Path('out').write_text('x'); print(json.dumps(pathlib.Path('in').read_text()))"
    )
    (tmp_path / "in").write_text("from here")
    assert run(rpi4_machine, code, cwd=tmp_path) == "from here"
    assert (tmp_path / "out").read_text() == "x"


def test_a_path_that_python_can_not_take(rpi4_machine):
    with pytest.raises(UsageError, match="a:b"):
        rpi4_machine.python([], ["/tmp/a:b"])


def rpi4(**emulator):
    target = load_target("rpi4")
    return replace(target, emulator=Emulator(**{"qemu": "qemu-aarch64", "cpu": "cortex-a72", **emulator}))


def test_the_emulator_is_not_installed(programs):
    with pytest.raises(ToolMissing) as caught:
        Machine.of(rpi4())
    assert caught.value.exit_code == 8
    assert caught.value.what == "qemu-aarch64 is not installed"
    assert "rpi4" in caught.value.why
    assert "--no-emulate" in caught.value.fix


def test_the_core_is_not_known(programs):
    programs.put_all()
    with pytest.raises(ToolMissing) as caught:
        Machine.of(rpi4(cpu="cortex-a99"))
    assert caught.value.exit_code == 8
    assert "can't be a cortex-a99" in caught.value.what


def test_the_root_is_not_there(programs):
    programs.put_all()
    with pytest.raises(ToolMissing) as caught:
        Machine.of(rpi4())
    assert caught.value.exit_code == 8
    assert "`edgec emulator setup rpi4`" in caught.value.fix
    assert "--no-emulate" in caught.value.fix


def test_it_starts_without_compiling_what_the_runtime_imports(rpi4_machine):
    """Modules that artifacts import are compiled in the root: an emulated Python parses slowly."""
    code = """
import json, sys, zipfile, argparse, hashlib, tempfile, numpy
specifications = [module.__spec__ for module in sys.modules.values() if getattr(module, "__spec__", None)]
print(json.dumps([each.name for each in specifications if each.has_location and each.cached]))
"""
    files = rpi4_machine.root.path
    compiled = {path.name for path in files.rglob("*.pyc")}
    names = run(rpi4_machine, code)
    assert "numpy" in names
    assert "zipfile.cpython-311.pyc" in compiled
    assert not [
        name
        for name in names
        if not any(file.startswith((name.rpartition(".")[2] + ".", "__init__.")) for file in compiled)
    ]
