"""A model names files for its weights. None of them may be a file that the model's owner did not mean to give.

The shapes are those of the published attacks on ONNX: traversal (CVE-2022-25882, CVE-2024-27318, CVE-2026-27489), hard
links (CVE-2026-34446), symbolic links (CVE-2026-34447), sparse tensors that readers forgot.
"""

import os
import resource
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.errors import ModelRefused
from edgec.onnx_graph.hollow import detach_weights, hollow_bytes
from edgec.onnx_graph.untrusted import open_model, scan
from tests.hostile.refusals import refusal
from tests.onnx_graph.models import external_tensor, model_of, saved, with_external_weight

SECRET = bytes(range(256))


@pytest.fixture
def folder(tmp_path):
    """A folder with a model's weights, and a secret beside it."""
    (tmp_path / "secret.data").write_bytes(SECRET)
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "weights.data").write_bytes(bytes(256))
    return inside


def test_weights_beside_the_model_are_taken(folder):
    path = saved(with_external_weight(length=256), folder)
    assert scan(path).files == (path, folder / "weights.data")


def test_weights_in_a_folder_below_are_taken(folder):
    (folder / "data").mkdir()
    (folder / "weights.data").rename(folder / "data" / "w.bin")
    path = saved(with_external_weight("./data/w.bin"), folder)
    assert scan(path).files == (path, folder / "data" / "w.bin")


def test_the_digest_covers_bytes_and_names_of_external_data(folder):
    path = saved(with_external_weight(), folder)
    before = scan(path).digest
    (folder / "weights.data").write_bytes(bytes(255) + b"\1")
    swapped = scan(path).digest
    (folder / "weights.data").rename(folder / "renamed.data")
    renamed = scan(saved(with_external_weight("renamed.data"), folder)).digest
    assert len({before, swapped, renamed}) == 3


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../secret.data", "leads out of the model's folder"),
        ("data/../../secret.data", "leads out of the model's folder"),
        ("./../secret.data", "leads out of the model's folder"),
        ("/etc/passwd", "absolute path"),
        ("//etc/passwd", "absolute path"),
        ("..\\secret.data", "backslash"),
        ("C:\\secret.data", "backslash"),
        ("weights.data\0.png", "characters that no file name needs"),
        ("weights\n.data", "characters that no file name needs"),
        ("*/_ORT_MEM_ADDR_/*", "its own memory"),
        (".", "names no file"),
        ("data/", "names no file"),
        ("missing.data", "does not exist"),
        ("model.onnx", "the model file itself"),
        ("./model.onnx", "the model file itself"),
    ],
)
def test_a_location_that_is_no_file_beside_the_model_is_refused(folder, location, reason):
    error = refusal(saved(with_external_weight(location), folder))
    assert "'w'" in error.what
    assert reason in error.why


def test_a_missing_file_is_refused_with_what_the_folder_holds(folder):
    error = refusal(saved(with_external_weight("model.onnx.data"), folder))
    assert "weights.data" in error.why
    assert "model.onnx.data" in error.fix


def test_a_symbolic_link_is_refused(folder):
    (folder / "weights.data").unlink()
    (folder / "weights.data").symlink_to("../secret.data")
    assert "symbolic link" in refusal(saved(with_external_weight(), folder)).why


def test_a_symbolic_link_on_the_way_is_refused(folder):
    (folder / "data").symlink_to("..", target_is_directory=True)
    error = refusal(saved(with_external_weight("data/secret.data"), folder))
    assert "symbolic link" in error.why
    assert str(folder / "data") in error.why


def test_a_hard_link_is_refused(folder):
    (folder / "weights.data").unlink()
    (folder / "weights.data").hardlink_to(folder.parent / "secret.data")
    assert "hard links" in refusal(saved(with_external_weight(), folder)).why


def test_the_model_itself_may_be_a_link(folder):
    """Package managers and model hubs link files; the user named this one."""
    path = saved(with_external_weight(), folder)
    (folder / "hard.onnx").hardlink_to(path)
    (folder / "soft.onnx").symlink_to("model.onnx")
    assert scan(folder / "hard.onnx").digest == scan(folder / "soft.onnx").digest == scan(path).digest


def test_a_named_pipe_does_not_hang_the_scan(folder):
    os.mkfifo(folder / "pipe")
    assert "named pipe" in refusal(saved(with_external_weight("pipe"), folder)).why


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert "a socket" in refusal(saved(with_external_weight("s"), tmp_path)).why


def test_a_folder_is_refused(folder):
    (folder / "data").mkdir()
    assert "a folder" in refusal(saved(with_external_weight("data"), folder)).why


def test_data_beyond_the_end_of_the_file_is_refused(folder):
    error = refusal(saved(with_external_weight(offset=4), folder))
    assert "bytes 4 to 260" in error.why
    assert "only 256 bytes" in error.why


@pytest.mark.parametrize("entry", [{"offset": "-4"}, {"offset": "0x10"}, {"length": "256 "}, {"offset": "9" * 30}])
def test_numbers_that_are_none_are_refused(folder, entry):
    assert "is not a number" in refusal(saved(with_external_weight(**entry), folder)).why


