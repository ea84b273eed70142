"""Building twice gives the same bytes; and where it does not, the first difference is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgec import reproducibility
from edgec.bundle.write import write_bundle
from edgec.errors import UsageError
from edgec.reproducibility import NotReproducible, build_again, check_reproducible, differences
from edgec.result import ArtifactFile
from edgec.spec import BuildSpec
from tests.runtime.agent import small

_NEEDED = ("payload/model.bin", "golden.npz", "parity.json", "provenance.json")


def write(folder, **members):
    """An artifact with these members besides what each needs."""
    folder.mkdir(exist_ok=True)
    files = {**dict.fromkeys(_NEEDED, b"{}"), "payload/model.bin": b"weights", "golden.npz": b""}
    files |= {name.replace("__", "."): content for name, content in members.items()}
    write_bundle(folder / "net-host.edgec", small.manifest(), files)
    return folder / "net-host.edgec"


def test_equal_artifacts_do_not_differ(tmp_path):
    assert differences(write(tmp_path / "a"), write(tmp_path / "b")) == []


def test_a_difference_is_named_by_member_and_place(tmp_path):
    one = write(tmp_path / "a", parity__json=b'{"outputs": [{"max_abs": 0.5}], "same": 1}', data__bin=b"0123456789")
    other = write(tmp_path / "b", parity__json=b'{"outputs": [{"max_abs": 0.25}], "same": 1}', data__bin=b"0123x56789")
    found = list(map(str, differences(one, other)))
    assert found[:2] == [
        "data.bin, byte 4: 34 35 36 37 38 39 and 78 35 36 37 38 39",
        "parity.json, /outputs/0/max_abs: 0.5 and 0.25",
    ]
    assert found[2].startswith("manifest.json, /files/data.bin/sha256: ")  # which follows from them


def test_a_member_that_only_one_has_and_a_shorter_one_are_named(tmp_path):
    one = write(tmp_path / "a", data__bin=b"0123", extra__bin=b"")
    other = write(tmp_path / "b", data__bin=b"012")
    found = list(map(str, differences(one, other)))
    assert found[:2] == ["extra.bin, only in the first", "data.bin, length: 4 bytes and 3 bytes"]


def test_what_is_outside_of_all_members_is_compared_too(tmp_path):
    one, other = write(tmp_path / "a"), write(tmp_path / "b")
    content = other.read_bytes()
    other.write_bytes(b"#!/usr/bin/env python4\n" + content[content.index(b"\n") + 1 :])
    (found,) = differences(one, other)
    assert str(found).startswith("the archive itself, byte 21: ")


def test_tiles_that_are_searched_for_by_time_are_refused_before_any_work():
    with pytest.raises(UsageError, match="does not go with --tune"):
        check_reproducible(BuildSpec(Path("m.onnx"), backend="tvm", tune_seconds=5.0))


def test_samples_that_can_be_read_once_are_refused():
    with pytest.raises(UsageError, match="read once"):
        check_reproducible(BuildSpec(Path("m.onnx"), calibration=iter([])))


def test_the_second_build_has_no_path_that_depends_on_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = BuildSpec(Path("m.onnx"), ("host", "board.toml"), calibration=Path("c"), recipe="r.toml", metric="m.py:f")
    absolute = reproducibility._absolute(spec)
    assert absolute.targets == ("host", str(tmp_path / "board.toml"))
    assert (absolute.model, absolute.calibration) == (tmp_path / "m.onnx", tmp_path / "c")
    assert (absolute.recipe, absolute.metric) == (str(tmp_path / "r.toml"), f"{tmp_path / 'm.py'}:f")
    assert reproducibility._absolute(replace(spec, metric="package.module:f")).metric == "package.module:f"


def built(path, backend="tvm"):
    """What build_again looks at of one target's result."""
    return SimpleNamespace(artifact=ArtifactFile(path, path.stat().st_size, small.digest(path)), backend=backend)


def test_another_second_artifact_is_kept_beside_the_first_and_what_differs_is_named(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", golden__npz=b"random")
    with pytest.raises(NotReproducible) as caught:
        reproducibility._compared(built(first), [second])
    assert "golden.npz, length: 0 bytes and 6 bytes" in caught.value.why
    assert (tmp_path / "a" / "net-host.again.edgec").read_bytes() == second.read_bytes()
    assert caught.value.details["differences"]


def test_of_several_ways_the_same_one_is_compared(tmp_path):
    first, same = write(tmp_path / "a"), write(tmp_path / "b")
    other = tmp_path / "c" / "net-host.edgec"
    other.parent.mkdir()
    write_bundle(other, small.manifest(backend="openvino"), dict.fromkeys(_NEEDED, b"{}"))
    assert reproducibility._compared(built(first), [other, same]) == first
    with pytest.raises(NotReproducible, match="was not built again"):
        reproducibility._compared(built(first), [other])


@pytest.mark.slow
def test_the_digits_are_built_again_elsewhere_to_the_same_bytes(built_digits, digits, tmp_path):
    first = tmp_path / "digits_cnn-host.edgec"
    shutil.copyfile(built_digits.store.parent / "dist" / first.name, first)
    spec = BuildSpec(
        Path(digits.model),
        calibration=Path(digits.calibration),
        recipe=digits.recipe,
        backend="openvino",
        output=tmp_path,
    )
    reproduced = build_again(spec, SimpleNamespace(builds=(built(first, "openvino"),)))
    assert reproduced.artifacts == (first,)
    assert reproduced.varied.keys() >= {"locale", "time zone", "umask", "hash seed", "store", "folder of the model"}
    assert all(one != other for one, other in reproduced.varied.values())
