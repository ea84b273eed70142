"""The node tests of the ONNX backend suite, through TVM: every claimed operator in every form that is not refused.

Many of them are one library: each is a part of a graph that has nothing to do with the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from edgec.ir.graph import Graph, Operation

pytest.importorskip("tvm")

from edgec.backends.tvm.lowering.graph import lowered_graph
from tests.backends.tvm.compiled import HOST_RUNS_IT, engine_of
from tests.ir.conformance.cases import Case, all_cases
from tests.ir.conformance.outcome import ABSOLUTE
from tests.ir.conformance.refusals import AT_THE_BORDER, refusal

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

PARTS = 3
"""Libraries that all cases are divided into: compilers of C are started once for each."""


def computed() -> list[Case]:
    """Cases that are to be computed, but for those that write an operator out in others, which have cases, too."""
    return [case for case in all_cases() if case.claimed and "_expanded" not in case.name and not _refused(case)]


def _refused(case: Case) -> bool:
    return refusal(case, "tvm") is not None


def together(graphs: Mapping[str, Graph]) -> Graph:
    """All as one: names have their graph's before them."""
    whole = Graph("all", (), ())
    for label, graph in graphs.items():

        def of(name: str, label: str = label) -> str:
            return f"{label}:{name}"

        whole.inputs += tuple(map(of, graph.inputs))
        whole.outputs += tuple(map(of, graph.outputs))
        whole.operations += [
            Operation(item.kind, tuple(map(of, item.inputs)), tuple(map(of, item.outputs)), item.origin)
            for item in graph.operations
        ]
        whole.values |= {of(name): replace(value, name=of(name)) for name, value in graph.values.items()}
        whole.layouts |= {of(name): layout for name, layout in graph.layouts.items()}
    return whole


@pytest.mark.parametrize("part", range(PARTS))
def test_node_cases(tmp_path, part):
    cases = {case.name: case for case in computed()[part::PARTS]}
    engine = engine_of(together({name: lowered_graph(case.model) for name, case in cases.items()}), tmp_path)
    wrong: dict[str, str] = {}
    for number in range(max(len(case.runs) for case in cases.values())):
        feeds = {
            f"{case.name}:{info.name}": np.asarray(case.runs[min(number, len(case.runs) - 1)][0][info.name])
            for case in cases.values()
            for info in case.model.graph.input
        }
        found = engine.run(feeds)
        for case in cases.values():
            _, expected = case.runs[min(number, len(case.runs) - 1)]
            if message := _differs(case, expected, found):
                wrong[case.name] = message
    assert wrong == {}


def _differs(case: Case, expected: Mapping[str, object], found: Mapping[str, np.ndarray]) -> str:
    """What is wrong with a case's results."""
    for name, data in expected.items():
        wanted, got = np.asarray(data), found[f"{case.name}:{name}"]
        if AT_THE_BORDER.fullmatch(case.name):
            wanted = wanted.astype(got.dtype)
        if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
            return f"{name} is {got.dtype} {got.shape}, not {wanted.dtype} {wanted.shape}"
        atol = ABSOLUTE.get(case.name, case.atol)
        if not np.allclose(got, wanted, rtol=case.rtol, atol=atol, equal_nan=True):
            return f"{name} is {got.ravel()[:4]}, not {wanted.ravel()[:4]}"
    return ""
