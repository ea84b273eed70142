"""The emulator's program: its version, the cores it knows, and what is said when something is missing."""

import pytest

from edgec.emulator import qemu
from edgec.errors import ToolMissing


def test_it_says_its_version_and_its_cores(programs):
    programs.put_all()
    found = qemu.find("qemu-aarch64")
    assert (found.name, found.version) == ("qemu-aarch64", "7.2.22")
    assert found.cores == {"a64fx", "cortex-a53", "cortex-a72", "pxa250"}


def test_a_program_that_is_not_linked_statically_does_too(programs):
    programs.put_all()
    (programs.folder / "qemu-aarch64-static").rename(programs.folder / "qemu-aarch64")
    assert qemu.find("qemu-aarch64").program.name == "qemu-aarch64"


def test_a_core_that_this_version_does_not_know(programs):
    programs.put_all()
    with pytest.raises(ToolMissing) as caught:
        qemu.find("qemu-aarch64").require_core("cortex-a55")
    assert caught.value.exit_code == 8
    assert caught.value.what == "qemu-aarch64 7.2.22 can't be a cortex-a55"
    assert "It knows 4 cores" in caught.value.why
    assert "Did you mean 'cortex-a53'?" in caught.value.why
    assert "qemu-aarch64-static -cpu help" in caught.value.fix
    assert "--no-emulate" in caught.value.fix


def test_the_emulator_is_not_installed(programs):
    assert qemu.find("qemu-aarch64") is None
    with pytest.raises(ToolMissing) as caught:
        qemu.require("qemu-aarch64", "It is needed.")
    assert "apt-get install qemu-user-static" in caught.value.fix


@pytest.mark.parametrize("code", ["raise SystemExit(127)", "print('hello')"])
def test_a_program_that_is_no_emulator(programs, code):
    programs.put("qemu-arm-static", code)
    with pytest.raises(ToolMissing, match="does not run"):
        qemu.find("qemu-arm")
