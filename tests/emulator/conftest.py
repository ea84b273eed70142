"""What tests of emulated devices share: programs that stand in for the real ones."""

import pytest

from edgec.emulator import qemu, wheels
from tests.emulator.stand_ins import Programs


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """An empty folder that is all of PATH, and no pip in this Python; roots are made in a folder of the test's own."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(tmp_path / "roots"))
    monkeypatch.setattr(wheels, "_own_pip", lambda: None)
    qemu.find.cache_clear()
    qemu.find_with_plugins.cache_clear()
    yield Programs(tmp_path / "bin")
    qemu.find.cache_clear()
    qemu.find_with_plugins.cache_clear()
