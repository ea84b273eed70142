"""ONNX to OpenVINO's IR, with bytes that depend on the model alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import onnx

from edgec.backends.openvino.u8_dialect import to_u8_dialect


def convert(path: Path, scratch: Path) -> Any:
    """The `openvino.Model` of an ONNX file, its quantized activations in the uint8 dialect.

    scratch: a folder on the file system of `path`; what is left there must stay as long as the model is used.

    Weights that lie beside the ONNX file are not read into memory: OpenVINO maps their file.
    """
    import openvino

    dialect = to_u8_dialect(onnx.load(str(path), load_external_data=False))
    del dialect.metadata_props[:]  # who exported the model, when and where, does not belong in an artifact
    onnx.save(dialect, str(scratch / "model.onnx"))
    for name in _external_files(dialect):
        _link(path.parent / name, scratch / name)
    return openvino.Core().read_model(str(scratch / "model.onnx"))


def _external_files(model: onnx.ModelProto) -> set[str]:
    """Names of the files that hold a model's large weights."""
    return {entry.value for item in model.graph.initializer for entry in item.external_data if entry.key == "location"}


def _link(source: Path, target: Path) -> None:
    """Another name for a file (OpenVINO refuses symbolic links); a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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
