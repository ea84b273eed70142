"""Compress: smaller weights for float arithmetic, the reference of the precisions int8-weights and fp16.

out: weights.onnx (and weights.bin beside it for a large model), compress.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgec.errors import UsageError
from edgec.stage import Stage, StageContext
from edgec.toml_schema import did_you_mean

if TYPE_CHECKING:
    import onnx

    from edgec.quantization.weight_only import LeftWeight

REFERENCE = "weights.onnx"

NAMED = 5
"""Tensors that one warning names at most."""


@dataclass(frozen=True)
class CompressParams:
    """keep_float: nodes whose weights stay float32, or nodes of the simplified model that went into those."""

    precision: Literal["int8-weights", "fp16"]
    keep_float: tuple[str, ...] = ()


def run(model: Path, params: CompressParams, context: StageContext) -> None:
    """Write the model of `model / "model.onnx"` with smaller weights.

    Raises UsageError for a node in keep_float that the model does not have, for a model that has no weights which could
    be smaller, and for one whose activations came quantized.
    """
    from edgec.onnx_graph.canonicalization.record import now_called
    from edgec.onnx_graph.hollow import write_model
    from edgec.onnx_graph.stored import open_stored
    from edgec.quantization.weight_only import compress

    with open_stored(model / "model.onnx") as (hollow, weights):
        keep_float = now_called(model, params.keep_float)
        _check(hollow, params.precision, keep_float)
        made = compress(hollow, weights, params.precision, keep_float, _progress(context))
        if not made.stored:
            raise _nothing(params.precision, made.left)
        write_model(made.model, made.weights, context.out)
    (context.out / "model.onnx").rename(context.out / REFERENCE)
    context.write_json("compress.json", {"precision": params.precision, **made.to_json()})
    if params.precision == "fp16" and made.left:
        context.warn(_left(made.left))


def _progress(context: StageContext) -> Callable[[int, int], None]:
    return lambda done, total: context.progress(done, total, "weights")


def _check(model: onnx.ModelProto, precision: str, keep_float: Sequence[str]) -> None:
    initializers = {item.name for item in model.graph.initializer}
    quantized = [
        node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in initializers
    ]
    if quantized:
        raise UsageError(
            f"--precision {precision} computes in float, and this model came quantized",
            f"{len(quantized)} of its nodes quantize activations, {quantized[0].name!r} first.",
            "Build it with --precision int8, which keeps its scales; or give the float model that it was made from.",
        )
    known = [node.name for node in model.graph.node]
    for name in keep_float:
        if name not in known:
            raise UsageError(
                f"There is no node called {name!r} to keep in float.{did_you_mean(name, known)}",
                "Names are those of the model in its normal form, which the report lists, or of nodes that went into "
                "those.",
                "Correct --keep-float, or leave it out.",
            )


def _nothing(precision: str, left: Sequence[LeftWeight]) -> UsageError:
    why = "It has no float tensor of 256 or more elements."
    if left:
        why = "\n".join(f"{item.name}: {item.reason}" for item in left[:NAMED])
    return UsageError(
        f"No weight of the model gets smaller with --precision {precision}",
        why,
        "Build with --precision float: the artifact would be the same.",
    )


def _left(left: Sequence[LeftWeight]) -> str:
    lines = [f"{item.name}: {item.reason}" for item in left[:NAMED]]
    if len(left) > NAMED:
        lines.append(f"and {len(left) - NAMED} more")
    return "Weights that stay float32:\n" + "\n".join(lines)


STAGE = Stage("compress", ("onnx", "numpy"), run)
