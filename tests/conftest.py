"""What all tests share: no test sees the user's store; the digits example and emulated devices are at hand."""

import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgec
from edgec.store import Store
from tests.boards import another_board, board  # noqa: F401
from tests.emulated_devices import (  # noqa: F401
    aarch64_roots,
    armv7l_roots,
    rpi2_machine,
    rpi3_machine,
    rpi4_machine,
    rpi5_machine,
)

_ROOT = Path(__file__).parents[1]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files with what takes long come first. With `--dist worksteal` one process begins with them, so that builds which
    share stages do not wait for each other; and what is left for the end is short, so that no process is idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory, monkeypatch):
    """Every test has a store of its own."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def compilers_cache():
    """Zig builds its part of the C library once, not once for each store."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
            patch.setenv(name, str(_ROOT / ".cache" / "zig"))
        yield


@dataclass(frozen=True)
class Example:
    """A model of examples/, its calibration data, and the recipe that belongs to them."""

    model: Path
    calibration: Path
    recipe: str


@pytest.fixture(scope="session")
def digits():
    """A small CNN that recognizes handwritten digits."""
    folder = _ROOT / "examples" / "digits"
    return Example(folder / "digits_cnn.onnx", folder / "calibration", "digits")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """A folder that all processes of the session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@dataclass(frozen=True)
class Built:
    """A build and the store that it left. artifact: as `edgec build --json` has it, but for its path."""

    store: Path
    artifact: dict[str, object]

    def copy_front(self, store):
        """Put into another store what the build knew before anything was calibrated or quantized."""
        for entry in Store(self.store).entries():
            if entry.stage in ("ingest", "simplify", "canonicalize", "peaks", "analyze"):
                shutil.copytree(entry.path, store / entry.path.relative_to(self.store))


@pytest.fixture(scope="session")
def built_digits(digits, session_folder):
    """The digits example, built by OpenVINO for this machine: once, whatever the number of processes."""
    folder = session_folder / "built-digits"
    folder.mkdir(exist_ok=True)
    made = folder / "artifact.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("EDGEC_CACHE_DIR", str(folder / "store"))
                how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "openvino"}
                (build,) = edgec.build(digits.model, **how, output=folder / "dist").builds
            made.write_text(json.dumps({"bytes": build.artifact.bytes, "sha256": build.artifact.sha256}))
    return Built(folder / "store", json.loads(made.read_text()))


@pytest.fixture(scope="session")
def digits_for_rpi5(digits, session_folder, aarch64_roots):  # noqa: F811
    """The digits example for a Raspberry Pi 5, whose features hold asimddp, by LiteRT: once, as `built_digits`."""
    folder = session_folder / "digits-for-rpi5"
    folder.mkdir(exist_ok=True)
    place = folder / "digits-rpi5.edgec"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("EDGEC_CACHE_DIR", str(folder / "store"))
                patch.setenv("EDGEC_ROOTS_DIR", str(aarch64_roots))
                how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "tflite"}
                (build,) = edgec.build(digits.model, targets=("rpi5",), **how, output=folder / "dist").builds
            build.artifact.path.rename(place)
    return place


@pytest.fixture
def warm_store(own_store, built_digits):
    """The test's own store, with what `built_digits` left in its: for tests of what comes after a build."""
    shutil.copytree(built_digits.store, own_store, dirs_exist_ok=True)
    return own_store


@pytest.fixture
def store_with_front(own_store, built_digits):
    """The test's own store, with what a build of digits knows before anything is calibrated or quantized: for tests of
    what comes after that, and of options that nothing up to there depends on."""
    built_digits.copy_front(own_store)
    return own_store
