"""Lowering to TensorFlow Lite."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgec.backends.base import Availability, Interface, LowerJob, OpVerdict, Payload, Precision
from edgec.backends.claims import require_claimed
from edgec.quantization.profiles import Profile

if TYPE_CHECKING:
    from pathlib import Path

    from edgec.backends.tflite.task_metadata import TensorDescription
    from edgec.ir.graph import Graph
    from edgec.targets import Target

_FILE = "model.tflite"


@dataclass(frozen=True)
class TFLite:
    """ONNX to model.tflite."""

    name: str = "tflite"
    tools: tuple[str, ...] = ("ai-edge-litert", "flatbuffers")
    precisions: tuple[Precision, ...] = ("int8", "mixed", "int8-weights", "fp16", "float")
    profiles: tuple[Profile, ...] = ("strict", "closed-islands")
    """The rules of strict are those of TensorFlow Lite's 8-bit specification, and each DEQUANTIZE and QUANTIZE between
    integers is an operator of its own here."""

    activation_bits: tuple[int, ...] = (8, 16)
    against_16_bits: str = "TFLite's fast kernels (XNNPACK) are for 8 bits only; those for 16 are several times slower"
    against_emulation: str = ""
    interfaces: tuple[Interface, ...] = ("float", "int8", "uint8")
    c_objects: bool = False
    searches_tiles: bool = False
    per_tensor_weights: frozenset[str] = frozenset()

    def availability(self) -> Availability:
        install = "pip install 'edgec[tflite]'"
        try:
            version = importlib.metadata.version("ai-edge-litert")
            importlib.metadata.version("flatbuffers")
        except importlib.metadata.PackageNotFoundError as error:
            return Availability(False, reason=f"{error.name} is not installed.", install=install)
        return Availability(True, version)

    def against_products_of_activations(self, interface: Interface, target: Target) -> str:
        if _integers_only(interface, target):
            return ""
        return "XNNPACK has no INT8 kernel for products of two activations, and TFLite's own is slower than float"

    def saturates(self, target: Target) -> bool:
        """Never: the kernels accumulate in 32 bits."""
        return False

    def supports(self, model: Path, target: Target) -> Sequence[OpVerdict]:
        """Every node: whether it can be imported, and TFLite made to compute it."""
        from edgec.backends.tflite.support import verdicts

        return verdicts(model)

    def lower(self, job: LowerJob) -> Payload:
        """Import, run the passes, write the file.

        Raises InternalError when a quantized model would be computed in float throughout, or weights that were made
        smaller take more room than in the model; ModelRefused when the file would be larger than 2 GiB.
        """
        from edgec.backends.integer_facts import Declared
        from edgec.backends.tflite.facts import border, facts
        from edgec.backends.tflite.fast_kernels import FastKernels
        from edgec.backends.tflite.kernels import TFLiteKernels
        from edgec.backends.tflite.lowering import lower
        from edgec.backends.tflite.model_file import require_writable
        from edgec.backends.tflite.writer import write_graph
        from edgec.onnx_graph.graph import load_model
        from edgec.version import __version__

        model = load_model(job.model)
        declared = Declared.by(model)
        require_writable(declared.stored.total)
        kernels = TFLiteKernels() if _integers_only(job.interface, job.target) else FastKernels()
        lowered = lower(model, job.interface, kernels)
        del model  # its weights are in the graph now; the file needs the room
        graph = lowered.graph
        options = {
            "inputs": border(graph, graph.inputs, declared.inputs),
            "outputs": border(graph, graph.outputs, declared.outputs),
        }
        written = write_graph(graph, f"edgec {__version__}", _metadata(job, declared.name, graph, options))
        found = facts(lowered, written, declared)
        require_claimed("TFLite", job.precision, found, written.stored, declared.stored)
        (job.out / _FILE).write_bytes(written.content)
        return Payload(engine="tflite", files=(_FILE,), options=options, facts=found)


def _integers_only(interface: Interface, target: Target) -> bool:
    """Whether the file is for an engine that computes nothing but integers, rather than for a processor."""
    return interface != "float" or target.accelerator is not None


def _metadata(job: LowerJob, name: str, graph: Graph, options: Mapping[str, Any]) -> dict[str, bytes]:
    """Buffers for whoever reads the file: what edgec's runtime does around it, and the same for TFLite's own tools."""
    from edgec.backends.tflite import task_metadata

    told: dict[str, Any] = dict(options)
    if job.recipe is not None:
        told["recipe"] = job.recipe
    inputs, outputs = (_described(graph, options[side], job.recipe) for side in ("inputs", "outputs"))
    return {
        "edgec.io": json.dumps(told, sort_keys=True, separators=(",", ":")).encode(),
        task_metadata.NAME: task_metadata.task_metadata(name, "made by edgec", inputs, outputs),
    }


def _described(
    graph: Graph, items: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any] | None
) -> list[TensorDescription]:
    from edgec.backends.tflite.task_metadata import Image, TensorDescription
    from edgec.runtime.layouts import find_layout

    described = []
    for item in items:
        name = item["index_name"]
        image = None
        if recipe is not None and name in graph.inputs and recipe.get("applies_to") == "images":
            channels = 1 if recipe["color"] == "GRAY" else 3
            if find_layout("auto", channels, graph.type(name).shape) is not None:
                image = Image.from_recipe(recipe)
        described.append(TensorDescription(item["name"], _in_words(item), image))
    return described


def _in_words(item: Mapping[str, Any]) -> str:
    parts = [item["dtype"]]
    if item["scale"] is not None:
        sign = "+" if item["zero_point"] < 0 else "-"
        parts.append(f"real = (integer {sign} {abs(item['zero_point'])}) * {item['scale']:.9g}")
    if item["permutation"] is not None:
        parts.append(f"the model's dimensions in the order {item['permutation']}")
    return "; ".join(parts)


BACKEND = TFLite()
