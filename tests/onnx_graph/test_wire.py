"""The wire format, both ways, against protobuf itself."""

import os

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.onnx_graph import wire
from edgec.onnx_graph.fields import MESSAGES
from edgec.onnx_graph.wire import WireError, WireReader, encode_bytes, encode_varint, signed


def reader(data: bytes, budget: int = 1000) -> WireReader:
    descriptor = os.memfd_create("wire")
    os.pwrite(descriptor, data, 0)
    return WireReader(descriptor, len(data), budget)


@given(st.integers(0, (1 << 64) - 1))
def test_a_varint_reads_as_it_was_written(value):
    data = encode_varint(value)
    assert list(reader(data).varints(0, len(data))) == [value]


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_signed_numbers_are_those_of_protobuf(value):
    data = onnx.AttributeProto(i=value).SerializeToString()
    ((number, kind, raw, *_),) = reader(data).fields(0, len(data))
    assert (number, kind, signed(raw)) == (3, wire.VARINT, value)


@given(st.binary(max_size=300))
def test_bytes_read_as_they_were_written(payload):
    data = encode_bytes(9, payload)
    source = reader(data)
    ((number, kind, _, first, last, tag),) = source.fields(0, len(data))
    assert (number, kind, tag) == (9, wire.BYTES, 0)
    assert source.read(first, last) == payload
    assert onnx.TensorProto.FromString(data).raw_data == payload


def test_fields_far_behind_large_data_are_found(monkeypatch):
    """The window moves on; nothing is lost where it ends."""
    monkeypatch.setattr(wire, "_WINDOW", 64)
    tensor = onnx.TensorProto(name="n" * 500, raw_data=bytes(1000), data_type=1, dims=[10, 25])
    data = tensor.SerializeToString()
    numbers = [number for number, *_ in reader(data).fields(0, len(data))]
    assert sorted(numbers) == [1, 1, 2, 8, 9]


@given(st.lists(st.integers(0, (1 << 63) - 1), max_size=50))
def test_packed_numbers_are_counted_without_being_read(values):
    data = b"".join(map(encode_varint, values))
    assert reader(data).count_varints(0, len(data)) == len(values)


@pytest.mark.parametrize("data", [b"\x80", b"\x08", b"\x0a\x05abc", b"\x0d\x00", b"\x08" + b"\x80" * 10 + b"\x01"])
def test_what_is_cut_off_is_an_error_with_its_place(data):
    with pytest.raises(WireError) as caught:
        list(reader(data).fields(0, len(data)))
    assert 0 <= caught.value.position <= len(data)


def test_a_file_that_shrinks_is_an_error_not_a_crash():
    data = encode_bytes(1, b"x" * 500_000)
    source = reader(data)
    os.ftruncate(source._descriptor, 1000)
    ((_, _, _, first, last, _),) = source.fields(0, len(data))
    with pytest.raises(WireError, match="became shorter"):
        source.read(first, last)


def test_the_number_of_fields_is_limited():
    data = encode_bytes(1, b"") * 20
    with pytest.raises(WireError, match="more fields"):
        list(reader(data, budget=10).fields(0, len(data)))


def fields_of(descriptor, found):
    """All messages below a protobuf descriptor, by full name."""
    if descriptor.full_name not in found:
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                fields_of(field.message_type, found)
    return found


def test_the_table_of_fields_is_that_of_the_installed_onnx():
    """A new field in ONNX must be looked at before models that have it are taken."""
    ours = {
        "ElementType": ["TypeProto.Sequence", "TypeProto.Optional"],
        "TensorType": ["TypeProto.Tensor", "TypeProto.SparseTensor"],
        "MapType": ["TypeProto.Map"],
        "OpaqueType": ["TypeProto.Opaque"],
        "Segment": ["TensorProto.Segment"],
        "Shape": ["TensorShapeProto"],
        "Dimension": ["TensorShapeProto.Dimension"],
        "TensorAnnotation": ["TensorAnnotation"],
    }
    theirs = fields_of(onnx.ModelProto.DESCRIPTOR, {})
    covered = set()
    for message, table in MESSAGES.items():
        for name in ours.get(message, [f"{message}Proto"]):
            descriptor = theirs[f"onnx.{name}"]
            covered.add(descriptor.full_name)
            assert {number: field.name for number, field in table.items()} == {
                field.number: field.name for field in descriptor.fields
            }
            for field in descriptor.fields:
                known = table[field.number]
                assert known.repeated == field.is_repeated, field.full_name
                assert bool(known.message) == (field.message_type is not None), field.full_name
    assert covered == set(theirs)
