"""Lowering for the Edge TPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.backends.base import Availability, Backend, Interface, LowerJob, OpVerdict, Payload, Precision
from edgec.backends.edgetpu.compiler import EXECUTABLE
from edgec.backends.edgetpu.support import REMEDY
from edgec.errors import UnsupportedOp
from edgec.quantization.profiles import Profile

if TYPE_CHECKING:
    from edgec.backends.edgetpu.compiler import Compiled
    from edgec.backends.edgetpu.mapping import Mapping
    from edgec.backends.edgetpu.network import Network
    from edgec.targets import Target

DELEGATE = "libedgetpu.so.1"
"""The library that runs a compiled file's operator on the device (https://coral.ai/docs/edgetpu/tflite-python/)."""

COMPILED, UNCOMPILED = "compiled", "uncompiled"

_LOG = "edgetpu_compiler.log"
_NAMED = 10


@dataclass(frozen=True)
class EdgeTPU:
    """ONNX to a .tflite file of 8-bit integers, and to what the Edge TPU compiler makes of it where there is one.

    The payload's first file runs on any CPU, with the values that the Edge TPU's operators are defined by; the
    compiled one, where it could be made, lies beside it.
    """

    name: str = "edgetpu"
    tools: tuple[str, ...] = ("ai-edge-litert", EXECUTABLE)
    precisions: tuple[Precision, ...] = ("int8",)
    profiles: tuple[Profile, ...] = ("strict",)
    activation_bits: tuple[int, ...] = (8,)
    against_16_bits: str = "the backend computes with activations of 8 bits only"
    against_emulation: str = ""
    interfaces: tuple[Interface, ...] = ("int8", "float", "uint8")
    c_objects: bool = False
    searches_tiles: bool = False
    per_tensor_weights: frozenset[str] = frozenset({"Gemm", "MatMul"})

    def availability(self) -> Availability:
        state = _tflite().availability()
        if shutil.which(EXECUTABLE) is None:
            return replace(state, remark=f"without {EXECUTABLE} on PATH, artifacts stay uncompiled (docs/edgetpu.md)")
        return state

    def against_products_of_activations(self, interface: Interface, target: Target) -> str:
        return ""

    def saturates(self, target: Target) -> bool:
        return _tflite().saturates(target)

    def supports(self, model: Path, target: Target) -> Sequence[OpVerdict]:
        """Every node that TensorFlow Lite can take and compute in INT8: what the Edge TPU can't is left to the CPU."""
        from edgec.backends.edgetpu.support import verdicts

        return verdicts(model, _tflite().supports(model, target), self.per_tensor_weights)

    def lower(self, job: LowerJob) -> Payload:
        """Write the file, predict its mapping, and compile it where the compiler is on PATH.

        Raises UnsupportedOp naming operations that compute in float; WorkerCrashed, WorkerTimedOut and InternalError
        when the compiler fails.
        """
        from edgec.backends.edgetpu import compiler
        from edgec.backends.edgetpu.mapping import predict_network
        from edgec.backends.edgetpu.network import read

        payload = _tflite().lower(job)
        file = job.out / payload.files[0]
        network = read(file.read_bytes())
        _require_strict(network)
        runtime = runtime_of(job.target)
        mapping = predict_network(network, runtime)
        executable = compiler.find()
        if executable is None:
            return _with(payload, mapping, None)
        made = compiler.compile_model(executable, file, job.out, runtime)
        (job.out / _LOG).write_text(json.dumps(made.log.to_json(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for beside in job.out.glob("*_edgetpu.log"):
            beside.unlink()  # it names paths of this machine; what it says is in the other one
        return _with(payload, mapping, made)


def runtime_of(target: Target) -> int:
    """The lowest version of the Edge TPU runtime that a device may have."""
    from edgec.backends.edgetpu.rules import NEWEST_RUNTIME

    return NEWEST_RUNTIME if target.accelerator is None else target.accelerator.runtime


def _tflite() -> Backend:
    from edgec.backends import load_backend

    return load_backend("tflite")


def _with(payload: Payload, mapping: Mapping, made: Compiled | None) -> Payload:
    """The payload with what is known of its mapping, and with the compiled file."""
    from edgec.backends.edgetpu.comparison import compare

    label = UNCOMPILED if made is None else COMPILED
    facts: dict[str, Any] = {"label": label, "predicted": mapping.to_json(), "actual": None, "comparison": None}
    options = dict(payload.options)
    files = payload.files
    if made is not None:
        facts["actual"] = made.log.to_json()
        facts["comparison"] = compare(mapping, made.log).to_json()
        files = (*files, made.file.name, _LOG)
        options["edgetpu"] = {"file": made.file.name, "delegate": DELEGATE}
    remarks = [*payload.facts.get("remarks", ()), *_remarks(mapping, made)]
    return replace(payload, files=files, options=options, facts={**payload.facts, "edgetpu": facts, "remarks": remarks})


def _remarks(mapping: Mapping, made: Compiled | None) -> list[str]:
    """What the user is told of the payload."""
    from edgec.backends.edgetpu.comparison import compare

    total = len(mapping.operators)
    if made is None:
        return [
            "The payload is uncompiled: edgetpu_compiler is not on PATH, and without it the model runs on the CPU "
            f"only. {mapping.mapped} of {total} operations are predicted to be mapped; the predictor has not been "
            "validated against the compiler (docs/edgetpu.md)."
        ]
    found = compare(mapping, made.log)
    by = f"The Edge TPU compiler {found.compiler}"
    if found.mapped is None:
        return [f"{by} printed no table; {mapping.mapped} of {total} operations were predicted to be mapped."]
    verdict = (
        "as predicted" if found.agrees else f"and {found.mapped[0]} were predicted: the report has the differences"
    )
    return [f"{by} mapped {found.mapped[1]} of {total} operations, {verdict}."]


def _require_strict(network: Network) -> None:
    """Raises UnsupportedOp for a network that computes in float anywhere between its inputs and outputs."""
    from edgec.backends.edgetpu.mapping import in_float

    floats = [operator.label for operator in network.operators if in_float(operator, network)]
    if not floats:
        return
    more = f"\nand {len(floats) - _NAMED} more" if len(floats) > _NAMED else ""
    raise UnsupportedOp(
        f"{len(floats)} operations of the model would compute in float, and the Edge TPU takes 8-bit integers only",
        "\n".join(floats[:_NAMED]) + more,
        REMEDY,
        {"operations": floats},
    )


BACKEND = EdgeTPU()
