"""Machine code in a payload: checked against the target when it is lowered, and its glibc is in the artifact."""

from __future__ import annotations

import dataclasses
import json
import shutil

import onnx
import pytest

from edgec.backends.openvino.backend import OpenVINO
from edgec.errors import DeviceError, InternalError
from edgec.events import Note
from edgec.runtime.bundle import Bundle
from edgec.stage import StageContext
from edgec.stages import lower, pack
from tests.bundle.artifacts import cnn  # noqa: F401 (fixture)
from tests.compiled import DOT, library, target
from tests.contract import models


@pytest.fixture
def with_library(monkeypatch):
    """A function that makes the backend add a shared library to its payloads."""

    def add(path):
        usual = OpenVINO.lower

        def adding(self, job):
            payload = usual(self, job)
            shutil.copy(path, job.out / "kernels.so")
            return dataclasses.replace(payload, files=(*payload.files, "kernels.so"))

        monkeypatch.setattr(OpenVINO, "lower", adding)

    return add


def _lower(folder, for_target):
    source, out = folder / "source", folder / "out"
    source.mkdir()
    out.mkdir()
    onnx.save(models.conv_float(), source / "model.onnx")
    notes: list[Note] = []
    params = lower.LowerParams("openvino", for_target, "float", "model.onnx")
    lower.run(source, params, StageContext("lower", out, notes.append))
    return json.loads((out / "lower.json").read_text()), notes


NEEDS_GLIBC = DOT + "int getpid(void); int own(void) { return getpid(); }"


def test_the_glibc_that_machine_code_needs_is_in_the_document(with_library, tmp_path):
    with_library(library(tmp_path, NEEDS_GLIBC, target("host", min_glibc="2.31")))
    document, _ = _lower(tmp_path, target("host"))
    assert document["min_glibc"].startswith("2.")
    assert "kernels.so" in document["files"]


def test_a_payload_without_machine_code_asks_for_none(tmp_path):
    document, notes = _lower(tmp_path, target("host"))
    assert "min_glibc" not in document
    assert notes == []


def test_machine_code_that_does_not_fit_ends_the_build_here(with_library, tmp_path):
    with_library(library(tmp_path, DOT, target("rpi5")))
    with pytest.raises(DeviceError) as caught:
        _lower(tmp_path, target("rpi4"))
    assert caught.value.exit_code == 10
    assert caught.value.what == "payload/kernels.so uses asimddp, which rpi4 does not have"


def test_a_payload_beyond_half_of_the_memory_is_warned_about(with_library, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(3 << 20)
    with_library(large)
    _, notes = _lower(tmp_path, target("host", memory_mib=5))
    assert [note.level for note in notes] == ["warning"]
    assert "3 MiB, and host has 5 MiB of memory" in notes[0].text


def _packed(cnn, folder, **needs):  # noqa: F811
    lowered, out = folder / "lowered", folder / "packed"
    shutil.copytree(cnn.lowered, lowered)
    out.mkdir()
    document = json.loads((lowered / "lower.json").read_text())
    (lowered / "lower.json").write_text(json.dumps({**document, **needs}))
    pack.run(cnn.ingested, lowered, cnn.validated, cnn.params, StageContext("pack", out, lambda event: None))
    (path,) = out.iterdir()
    return Bundle.open(path).manifest


def test_the_artifact_says_which_glibc_it_needs(cnn, tmp_path):  # noqa: F811
    assert _packed(cnn, tmp_path, min_glibc="2.17")["min_glibc"] == "2.17"


def test_an_artifact_without_machine_code_names_no_glibc(cnn):  # noqa: F811
    assert "min_glibc" not in Bundle.open(cnn.path).manifest


def test_an_artifact_for_a_newer_glibc_than_this_machines_is_not_shipped(cnn, tmp_path):  # noqa: F811
    with pytest.raises((DeviceError, InternalError)) as caught:
        _packed(cnn, tmp_path, min_glibc="2.99")
    assert "needs 2.99" in caught.value.why
