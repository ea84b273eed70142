"""Files that are no models, or no longer: the scan says so, quickly, and never anything but ModelRefused."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgec.errors import ModelRefused
from edgec.onnx_graph import structure
from edgec.onnx_graph.untrusted import scan
from edgec.onnx_graph.wire import encode_bytes, encode_varint
from tests.hostile.refusals import refusal
from tests.onnx_graph.models import model_of, saved, two_layers

SOUND = two_layers().SerializeToString()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG"),
        (b"PK\x03\x04" + bytes(64), "zip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "TFLite"),
        (b"\x80\x02}q\0X", "pickle"),
        (b"GGUF" + bytes(64), "GGUF"),
        (b"\x7fELF" + bytes(64), "program"),
        (b"<!DOCTYPE html><html><title>404</title>", "web page"),
        (b"\n\n  <html>", "web page"),
        (b'<?xml version="1.0"?><net>', "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
        (b'\x20\0\0\0\0\0\0\0{"__metadata__":{}}', "safetensors"),
        (b"ir_version: 8\ngraph {", "protobuf text"),
        (b"Dear sir,\nplease find attached", "text file"),
        ("import torch  # größer\n".encode() * 300, "text file"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(tmp_path, head, name):
    path = tmp_path / "model.onnx"
    path.write_bytes(head)
    error = refusal(path)
    assert name in error.why
    assert str(path) in error.what


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "model.onnx").touch()
    assert "is empty" in refusal(tmp_path / "model.onnx").what


def test_a_folder_is_refused_with_the_models_inside(tmp_path):
    saved(two_layers(), tmp_path, "resnet.onnx")
    assert "resnet.onnx" in refusal(tmp_path).why


def test_a_missing_file_is_refused_with_its_neighbours(tmp_path):
    saved(two_layers(), tmp_path, "resnet.onnx")
    assert "resnet.onnx" in refusal(tmp_path / "resnet50.onnx").why


def test_a_pipe_as_the_model_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "model.onnx")
    assert "a named pipe" in refusal(tmp_path / "model.onnx").what


@pytest.mark.parametrize("part", ["graph", "ir_version", "opset_import"])
def test_a_model_without_its_essentials_is_refused(tmp_path, part):
    model = two_layers()
    model.ClearField(part)
    refusal(saved(model, tmp_path))


def test_a_sound_model_is_taken_and_its_digest_is_that_of_the_file(tmp_path):
    path = saved(two_layers(), tmp_path)
    found = scan(path)
    assert found.files == (path,)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_scan_loads_no_native_library(tmp_path):
    path = saved(two_layers(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from edgec.onnx_graph.untrusted import scan; scan(Path(sys.argv[1]));"
        "print([name for name in ('numpy', 'onnx', 'google.protobuf') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code, path], text=True).strip() == "[]"


def accepted(path) -> bool:
    """Whether the scan takes a file; it may refuse it, it may not do anything else."""
    try:
        scan(path)
    except ModelRefused as error:
        assert error.what and error.why and error.fix
        return False
    return True


def test_a_model_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    taken = []
    for length in range(len(SOUND)):
        path.write_bytes(SOUND[:length])
        if accepted(path):
            taken.append(length)
    # the opset import is the last field of the file: without it there is no model, and all else lies before it
    assert taken == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(SOUND) * 8 - 1)), min_size=1, max_size=8))
def test_flipped_bits_are_refused_or_harmless(tmp_path, flips):
    data = bytearray(SOUND)
    for (bit,) in flips:
        data[bit // 8] ^= 1 << bit % 8
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    if accepted(path):
        onnx.load_model_from_string(bytes(data))  # what the scan takes, protobuf takes


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, len(SOUND)))
def test_bytes_that_were_slipped_in_are_refused_or_harmless(tmp_path, extra, at):
    data = SOUND[:at] + extra + SOUND[at:]
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    if accepted(path):
        onnx.load_model_from_string(data)


def changed_weight(change) -> onnx.ModelProto:
    model = two_layers()
    change(model.graph.initializer[0])
    return model


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensor: tensor.dims.__setitem__(0, -4), "negative dimension"),
        (lambda tensor: tensor.dims.__setitem__(0, 5), "raw_data has 432 bytes; float32 5x3x3x3 needs 540"),
        (lambda tensor: tensor.dims.extend([1 << 40, 1 << 40]), "more than 2^40 elements"),
        (lambda tensor: tensor.dims.extend([1] * 80), "more than 64 dimensions"),
        (lambda tensor: setattr(tensor, "data_type", 99), "99 is not a type"),
        (lambda tensor: setattr(tensor, "data_type", 0), "0 is not a type"),
        (lambda tensor: tensor.ClearField("raw_data"), "float_data holds 0 entries; float32 4x3x3x3 needs 108"),
        (lambda tensor: tensor.float_data.append(1.0), "stands in two fields"),
        (lambda tensor: setattr(tensor.segment, "begin", 1), "in segments"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_named(tmp_path, change, reason):
    error = refusal(saved(changed_weight(change), tmp_path))
    assert reason in error.why
    assert "'conv.weight'" in error.why
    assert "graph.initializer[0]" in error.why
    assert "At byte" in error.why


@pytest.mark.parametrize("kind", sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, 27, 28}))
def test_every_type_of_elements_is_taken_in_both_layouts(tmp_path, kind):
    """As onnx itself writes them: if the scan were too strict, it would refuse sound models."""
    values = [b"a"] * 6 if kind == TensorProto.STRING else np.ones(6)
    if kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        values = [1 + 1j] * 6
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": [1]}, {"y": [1]})
    model.graph.initializer.append(helper.make_tensor("typed", kind, [2, 3], values))
    if kind != TensorProto.STRING:
        as_array = onnx.numpy_helper.to_array(model.graph.initializer[0])
        model.graph.initializer.append(onnx.numpy_helper.from_array(as_array, "raw"))
    scan(saved(model, tmp_path))


def test_a_name_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(SOUND.replace(b"conv.weight", b"conv.we\xff\xffht"))
    assert "not UTF-8" in refusal(path).why


def test_subgraphs_nested_without_end_are_refused(tmp_path):
    graph = b""
    for _ in range(5000):
        graph = encode_bytes(1, encode_bytes(5, encode_bytes(6, graph)))  # node, attribute, graph
    path = tmp_path / "model.onnx"
    path.write_bytes(encode_bytes(7, graph))
    assert "nested more than 100 deep" in refusal(path).why


def test_types_nested_without_end_are_refused(tmp_path):
    kind = b""
    for _ in range(5000):
        kind = encode_bytes(4, encode_bytes(1, kind))
    data = SOUND + encode_bytes(25, encode_bytes(12, encode_bytes(2, kind)))
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert "nested more than 100 deep" in refusal(path).why


@pytest.mark.parametrize("wire", [3, 4, 6, 7])
def test_wire_types_that_onnx_never_uses_are_refused(tmp_path, wire):
    path = tmp_path / "model.onnx"
    path.write_bytes(SOUND + encode_varint(5 << 3 | wire))
    assert f"At byte {len(SOUND):,}" in refusal(path).why


@pytest.mark.parametrize("extra", [b"\x38" + b"\xff" * 11, b"\x38" + b"\xff" * 9 + b"\x7f", b"\x00\x01"])
def test_numbers_that_do_not_end_are_refused(tmp_path, extra):
    path = tmp_path / "model.onnx"
    path.write_bytes(SOUND + extra)
    refusal(path)


def test_a_field_that_onnx_does_not_have_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(SOUND + encode_bytes(77, b"x"))
    assert "Model has no field 77" in refusal(path).why


def test_more_nodes_than_any_model_has_are_refused_before_anything_is_allocated(tmp_path, monkeypatch):
    monkeypatch.setattr(structure, "MAX_NODES", 4)
    error = refusal(saved(two_layers(), tmp_path))
    assert "more than 4 nodes" in error.why


def test_a_file_of_nothing_but_tiny_fields_is_refused_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(structure, "MAX_FIELDS", 1000)
    path = tmp_path / "model.onnx"
    path.write_bytes(encode_bytes(7, encode_bytes(1, b"\x0a\x00" * 5000)))
    assert "more fields than any model" in refusal(path).why


def test_a_model_beyond_2_gib_is_refused_with_the_way_to_save_it(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as stream:
        stream.truncate(1 << 31)
    assert "save_as_external_data=True" in refusal(path).fix
