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


@pytest.fixture
def rpi2_machine(armv7l_roots, monkeypatch):
    """A Cortex-A7; builds in this test find its root too."""
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(armv7l_roots))
    return Machine.of(load_target("rpi2"))


@pytest.fixture
def rpi3_machine(aarch64_roots, monkeypatch):
    """A Cortex-A53; builds in this test find its root too."""
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(aarch64_roots))
    return Machine.of(load_target("rpi3"))


@pytest.fixture
def rpi4_machine(aarch64_roots, monkeypatch):
    """A Cortex-A72; builds in this test find its root too."""
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(aarch64_roots))
    return Machine.of(load_target("rpi4"))


@pytest.fixture
def rpi5_machine(aarch64_roots, monkeypatch):
    """A Cortex-A76; builds in this test find its root too."""
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(aarch64_roots))
    return Machine.of(load_target("rpi5"))
