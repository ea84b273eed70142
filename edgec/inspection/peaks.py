"""What this machine's processor can do at best, measured: the roofs of its roofline.

A matrix product of ONNX Runtime is what large layers come down to, and nothing that edgec builds is much faster than a
good one; a copy of arrays larger than any cache is what the memory gives. All on one thread, as layers are profiled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

_SIDE = 512  # of the matrices: 134 million multiply-accumulates, 1 MB each in float32
_COPIED = 64 << 20
_RUNS = 12
_TRIES = 3
_NOISY = 1.25
"""The median of the runs over the least of them from which on the machine counts as busy."""


def measure() -> dict[str, Any]:
    """float32_gmacs, int8_gmacs (10^9 multiply-accumulates a second), memory_gb_per_s (10^9 bytes), noisy; by the best
    of some runs each. Takes less than half a second, and up to three times that on a busy machine: what is measured is
    kept."""
    import numpy as np

    random = np.random.default_rng(0)
    floats = [random.standard_normal((_SIDE, _SIDE)).astype(np.float32) for _ in range(2)]
    bytes_ = random.integers(0, 255, (_SIDE, _SIDE), np.uint8)
    integers = random.integers(-64, 63, (_SIDE, _SIDE), np.int8)
    source, target = np.ones(_COPIED, np.uint8), np.zeros(_COPIED, np.uint8)
    works: list[tuple[Callable[[Any], object], Any]] = [
        (_product("MatMul", floats[1]), floats[0]),
        (_product("MatMulInteger", integers), bytes_),
        (lambda values: np.copyto(target, values), source),
    ]
    least = [math.inf] * len(works)
    noisy = True
    for _ in range(_TRIES):
        times = [_times(work, values) for work, values in works]
        least = [min(known, *each) for known, each in zip(least, times, strict=True)]
        noisy = any(median(each) > _NOISY * known for known, each in zip(least, times, strict=True))
        if not noisy:
            break
    products = _SIDE**3 / 1e9
    float32, int8, memory = least
    return {
        "float32_gmacs": round(products / float32, 2),
        "int8_gmacs": round(products / int8, 2),
        "memory_gb_per_s": round(2 * _COPIED / 1e9 / memory, 2),  # read, and written
        "noisy": noisy,
    }


def _times(work: Callable[[Any], object], values: Any) -> list[float]:
    """Seconds of each run but the first."""
    found = []
    for _ in range(_RUNS + 1):
        started = time.perf_counter()
        work(values)
        found.append(time.perf_counter() - started)
    return found[1:]


def _product(operator: str, weights: Any) -> Callable[[Any], object]:
    """A product with constant weights, which ONNX Runtime packs in advance, as it does for a layer."""
    from onnx import TensorProto, helper, numpy_helper

    from edgec.reference import open_session

    floats = operator == "MatMul"
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        operator,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT if floats else TensorProto.UINT8, weights.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT if floats else TensorProto.INT32, weights.shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = open_session(model.SerializeToString(), "all")
    return lambda values: session.run(None, {"x": values})
