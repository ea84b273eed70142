"""What a report says of a payload: which operators compute in integers, and what is left of transposes and floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.backends.integer_facts import Declared, in_words, integer_facts
from edgec.backends.tflite.fast_kernels import FASTER_IN_FLOAT
from edgec.backends.tflite.lowering import Lowered
from edgec.backends.tflite.writer import Written
from edgec.ir.graph import Graph
from edgec.ir.passes.transposes import RemainingTranspose

_FLOATS = ("float16", "float32", "float64")


def facts(lowered: Lowered, written: Written, declared: Declared) -> dict[str, Any]:
    """Observations in JSON form; a function of the model and of what was made of it."""
    in_float = lowered.in_float if declared.integer else ()
    return {
        **integer_facts(lowered.graph, lowered.in_float, declared, frozenset({FASTER_IN_FLOAT})),
        "operators": dict(written.operators),
        "transposes": [
            {"value": item.value, "permutation": list(item.permutation), "bytes": item.bytes, "why": item.why}
            for item in lowered.transposes
        ],
        "minimum_runtime": written.runtime,
        "weight_bytes": written.stored.total,
        "remarks": [*in_words(in_float), *_of_transposes(lowered.transposes)],
    }


def _of_transposes(transposes: Sequence[RemainingTranspose]) -> list[str]:
    """What is moved at every inference, in one sentence."""
    if not transposes:
        return []
    moved = sum(item.bytes for item in transposes) / 1000
    number = "1 transpose is" if len(transposes) == 1 else f"{len(transposes)} transposes are"
    return [f"{number} left ({moved:,.1f} kB at each inference): the report says why."]


def border(graph: Graph, names: Sequence[str], contract: Mapping[str, str]) -> list[dict[str, Any]]:
    """Inputs or outputs as the engine has to feed and read them.

    contract: name and dtype of each, in order.

    index_name: the tensor's name in the file; name: in the contract. permutation: dimension i in the file is dimension
    permutation[i] of the contract's; None where they are the same. scale, zero_point: of integers that stand for the
    contract's floats; None where the file has what the contract has. contract: the dtype of the contract's floats where
    it is not float32; None where it is, and for integers.
    """
    found = []
    for name, (wanted, dtype) in zip(names, contract.items(), strict=True):
        of, order = graph.type(name), graph.layouts.get(name)
        grid = of.quantization if dtype in _FLOATS else None
        found.append(
            {
                "name": wanted,
                "index_name": name,
                "permutation": list(order) if order is not None and list(order) != list(range(of.rank)) else None,
                "dtype": of.dtype,
                "scale": grid.scale[0] if grid is not None else None,
                "zero_point": grid.zero_point[0] if grid is not None else None,
                "contract": dtype if dtype in _FLOATS and dtype != "float32" else None,
            }
        )
    return found
