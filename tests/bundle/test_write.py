"""An artifact's bytes depend on its content alone, and Python runs it."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgec.bundle.write import runtime_sources, write_bundle
from edgec.errors import ModelRefused
from edgec.runtime.bundle import SEAL

_DIGEST = """
import hashlib
from pathlib import Path
from edgec.bundle.write import write_bundle
place = Path("a.edgec")
write_bundle(place, {"name": "n", "b": {"z": 1, "a": 2}}, {"payload/m": b"abc"})
print(hashlib.sha256(place.read_bytes()).hexdigest())
"""


def test_equal_content_gives_equal_bytes_in_every_process(tmp_path):
    digests = set()
    for seed in ("0", "1"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "TZ": f"UTC+{seed}",
            "SOURCE_DATE_EPOCH": f"{seed}00000000",
        }
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST], capture_output=True, text=True, cwd=folder, env=environment, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_the_order_of_what_is_given_does_not_matter(tmp_path):
    files = {"payload/a": b"1", "parity.json": b"{}"}
    again = dict(reversed(list(files.items())))
    one, other = tmp_path / "one", tmp_path / "other"
    write_bundle(one, {"name": "n", "target": "t"}, files)
    write_bundle(other, {"target": "t", "name": "n"}, again)
    assert one.read_bytes() == other.read_bytes()


def test_a_file_and_its_bytes_make_the_same_member(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 10_000)
    one, other = tmp_path / "one", tmp_path / "other"
    write_bundle(one, {"name": "n"}, {"payload/m.bin": tmp_path / "weights"})
    write_bundle(other, {"name": "n"}, {"payload/m.bin": (tmp_path / "weights").read_bytes()})
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_an_artifact_beyond_two_gibibytes_is_still_run_by_python(tmp_path):
    """Python's own zip writer would have chosen zip64 here, which Python can't run."""
    weights = tmp_path / "weights"
    with weights.open("wb") as stream:
        stream.truncate((1 << 31) + 5)
    place = tmp_path / "large.edgec"
    write_bundle(place, {"name": "n"}, {"payload/m.bin": weights})
    done = subprocess.run([sys.executable, place, "--help"], capture_output=True, text=True, timeout=60)
    place.unlink()
    assert done.returncode == 0, done.stderr
    assert "selftest" in done.stdout


def test_an_artifact_beyond_what_a_zip_can_hold_is_refused(tmp_path):
    weights = tmp_path / "weights"
    with weights.open("wb") as stream:
        stream.truncate(1 << 32)
    with pytest.raises(ModelRefused, match=r"4\.3 GB"):
        write_bundle(tmp_path / "large.edgec", {"name": "n"}, {"payload/m.bin": weights})
    assert not (tmp_path / "large.edgec").exists()


def test_packing_twice_gives_the_same_file(cnn, tmp_path):
    from edgec.stage import StageContext
    from edgec.stages import pack

    context = StageContext("pack", tmp_path, lambda event: None)
    pack.run(cnn.ingested, cnn.lowered, cnn.validated, cnn.params, context)
    assert (tmp_path / cnn.path.name).read_bytes() == cnn.path.read_bytes()


def test_members_have_no_time_owner_or_machine_of_their_own(cnn):
    with zipfile.ZipFile(cnn.path) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {stat.S_IFREG | 0o644}
    assert {entry.create_system for entry in entries} == {3}


def test_weights_are_stored_and_text_is_deflated(cnn):
    with zipfile.ZipFile(cnn.path) as archive:
        kinds = {entry.filename: entry.compress_type for entry in archive.infolist()}
    assert kinds["payload/model.bin"] == kinds["golden.npz"] == zipfile.ZIP_STORED
    assert kinds["payload/model.xml"] == kinds["manifest.json"] == zipfile.ZIP_DEFLATED


def test_it_ends_with_the_digest_of_everything_before(cnn):
    content = cnn.path.read_bytes()
    body, seal = content[: -len(SEAL) - 64], content[-len(SEAL) - 64 :]
    assert seal == SEAL + hashlib.sha256(body).hexdigest().encode()


def test_it_carries_all_of_the_runtime_and_nothing_of_the_rest():
    names = set(runtime_sources())
    assert {"edgec_runtime/__init__.py", "edgec_runtime/commands.py", "edgec_runtime/engines/openvino.py"} <= names
    assert all(name.startswith("edgec_runtime/") and name.endswith(".py") for name in names)
    package = Path(__file__).parents[2] / "edgec"
    for path in (package / "runtime").rglob("*.py"):
        assert "edgec." not in "".join(
            line for line in path.read_text().splitlines(True) if line.startswith(("import ", "from "))
        ), f"{path} imports from the rest of edgec, which a device does not have"
