"""Graphs as machine code, beside the reference executor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgec.backends.tvm.building import build_program
from edgec.backends.tvm.isa import NEEDED, named
from edgec.backends.tvm.lowering import program_of
from edgec.ir.graph import Graph
from edgec.ir.reference import execute
from edgec.runtime.engines.tvm import TVMEngine, load
from edgec.targets import host_features, load_target
from tests.backends.tvm.guarded import Guarded

X86 = {
    "avx512_vnni": load_target("x86-64-vnni"),
    "avx_vnni": load_target("x86-64-avx-vnni"),
    "avx2": load_target("x86-64-v3"),
}
"""Instruction sets of x86, the best first, each with a target that gets it."""


def runs_here(isa: str) -> bool:
    """Whether this machine has what an instruction set needs."""
    return platform.machine() == NEEDED[isa][0] and NEEDED[isa][1] <= set(host_features())


ISA = next((isa for isa in X86 if runs_here(isa)), "avx512_vnni")
"""The best one that runs here: what tests take that are about no instruction set."""

TARGET = X86[ISA]
HOST_RUNS_IT = runs_here(ISA)


def engine_of(graph: Graph, folder: Path, threads: int = 1, isa: str = ISA) -> Guarded:
    """The graph, compiled for an instruction set and loaded; it faults where it leaves its memory."""
    path = folder / "model.so"
    build_program(program_of(graph, named(isa)), isa, X86[isa], path)
    return Guarded(load({path.name: path.read_bytes()}, {}, threads))


def differences(graph: Graph, engine: TVMEngine | Guarded, feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many elements of each output are not what the reference executor gives.

    feeds: in the graph's own order of dimensions.
    """
    expected = execute(graph, feeds)
    found = engine.run({name: _as_the_model(graph, name, array) for name, array in feeds.items()})
    assert set(found) == set(expected)
    return {
        name: int(np.count_nonzero(_as_the_model(graph, name, array) != found[name]))
        for name, array in expected.items()
    }


def _as_the_model(graph: Graph, name: str, array: np.ndarray) -> np.ndarray:
    """In the model's order of dimensions."""
    if name not in graph.layouts:
        return array
    return np.ascontiguousarray(array.transpose(np.argsort(graph.layouts[name])))
