"""ONNX to OpenVINO's IR, with bytes that depend on the model alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from edgec.backends.openvino.u8_dialect import to_u8_dialect

_IN_ONE_FILE = 1 << 30  # bytes; protobuf itself ends at 2 GiB


@contextmanager
def onnx_file(model: onnx.ModelProto) -> Iterator[Path]:
    """`model` as a temporary file, its weights beside it when it is large."""
    with tempfile.TemporaryDirectory(prefix="edgec-openvino-") as folder:
        path = Path(folder) / "model.onnx"
        if model.ByteSize() < _IN_ONE_FILE:
            onnx.save(model, str(path))
        else:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)  # saving external data changes the model that is saved
            onnx.save(copy, str(path), save_as_external_data=True, location="weights.bin")
        yield path


def convert(model: onnx.ModelProto) -> Any:
    """The `openvino.Model` of an ONNX model, its quantized activations in the uint8 dialect."""
    import openvino

    dialect = to_u8_dialect(model)
    del dialect.metadata_props[:]  # who exported the model, when and where, does not belong in an artifact
    with onnx_file(dialect) as path:
        return openvino.Core().read_model(str(path))


def rename_nodes(model: Any) -> dict[str, str]:
    """Name every node after its place in the graph; returns the names that OpenVINO had given them.

    OpenVINO numbers the nodes that it makes itself from a counter of the process, so its names differ from run to run.
    The names of tensors, by which inputs and outputs are known, are left alone.
    """
    names: dict[str, str] = {}
    _rename(model, "", names)
    return names


def _rename(model: Any, prefix: str, names: dict[str, str]) -> None:
    for index, node in enumerate(model.get_ordered_ops()):
        name = f"{prefix}n{index}_{node.get_type_name()}"
        names[name] = node.get_friendly_name()
        node.set_friendly_name(name)
        for number, body in enumerate(_bodies(node)):
            _rename(body, f"{name}.{number}.", names)


def _bodies(node: Any) -> list[Any]:
    """The graphs inside a control-flow node."""
    kind = node.get_type_name()
    if kind == "If":
        return [node.get_then_body(), node.get_else_body()]
    if kind in ("Loop", "TensorIterator"):
        return [node.get_function()]
    return []


def write(model: Any, xml: Path, weights: Path) -> None:
    """Write the IR. Constants keep their precision; the version of OpenVINO is not written into it."""
    import openvino

    openvino.serialize(model, str(xml), str(weights))
