"""Lowering to OpenVINO."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgec.backends.base import Availability, LowerJob, OpVerdict, Payload
from edgec.errors import InternalError

if TYPE_CHECKING:
    import onnx

    from edgec.targets import Target

_FILES = ("model.xml", "model.bin")


@dataclass(frozen=True)
class OpenVINO:
    """ONNX to model.xml and model.bin."""

    name: str = "openvino"
    tools: tuple[str, ...] = ("openvino",)

    def availability(self) -> Availability:
        try:
            return Availability(True, importlib.metadata.version("openvino"))
        except importlib.metadata.PackageNotFoundError:
            return Availability(False, reason="OpenVINO is not installed.", install="pip install 'edgec[openvino]'")

    def supports(self, model: onnx.ModelProto, target: Target) -> Sequence[OpVerdict]:
        """Every node, as OpenVINO's own converter sees it. Imports OpenVINO: call it in a worker."""
        from edgec.backends.openvino.support import verdicts

        return verdicts(model, target)

    def lower(self, job: LowerJob) -> Payload:
        """Convert, write the IR, and compile it once to see what it will run.

        Raises InternalError when a quantized model would be computed in float throughout: the quantized graph was made
        to be fused into INT8 kernels, so if none is, edgec made the wrong graph for this version of OpenVINO.
        """
        from edgec.backends.openvino import ir
        from edgec.onnx_graph.graph import load_model

        xml, weights = (job.out / name for name in _FILES)
        model = ir.convert(load_model(job.model))
        names = ir.rename_nodes(model)
        ir.write(model, xml, weights)
        options = {"inference_precision": "f32"}  # else OpenVINO computes float in bfloat16 where the CPU has it
        facts = self._compiled_facts(job, names)
        return Payload(engine="openvino", files=_FILES, options=options, facts=facts)

    def _compiled_facts(self, job: LowerJob, names: dict[str, str]) -> dict[str, Any]:
        """Compile the payload as the device will, and look at the kernels."""
        import openvino

        from edgec.backends.openvino import primitives

        core = openvino.Core()
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(str(job.out / _FILES[0])), "CPU", config)
        facts = primitives.facts(primitives.chosen(compiled), names)
        if job.precision != "float" and not facts["int8_primitives"]:
            raise InternalError(
                f"The artifact claims {job.precision}, but OpenVINO would compute all of it in float",
                f"None of its {facts['float_primitives']} convolutions and matrix products has an INT8 kernel "
                f"on this machine ({core.get_property('CPU', 'FULL_DEVICE_NAME')}).",
                "Build with --precision float. If the model has layers that INT8 should reach, please report it with "
                "the model if you may share it and the output of `edgec doctor`.",
                facts,
            )
        return facts


BACKEND = OpenVINO()
