"""Every instruction set of x86: the same integers, the instructions meant, and none that a target lacks."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.kinds import Padding2D
from edgec.targets import load_target
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from edgec.backends.tvm.generating import assembly
from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.lowering import program_of
from tests.backends.tvm import test_elementwise, test_kernels, test_products, test_windows
from tests.backends.tvm.assembly import Function, count, functions
from tests.backends.tvm.compiled import ISA, X86, differences, engine_of, runs_here

WRITERS = (
    test_kernels.dense_convolutions_of_any_shape,
    test_kernels.depthwise_convolutions_of_any_shape,
    test_kernels.shapes_of_mobile_networks,
    test_kernels.fully_connected_layers_of_any_size,
    test_kernels.lowest_weights,
    test_kernels.sums_alone_and_with_the_product_before,
    test_elementwise.one_of_each_kernel,
    test_products.convolutions_with_groups,
    test_products.transposed_convolutions_of_any_shape,
    test_products.products_of_two_activations,
    test_products.products_whose_result_is_float,
    test_windows.pooling,
    test_windows.reductions_over_any_axes,
    test_windows.bilinear_resizing,
    test_windows.softmax,
    test_windows.positions_of_the_largest_and_the_smallest,
    test_windows.running_sums,
)

PRODUCTS = {"avx512_vnni": r"vpdpbusd\s.*%zmm", "avx_vnni": r"\{vex\} vpdpbusd\s.*%ymm", "avx2": r"vpmaddwd\s.*%ymm"}
"""The instruction that multiplies."""

_AVX512 = re.compile(r"%zmm|%k[0-7]\b|%[xy]mm(?:1[6-9]|2\d|3[01])\b|\{1to\d+\}")
"""What is in no instruction of less than AVX-512."""

_VECTOR_ON_STACK = r"v\w+ .*\(%r[sb]p\)"

SPILLS = {"avx512_vnni": 2, "avx_vnni": 0, "avx2": 26}
"""Instructions that read or write a spilled vector, in the loop of a dense product: one sum of 28, and of AVX2,
which multiplies twice as many vectors of activations and weights, 13 of 16."""


@pytest.mark.parametrize("isa", [isa for isa in X86 if isa != ISA])
def test_kernels_are_exact(tmp_path, isa):
    """What other tests compute with one instruction set, all in one graph for each of the others."""
    if not runs_here(isa):
        pytest.skip(f"this machine lacks the instructions of {isa}")
    cases = Cases(5)
    for write in WRITERS:
        write(cases)
    graph = cases.finish()
    found = differences(graph, engine_of(graph, tmp_path, isa=isa), cases.feeds(graph))
    assert {cases.labels[name]: count for name, count in found.items() if count} == {}


@pytest.fixture(scope="module", params=X86)
def compiled(request) -> tuple[str, str, dict[str, Function]]:
    """The instruction set's name, and the assembly of a few layers that are all inner loops."""
    cases = Cases(6)
    for window, groups in (((1, 1, 64), 1), ((3, 3, 64), 1), ((3, 3, 1), 64), ((5, 5, 1), 64)):
        side = window[0] // 2
        kind = kinds.Conv2D((1, 1), (1, 1), Padding2D(side, side, side, side), groups)
        x = cases.activations((1, 14, 14, 64))
        cases.result(cases.product(kind, x, window, 256 if groups == 1 else 64), f"{window}")
    a, b = cases.activations((1, 14, 14, 64)), cases.activations((1, 14, 14, 64))
    cases.result(cases.sum(a, b), "sum")
    isa = named(request.param)
    program = program_of(cases.finish(), isa)
    text = assembly({symbol: kernel for kernel, symbol in program.symbols().items()}, isa, X86[isa.name])
    return isa.name, text, functions(text)


def test_products_are_the_instruction_meant(compiled):
    isa, _, kernels = compiled
    found = {name: count(kernel.instructions, PRODUCTS[isa]) for name, kernel in kernels.items()}
    products = {name: number for name, number in found.items() if re.match("edgec_(dense|depthwise)", name)}
    assert len(products) == 4 and min(products.values()) >= 8, found
    others = {other for name, other in PRODUCTS.items() if name != isa}
    assert not any(count(kernel.instructions, other) for kernel in kernels.values() for other in others)


def test_no_instruction_is_of_more_than_the_target_has(compiled):
    isa, _, kernels = compiled
    found = [line for kernel in kernels.values() for line in kernel.instructions if _AVX512.search(line)]
    assert bool(found) == (isa == "avx512_vnni"), found[:5]


def test_kernels_call_nothing_and_allocate_nothing(compiled):
    _, text, kernels = compiled
    assert kernels and not any(count(kernel.instructions, "call|jmpq? \\*") for kernel in kernels.values())
    assert "Workspace" not in text


def test_sums_of_dense_products_stay_in_registers(compiled):
    isa, _, kernels = compiled
    for name, kernel in kernels.items():
        if name.startswith("edgec_dense"):
            loop = kernel.loop_of(PRODUCTS[isa])
            assert count(loop, PRODUCTS[isa]) >= 8
            assert count(loop, _VECTOR_ON_STACK) <= SPILLS[isa], (name, loop)


def test_a_stack_of_vectors_is_aligned_to_them(compiled):
    isa, _, kernels = compiled
    size = 4 * named(isa).lanes
    for name, kernel in kernels.items():
        if count(kernel.instructions, _VECTOR_ON_STACK):
            assert count(kernel.instructions, rf"andq \$-{size}, %rsp") == 1, name


def test_a_targets_features_choose_the_best_instruction_set():
    assert {isa: name_for(target) for isa, target in X86.items()} == {isa: isa for isa in X86}
    v3 = X86["avx2"]
    assert name_for(replace(v3, features=(*v3.features, "avx512f", "avx512bw"))) == "avx2"
    assert name_for(replace(v3, features=(*v3.features, "avx_vnni", "avx512f", "avx512bw", "avx512_vnni"))) is not None
    assert name_for(replace(v3, features=("sse4_2", "avx", "fma"))) is None


@pytest.mark.parametrize("isa", X86)
def test_llvm_is_told_what_the_target_has_and_nothing_of_this_machine(isa):
    told = named(isa).tvm_target(X86[isa])
    wanted = {"avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni", "avx2": "avx2"}[isa]
    assert told["mcpu"] == "x86-64" and f"+{wanted}" in told["mattr"] and "+sse4.2" in told["mattr"]
    beyond = replace(X86[isa], features=(*X86[isa].features, "avx512f", "avx512bw", "amx_int8"), cpu="alderlake")
    told = named(isa).tvm_target(beyond)
    assert told["mcpu"] == "alderlake" and ("+avx512f" in told["mattr"]) == (isa == "avx512_vnni")


def test_weights_of_pairs_are_the_bytes_at_even_and_at_odd_places():
    weights = np.arange(-16, 16, dtype=np.int8).reshape(1, 8, 4)
    packed = named("avx2").packed(weights).view(np.int16)
    assert packed.shape == (1, 32)
    assert packed[0, :16].tolist() == weights[0, :, ::2].reshape(-1).tolist()
    assert packed[0, 16:].tolist() == weights[0, :, 1::2].reshape(-1).tolist()
    assert load_target("x86-64-v3").saturates_int8_products  # not here: these products do not
