"""Lowering to OpenVINO."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.backends.base import Availability, Interface, LowerJob, OpVerdict, Payload, Precision
from edgec.backends.claims import INTEGER, require_claimed
from edgec.quantization.profiles import Profile

if TYPE_CHECKING:
    from edgec.backends.openvino.primitives import Primitive
    from edgec.targets import Target

_FILES = ("model.xml", "model.bin")


@dataclass(frozen=True)
class OpenVINO:
    """ONNX to model.xml and model.bin."""

    name: str = "openvino"
    tools: tuple[str, ...] = ("openvino",)
    precisions: tuple[Precision, ...] = ("int8", "mixed", "int8-weights", "fp16", "float")
    profiles: tuple[Profile, ...] = ("islands", "strict")
    """Convolutions and matrix products take in what float arithmetic lies behind them; quantizing in between makes more
    kernels of it. Of five models none was slower in islands, a text recognizer took 6.0 ms instead of 9.9, and all lost
    less."""

    activation_bits: tuple[int, ...] = (8,)
    against_16_bits: str = "the backend computes with activations of 8 bits only"
    against_emulation: str = "an emulated device has no OpenVINO"
    interfaces: tuple[Interface, ...] = ("float",)
    c_objects: bool = False
    searches_tiles: bool = False
    per_tensor_weights: frozenset[str] = frozenset()

    def availability(self) -> Availability:
        try:
            return Availability(True, importlib.metadata.version("openvino"))
        except importlib.metadata.PackageNotFoundError:
            return Availability(False, reason="OpenVINO is not installed.", install="pip install 'edgec[openvino]'")

    def against_products_of_activations(self, interface: Interface, target: Target) -> str:
        return ""

    def saturates(self, target: Target) -> bool:
        return target.saturates_int8_products

    def supports(self, model: Path, target: Target) -> Sequence[OpVerdict]:
        """Every node, as OpenVINO's own converter sees it. Imports OpenVINO: call it in a worker."""
        from edgec.backends.openvino.support import verdicts

        return verdicts(model, target)

    def lower(self, job: LowerJob) -> Payload:
        """Convert, write the IR, and compile it once to see what it will run.

        Raises InternalError when a quantized model would be computed in float throughout: the quantized graph was made
        to be fused into INT8 kernels, so if none is, edgec made the wrong graph for this version of OpenVINO. Also when
        OpenVINO has stored weights in more bytes than the model has: what made them smaller was undone.
        """
        import onnx

        from edgec.backends.openvino import ir, primitives
        from edgec.onnx_graph.cost import stored_bytes

        xml, weights = (job.out / name for name in _FILES)
        with tempfile.TemporaryDirectory(dir=job.out) as scratch:
            model = ir.convert(job.model, Path(scratch))
            names = ir.rename_nodes(model)
            ir.write(model, xml, weights)
        source = onnx.load(str(job.model), load_external_data=False)
        options: dict[str, Any] = {
            "outputs": [output.name for output in source.graph.output],
            "inference_precision": "f32",  # else OpenVINO computes float in bfloat16 where the CPU has it
        }
        found = _compiled(xml, {})
        if job.precision in INTEGER and _int8_products(found) < _int8_products(apart := _compiled(xml, _APART)):
            options["snippets"] = _APART["SNIPPETS_MODE"]
            found = apart
        facts = primitives.facts(found, names, source)
        found_bytes = ir.stored_bytes(xml, weights)
        facts["weight_bytes"] = found_bytes.total
        require_claimed("OpenVINO", job.precision, facts, found_bytes, stored_bytes(source))
        return Payload(engine="openvino", files=_FILES, options=options, facts=facts)


_APART = {"SNIPPETS_MODE": "DISABLE"}
"""OpenVINO generates one kernel for a chain of small layers (a "snippet"), on one thread also for quantized
FullyConnected layers. In 2026.4 those kernels leave out the rescaling: the results are off by nine orders of magnitude.
So where INT8 products would vanish into a snippet, snippets are turned off for the payload."""


def _compiled(xml: Path, config: Mapping[str, str]) -> list[Primitive]:
    """What OpenVINO would run for an IR. On one thread, where it fuses most."""
    import openvino

    from edgec.backends.openvino.primitives import chosen

    core = openvino.Core()
    always = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # as the runtime's engine has it
    }
    return chosen(core.compile_model(core.read_model(str(xml)), "CPU", {**always, **config}))


def _int8_products(found: Sequence[Primitive]) -> int:
    return sum(item.is_product and item.is_int8 for item in found)


BACKEND = OpenVINO()