def test_a_length_that_does_not_fit_the_shape_is_refused(folder):
    assert "external data of 128 bytes" in refusal(saved(with_external_weight(length=128), folder)).why


def test_a_location_given_twice_is_refused(folder):
    """Readers differ on which one counts."""
    model = with_external_weight()
    model.graph.initializer[0].external_data.add(key="location", value="../secret.data")
    assert "location twice" in refusal(saved(model, folder)).why


def test_external_data_without_a_location_is_refused(folder):
    model = with_external_weight()
    del model.graph.initializer[0].external_data[:]
    assert "without a location" in refusal(saved(model, folder)).why


def test_data_in_the_file_and_outside_of_it_is_refused(folder):
    model = with_external_weight()
    model.graph.initializer[0].raw_data = bytes(256)
    assert "both in the file and outside" in refusal(saved(model, folder)).why


def test_tensors_may_share_all_of_their_data_but_not_some(folder):
    (folder / "weights.data").write_bytes(bytes(512))
    model = with_external_weight()
    model.graph.initializer.append(external_tensor("tied", [8, 8], "./weights.data", 0))
    scan(saved(model, folder))
    model.graph.initializer.append(external_tensor("crooked", [8, 8], "weights.data", 128))
    error = refusal(saved(model, folder))
    assert "'crooked'" in error.what
    assert "in part those of" in error.why


def subgraph(model: onnx.ModelProto, tensor: TensorProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["t"], ["o"])], "body", [], [])
    body.initializer.append(tensor)
    body.output.append(helper.make_tensor_value_info("o", TensorProto.FLOAT, [8, 8]))
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body))


def attribute(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor))


def attribute_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Custom", [], ["k"], values=[tensor]))


def function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["k"], value=tensor)
    model.functions.append(helper.make_function("own", "f", [], ["k"], [node], [helper.make_opsetid("", 17)]))


def function_default(model: onnx.ModelProto, tensor: TensorProto) -> None:
    made = helper.make_function("own", "f", [], [], [], [helper.make_opsetid("", 17)])
    made.attribute_proto.append(helper.make_attribute("value", tensor))
    model.functions.append(made)


def training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


@pytest.mark.parametrize(
    "place",
    [subgraph, attribute, attribute_list, function, function_default, training],
    ids=lambda place: place.__name__,
)
def test_every_place_that_can_hold_a_tensor_is_looked_at(folder, place):
    model = with_external_weight()
    place(model, external_tensor("leak", [8, 8], "../secret.data"))
    error = refusal(saved(model, folder))
    assert "'leak'" in error.what
    assert "leads out of the model's folder" in error.why


@pytest.mark.parametrize("part", ["values", "indices"])
@pytest.mark.parametrize("place", ["initializer", "attribute"])
def test_sparse_tensors_with_external_data_are_refused_wherever_they_point(folder, part, place):
    model = with_external_weight()
    sparse = onnx.SparseTensorProto(dims=[64])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(8, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(8), "i"))
    data_type = getattr(sparse, part).data_type
    getattr(sparse, part).CopyFrom(external_tensor("s", [8], "weights.data"))
    getattr(sparse, part).data_type = data_type
    if place == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        model.graph.node.append(helper.make_node("Constant", [], ["k"], sparse_value=sparse))
    assert "sparse tensor with external data" in refusal(saved(model, folder)).why


def test_a_field_in_two_halves_is_refused(folder):
    """protobuf merges them: one half says "external", the other says where, and neither looks dangerous alone."""
    whole = with_external_weight("../secret.data").SerializeToString()
    rest = onnx.ModelProto()
    rest.graph.name = "other half"
    path = folder / "model.onnx"
    path.write_bytes(whole + rest.SerializeToString())
    assert onnx.load_model_from_string(path.read_bytes()).graph.name == "other half"
    assert "the field graph stands there twice" in refusal(path).why


def test_a_file_that_is_exchanged_after_the_check_is_not_followed(folder):
    """What was checked is an open file; what its name means later does not matter."""
    path = saved(with_external_weight(), folder)
    (folder / "weights.data").write_bytes(b"\x01" * 256)
    with open_model(path) as opened:
        (folder / "weights.data").unlink()
        (folder / "weights.data").symlink_to("../secret.data")
        model = onnx.load_model_from_string(hollow_bytes(opened))
        detach_weights(model, opened)
        assert model.graph.initializer[0].raw_data == b"\x01" * 256


def test_a_file_that_is_cut_off_after_the_check_is_refused(folder):
    path = saved(with_external_weight(), folder)
    with open_model(path) as opened:
        os.truncate(folder / "weights.data", 100)
        with pytest.raises(ModelRefused, match="changed while edgec read it"):
            opened.files()
        with pytest.raises(ModelRefused, match="changed while edgec read it"):
            detach_weights(onnx.load_model_from_string(hollow_bytes(opened)), opened)


def test_one_file_for_each_tensor_needs_no_more_descriptors_than_there_are(folder):
    """Older exporters wrote thousands of weight files."""
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": [1]}, {"y": [1]})
    for index in range(150):
        (folder / f"w{index}").write_bytes(bytes(4))
        model.graph.initializer.append(external_tensor(f"w{index}", [1], f"w{index}"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 64, hard))
    try:
        assert len(scan(saved(model, folder)).files) == 151
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
