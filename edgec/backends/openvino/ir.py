"""ONNX to OpenVINO's IR, with bytes that depend on the model alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import onnx

from edgec.backends.openvino.matmul_dialect import without_zero_points
from edgec.backends.openvino.u8_dialect import to_u8_dialect
from edgec.onnx_graph.cost import StoredBytes


def convert(path: Path, scratch: Path) -> Any:
    """The `openvino.Model` of an ONNX file, its quantized activations in the form that OpenVINO has INT8 kernels for.

    scratch: a folder on the file system of `path`; what is left there must stay as long as the model is used.

    Weights that lie beside the ONNX file are not read into memory: OpenVINO maps their file.
    """
    import openvino

    dialect = without_zero_points(to_u8_dialect(onnx.load(str(path), load_external_data=False)))
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
    """Name every node after its place in the graph; returns the names of the ONNX nodes (or tensors) they come from.

    OpenVINO numbers the nodes that it makes itself from a counter of the process, so its names differ from run to run.
    Such a node, the product of a Gemm for example, stands for the ONNX node whose result it goes into.
    The names of tensors, by which inputs and outputs are known, are left alone.
    """
    names: dict[str, str] = {}
    _rename(model, "", names)
    return names


def _rename(model: Any, prefix: str, names: dict[str, str]) -> None:
    renamed = []
    for index, node in enumerate(model.get_ordered_ops()):
        name = f"{prefix}n{index}_{node.get_type_name()}"
        names[name] = _named(node).get_friendly_name()
        renamed.append((node, name))
        for number, body in enumerate(_bodies(node)):
            _rename(body, f"{name}.{number}.", names)
    for node, name in renamed:
        node.set_friendly_name(name)


def _named(node: Any) -> Any:
    """The node itself where its result is a tensor of the ONNX model, else the next one that it alone leads to."""
    at = node
    while at.get_output_size() and not at.output(0).get_names():
        readers = at.output(0).get_target_inputs()
        if len(readers) != 1:
            return node
        at = next(iter(readers)).get_node()
    return at


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


def stored_bytes(xml: Path, weights: Path) -> StoredBytes:
    """What the constants of a written IR take; those that share their bytes count once."""
    constants = ElementTree.parse(xml).iterfind(".//layer[@type='Const']/data")
    float32 = {item.get("offset"): int(item.get("size", 0)) for item in constants if item.get("element_type") == "f32"}
    return StoredBytes(weights.stat().st_size, sum(float32.values()))
