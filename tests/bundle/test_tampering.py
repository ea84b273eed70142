"""No change to an artifact goes unnoticed: each is a BundleError, which the artifact's own commands exit with 9 for.

Archives that were made to deceive a reader: test_hostile_archives.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgec.bundle.errors import as_edgec_error
from edgec.bundle.write import INTERPRETER
from edgec.errors import ArtifactError
from edgec.runtime.bundle import MANIFEST, SEAL, Bundle
from edgec.runtime.errors import BundleError, InputError


def _resealed(members: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """An archive of these members with a right seal: what an attacker without a signing key can always make."""
    stream = io.BytesIO()
    stream.write(INTERPRETER)
    with zipfile.ZipFile(stream, "w") as archive:
        for entry, content in members:
            archive.writestr(entry, content)
        archive.comment = SEAL + bytes(64)
    body = stream.getvalue()[: -len(SEAL) - 64]
    return body + SEAL + hashlib.sha256(body).hexdigest().encode()


def _members(path: Path) -> list[tuple[zipfile.ZipInfo, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(entry, archive.read(entry)) for entry in archive.infolist()]


def _entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.external_attr = mode << 16
    return entry


def _with_manifest(cnn, change) -> bytes:
    """The artifact with its manifest edited, and sealed again."""
    members = []
    for entry, content in _members(cnn.path):
        if entry.filename == MANIFEST:
            manifest = json.loads(content)
            change(manifest)
            content = json.dumps(manifest).encode()
        members.append((entry, content))
    return _resealed(members)


def _check(content: bytes, folder: Path) -> None:
    path = folder / "tampered.edgec"
    path.write_bytes(content)
    Bundle.open(path).verify()


def test_the_artifact_itself_is_fine(cnn):
    sizes = Bundle.open(cnn.path).verify()
    assert sizes["payload/model.bin"] == (cnn.lowered / "payload" / "model.bin").stat().st_size


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_noticed(cnn, tmp_path, data):
    content = bytearray(cnn.path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleError):
        _check(bytes(content), tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_archive_that_was_made_to_confuse_is_refused_in_words(cnn, tmp_path, data):
    """A byte of the archive's structure is changed, and the file sealed again: fine or refused, never a crash."""
    body = bytearray(cnn.path.read_bytes()[: -len(SEAL) - 64])
    with zipfile.ZipFile(cnn.path) as archive:
        directory = archive.start_dir
        headers = [entry.header_offset for entry in archive.infolist()]
    structure = st.one_of(
        st.integers(directory, len(body) - 1), st.builds(int.__add__, st.sampled_from(headers), st.integers(0, 60))
    )
    body[data.draw(structure)] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BundleError):
        _check(bytes(body) + SEAL + hashlib.sha256(body).hexdigest().encode(), tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_was_cut_off_is_noticed(cnn, tmp_path, data):
    content = cnn.path.read_bytes()
    with pytest.raises(BundleError):
        _check(content[: data.draw(st.integers(0, len(content) - 1))], tmp_path)


@pytest.mark.parametrize("extra", [b"\n", b"trailing bytes"])
def test_a_file_that_grew_is_noticed(cnn, tmp_path, extra):
    with pytest.raises(BundleError):
        _check(cnn.path.read_bytes() + extra, tmp_path)


def test_any_member_that_was_replaced_is_noticed_although_the_seal_is_right(cnn, tmp_path):
    members = _members(cnn.path)
    for index, (entry, content) in enumerate(members):
        if entry.filename == MANIFEST:
            continue
        changed = bytes([content[0] ^ 1]) + content[1:]
        with pytest.raises(BundleError, match=r"SHA-256 differs"):
            _check(_resealed([*members[:index], (entry, changed), *members[index + 1 :]]), tmp_path)


def test_any_member_that_is_missing_is_noticed(cnn, tmp_path):
    members = _members(cnn.path)
    for index in range(len(members)):
        with pytest.raises(BundleError):
            _check(_resealed(members[:index] + members[index + 1 :]), tmp_path)


def test_a_file_that_the_manifest_does_not_list_is_refused(cnn, tmp_path):
    with pytest.raises(BundleError, match=r"does not list: sitecustomize\.py"):
        _check(_resealed([*_members(cnn.path), (_entry("sitecustomize.py"), b"x")]), tmp_path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused_with_advice(cnn, tmp_path, version):
    with pytest.raises(BundleError, match="format version") as caught:
        _check(_with_manifest(cnn, lambda manifest: manifest.update(format_version=version)), tmp_path)
    assert "newer" in caught.value.fix


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("engine"),
        lambda manifest: manifest["engine"].pop("options"),
        lambda manifest: manifest.update(inputs="x"),
        lambda manifest: manifest.update(inputs=[{"name": "x"}]),
        lambda manifest: manifest.update(payload=[]),
        lambda manifest: manifest.update(payload=["parity.json"]),
        lambda manifest: manifest.update(payload=["payload/none"]),
        lambda manifest: manifest["files"].update({"parity.json": None}),
        lambda manifest: manifest["files"]["parity.json"].update(bytes=1),
        lambda manifest: manifest["files"]["parity.json"].update(sha256="0"),
        lambda manifest: manifest["files"].pop("golden.npz"),
        lambda manifest: manifest["files"].update(more={"bytes": 0, "sha256": "0" * 64}),
        lambda manifest: manifest.update(payload=[["payload/model.xml"]]),
        lambda manifest: manifest["inputs"][0].update(shape="abc"),
        lambda manifest: manifest["selftest"].pop("tolerances"),
        lambda manifest: manifest.update(cpu_features=[1]),
        lambda manifest: manifest["inputs"][0].update(dtype="object"),
        lambda manifest: manifest["inputs"][0].update(shape=[1, -3]),
        lambda manifest: manifest.update(state={"scores": "nothing"}),
        lambda manifest: manifest["selftest"]["tolerances"].update(scores="wide"),
    ],
)
def test_a_malformed_manifest_is_refused(cnn, tmp_path, change):
    with pytest.raises(BundleError):
        _check(_with_manifest(cnn, change), tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"PK\x05\x06" + bytes(18), b"#!/usr/bin/env python3\n"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    with pytest.raises(BundleError):
        _check(content, tmp_path)


def test_a_path_without_a_file_is_an_error_of_usage(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        Bundle.open(tmp_path / "none.edgec")


def test_a_member_that_changes_after_the_check_is_never_handed_out(cnn, tmp_path):
    path = tmp_path / "m.edgec"
    path.write_bytes(cnn.path.read_bytes())
    bundle = Bundle.open(path)
    content = cnn.path.read_bytes()
    place = content.index((cnn.lowered / "payload" / "model.bin").read_bytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(BundleError):
        bundle.payload()


@pytest.mark.parametrize("command", ["info", "verify", "selftest", "bench"])
def test_every_command_of_a_damaged_artifact_exits_with_9(cnn, tmp_path, command):
    content = bytearray(cnn.path.read_bytes())
    place = content.index((cnn.lowered / "payload" / "model.bin").read_bytes())
    content[place] ^= 1
    (tmp_path / "m.edgec").write_bytes(content)
    done = subprocess.run([sys.executable, tmp_path / "m.edgec", command], capture_output=True, text=True)
    assert done.returncode == 9
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in ("error:", "why:", "fix:"))


def test_in_a_build_it_is_an_artifact_error():
    error = as_edgec_error(BundleError("what", "why", "fix"))
    assert isinstance(error, ArtifactError)
    assert (error.what, error.why, error.fix, error.exit_code) == ("what", "why", "fix", 9)
