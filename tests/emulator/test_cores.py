"""What an emulated device's system says of its core, and that the core is really that one."""

import subprocess

import pytest

from edgec.emulator import cores, qemu
from edgec.emulator.recipe import PROGRAM

READ_MIDR = """
import ctypes, mmap, struct
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(struct.pack("<II", 0xD5380000, 0xD65F03C0))  # mrs x0, midr_el1; ret
read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(read())
"""


def fields(text):
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines()) if key}


def test_a_core_that_is_known_by_its_number():
    assert fields(cores.cpuinfo("cortex-a72", "aarch64", ["fp", "asimd"])) == {
        "processor": "0",
        "Features": "fp asimd",
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": "0xd08",
        "CPU revision": "3",
    }
    found = fields(cores.cpuinfo("cortex-a7", "armv7l", ["neon"]))
    assert (found["CPU architecture"], found["CPU part"], found["CPU revision"]) == ("7", "0xc07", "5")


def test_a_core_that_is_not_known_by_its_number():
    assert fields(cores.cpuinfo("cortex-x99", "aarch64", ["fp"])) == {"processor": "0", "Features": "fp"}


def test_the_numbers_are_those_of_the_emulated_cores(rpi4_machine):
    """Read from the emulated core itself (Arm Architecture Reference Manual, MIDR_EL1). 32-bit cores hide theirs."""
    known = sorted(rpi4_machine.qemu.cores & set(cores._MIDR))
    assert "cortex-a72" in known
    files = rpi4_machine.root.path
    for core in known:
        command = [
            str(rpi4_machine.qemu.program),
            "-cpu",
            core,
            "-L",
            str(files),
            str(files / PROGRAM),
            "-I",
            "-S",
            "-c",
        ]
        ran = subprocess.run([*command, READ_MIDR], env={"PYTHONHOME": str(files / "usr")}, capture_output=True)
        assert int(ran.stdout) == cores._MIDR[core], core


def test_the_features_are_those_of_the_emulated_cores(rpi4_machine, rpi5_machine, rpi2_machine):
    def features(machine):
        return cores.features(machine.qemu, machine.core, machine.root.arch, machine.root.path)

    assert {"fp", "asimd", "crc32"} <= set(features(rpi4_machine))
    assert not {"asimddp", "fphp", "sve"} & set(features(rpi4_machine))
    assert {"asimddp", "asimdhp", "fphp"} <= set(features(rpi5_machine))
    assert {"neon", "vfpv4", "idiva"} <= set(features(rpi2_machine))


def test_a_view_hides_this_machines_processor(rpi4_machine):
    view = cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root)
    assert "CPU part\t: 0xd08\n" in (view / "proc/cpuinfo").read_text()
    assert (view / "sys/devices/system/cpu/possible").read_text() == "0\n"
    assert (view / "usr").resolve() == rpi4_machine.root.path / "usr"
    assert not (view / "tmp").exists()


def test_a_view_is_made_once(rpi4_machine, own_store):
    first = cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root)
    made = (first / "proc/cpuinfo").stat().st_mtime_ns
    assert cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root) == first
    assert (first / "proc/cpuinfo").stat().st_mtime_ns == made
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    assert first.is_relative_to(own_store)


def test_each_core_has_its_own_view(rpi4_machine, rpi5_machine):
    assert cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root) != cores.view(
        rpi5_machine.qemu, rpi5_machine.core, rpi5_machine.root
    )


def test_views_are_not_made_beside_the_roots(rpi4_machine, aarch64_roots):
    before = sorted(aarch64_roots.iterdir())
    cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root)
    assert sorted(aarch64_roots.iterdir()) == before


def test_another_process_was_faster(rpi4_machine, monkeypatch):
    """Both make the view; the second takes what the first has put in place."""
    lay_out = cores.lay_out

    def overtaken(folder, *arguments):
        monkeypatch.setattr(cores, "lay_out", lay_out)
        cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root)
        lay_out(folder, *arguments)

    monkeypatch.setattr(cores, "lay_out", overtaken)
    view = cores.view(rpi4_machine.qemu, rpi4_machine.core, rpi4_machine.root)
    assert [path.name for path in view.parent.iterdir()] == [view.name]


@pytest.mark.parametrize("arch", ["aarch64", "armv7l"])
def test_the_features_have_one_name_for_each_bit(arch):
    first, second = (names.split() for names in cores._HWCAPS[arch])
    assert len(first) <= 32
    assert len(set(first) | set(second)) == len(first) + len(second)


def test_every_core_that_a_target_names_is_known_by_its_number():
    from edgec import resources
    from edgec.targets import load_target

    emulators = [load_target(name).emulator for name in resources.declared("targets")]
    assert {emulator.cpu for emulator in emulators if emulator} <= set(cores._MIDR)


def test_a_python_that_can_not_start(rpi4_machine, tmp_path):
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / PROGRAM).write_bytes((rpi4_machine.root.path / PROGRAM).read_bytes())
    with pytest.raises(cores.ToolMissing) as caught:
        cores.features(rpi4_machine.qemu, "cortex-a72", "aarch64", tmp_path)
    assert f"qemu-aarch64 {qemu.find('qemu-aarch64').version} can't run" in caught.value.what
    assert "--force rpi4" in caught.value.fix
