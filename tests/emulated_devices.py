"""Emulated devices for tests: their roots are made once, in .cache, and kept."""

import os
from pathlib import Path

import pytest

from edgec.emulator import making
from edgec.emulator.machine import Machine
from edgec.errors import ToolMissing
from edgec.targets import load_target

_KEPT = Path(__file__).parents[1] / ".cache" / "roots"


def _roots(arch):
    """The folder with the root for `arch`. Where it can't be had, tests skip; in CI they fail.

    `making.make` locks, so that of several test processes one makes it and the others wait.
    """
    folder = Path(os.environ.get("EDGEC_ROOTS_DIR") or _KEPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEC_ROOTS_DIR", str(folder))
        try:
            making.make(arch)
        except ToolMissing as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no emulated {arch} device: {error.what}. {error.why}")
    return folder


@pytest.fixture(scope="session")
def aarch64_roots():
    """The folder for EDGEC_ROOTS_DIR that holds the root for aarch64."""
    return _roots("aarch64")


@pytest.fixture(scope="session")
def armv7l_roots():
    """The folder for EDGEC_ROOTS_DIR that holds the root for armv7l."""
    return _roots("armv7l")


def _machine_of(name):
    """A fixture: the emulated device of a built-in target. Builds in the same test find its root too."""

    @pytest.fixture
    def machine(request, monkeypatch):
        target = load_target(name)
        monkeypatch.setenv("EDGEC_ROOTS_DIR", str(request.getfixturevalue(f"{target.arch}_roots")))
        return Machine.of(target)

    return machine


rpi2_machine = _machine_of("rpi2")  # a Cortex-A7
rpi3_machine = _machine_of("rpi3")  # a Cortex-A53
rpi4_machine = _machine_of("rpi4")  # a Cortex-A72
rpi5_machine = _machine_of("rpi5")  # a Cortex-A76
