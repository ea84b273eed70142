"""The kernels for ARM, on emulated cores: the same integers, and only there where the instructions are."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgec.ir import kinds
from edgec.ir.reference import execute
from edgec.targets import load_target
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

from edgec.backends.tvm.generating import assembly
from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.lowering import lowered_graph, program_of
from tests.backends.tvm import test_elementwise, test_kernels, test_products, test_windows
from tests.backends.tvm.assembly import Function, count, functions
from tests.backends.tvm.emulated import Emulated

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("qemu-aarch64", "qemu-arm")), reason="there is no QEMU for ARM"
)

CORES = {"rpi5": ["cortex-a76"], "aarch64-generic": ["cortex-a53", "cortex-a57", "cortex-a72"], "rpi2": ["cortex-a7"]}
"""A target for each instruction set, and the cores that run what is compiled for it."""

WHOLE = (
    test_kernels.lowest_weights,
    test_kernels.shapes_of_mobile_networks,
    test_elementwise.one_of_each_kernel,
)
PARTS = (
    test_kernels.dense_convolutions_of_any_shape,
    test_kernels.depthwise_convolutions_of_any_shape,
    test_kernels.fully_connected_layers_of_any_size,
    test_kernels.sums_alone_and_with_the_product_before,
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
"""What the tests on x86 compute. Of the latter, each instruction set computes another third: compiling costs most."""


def cases_for(target: str) -> Cases:
    cases, first = Cases(4), list(CORES).index(target)
    for write in WHOLE:
        write(cases)
    for write in PARTS:
        before = len(cases.outputs)
        write(cases)
        cases.outputs[before:] = cases.outputs[before + first :: len(CORES)]
    return cases


@pytest.fixture(scope="module", params=CORES)
def compiled(request, tmp_path_factory) -> tuple[Cases, Emulated]:
    cases = cases_for(request.param)
    return cases, Emulated.of(cases.finish(), request.param, tmp_path_factory.mktemp(request.param))


def test_kernels_are_exact_on_every_core(compiled):
    cases, emulated = compiled
    feeds = cases.feeds(emulated.graph)
    for array in feeds.values():
        array.flat[:2] = np.inf, -np.inf
    expected = execute(emulated.graph, feeds)
    for core in CORES[emulated.target.name]:
        for threads in (1, 2):
            found = emulated.run(core, feeds, threads)
            assert {cases.labels[name] for name in expected if not np.array_equal(expected[name], found[name])} == set()


@pytest.mark.parametrize("target", CORES)
def test_a_whole_model_computes_what_the_reference_does(model, tmp_path, target):
    graph = lowered_graph(onnx.load(model))
    emulated = Emulated.of(graph, target, tmp_path)
    feeds = {"image": np.random.default_rng(1).random((1, 8, 8, 1), np.float32)}
    (expected,) = execute(graph, feeds).values()
    for core in CORES[target]:
        (found,) = emulated.run(core, feeds).values()
        assert np.array_equal(expected, found), core


def test_features_that_a_target_does_not_list_are_not_used(model, tmp_path):
    """Of ARMv7, only NEON: Cortex-A8 divides no integers, and has no fused products."""
    target = replace(load_target("rpi2"), cpu="generic", features=("neon",))
    graph = lowered_graph(onnx.load(model))
    emulated = Emulated.of(graph, target, tmp_path)
    feeds = {"image": np.random.default_rng(1).random((1, 8, 8, 1), np.float32)}
    (expected,), (found,) = (values.values() for values in (execute(graph, feeds), emulated.run("cortex-a8", feeds)))
    assert np.array_equal(expected, found)


def test_what_llvm_is_told_comes_from_the_target():
    big_little = replace(load_target("rpi5"), features=("asimd", "asimddp"))
    told = named(name_for(big_little) or "").tvm_target(big_little)
    assert told["mcpu"] == "cortex-a76" and {"+neon", "+dotprod", "-lse", "-fullfp16", "-sve"} <= set(told["mattr"])
    without = replace(load_target("rpi5"), features=("asimd",))
    assert name_for(without) == "neon"
    assert "-dotprod" in named("neon").tvm_target(without)["mattr"]


def test_a_core_without_the_instructions_dies(model, tmp_path):
    emulated = Emulated.of(lowered_graph(onnx.load(model)), "rpi5", tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as error:
        emulated.run("cortex-a72", {"image": np.zeros((1, 8, 8, 1), np.float32)})
    assert error.value.returncode == -signal.SIGILL


# --- machine code ---

MULTIPLICATIONS = {
    "rpi5": r"sdot",
    "rpi4": r"(smull2?|smlal2?|sadalp|saddw2?)\b",
    "rpi3": r"(smull2?|smlal2?|sadalp|saddw2?)\b",
    "aarch64-generic": r"(smull2?|smlal2?|sadalp|saddw2?)\b",
    "rpi2": r"(vmull|vmlal|vpadal|vaddw)\.s",
}
DENSE = {
    "rpi5": (0.8, 0), "rpi4": (0.8, 0.03), "rpi3": (0.7, 0.06), "aarch64-generic": (0.7, 0.14), "rpi2": (0.5, 0.06),
}  # fmt: skip
DEPTHWISE = {
    "rpi5": (0.2, 0.13), "rpi4": (0.5, 0.07), "rpi3": (0.5, 0.07), "aarch64-generic": (0.5, 0.07),
    "rpi2": (0.3, 0.13),
}  # fmt: skip
"""Of the instructions of an inner loop: the least part that multiplies, and the most that touches the stack."""

LACKING = {
    "rpi4": r"[su]u?dot|[su]mmla|sqrdml|f(mla|mul|add)\S* v\S+h\b|cas|ldadd|swp",
    "rpi2": r"v(cvtn|rintn|sdot|maxnm|minnm)|vfma\S*f16|ldaex",
}
LACKING |= {"rpi3": LACKING["rpi4"], "aarch64-generic": LACKING["rpi4"], "rpi5": r"[su]mmla|bf(dot|mmla)|usdot|z\d"}
"""What compilers could use, on newer cores."""


@pytest.fixture(scope="module", params=MULTIPLICATIONS)
def listing(request) -> tuple[str, dict[str, Function]]:
    """The kernels of a network: products with many channels, with few, of single channels, sums and means."""
    cases, target = Cases(5), load_target(request.param)
    x = cases.activations((1, 20, 20, 64))
    for window, outputs in (((1, 1), 96), ((3, 3), 64), ((1, 1), 24)):
        cases.result(cases.product(kinds.Conv2D(), x, (*window, 64), outputs), "dense")
    for window in ((3, 3), (5, 5)):
        kind = kinds.Conv2D(groups=64)
        cases.result(cases.product(kind, x, (*window, 1), 64), "depthwise")
    isa = named(name_for(target) or "")
    kernels = {symbol: kernel for kernel, symbol in program_of(cases.finish(), isa).symbols().items()}
    return target.name, functions(assembly(kernels, isa, target))


def test_the_instructions_that_are_meant(listing):
    target, found = listing
    products = {name: code for name, code in found.items() if "dense" in name or "depthwise" in name}
    assert len(products) == 5
    for name, code in products.items():
        loop = code.loop_of(MULTIPLICATIONS[target])
        multiplied, spilled = (count(loop, pattern) / len(loop) for pattern in (MULTIPLICATIONS[target], r".*\bsp\b"))
        least, most = (DENSE if "dense" in name else DEPTHWISE)[target]
        assert multiplied >= least, (name, multiplied)
        assert spilled <= most, (name, spilled)


def test_no_instruction_that_the_core_lacks_and_no_call(listing):
    target, found = listing
    for name, code in found.items():
        assert count(code.instructions, LACKING[target]) == 0, name
        calls = [item for item in code.instructions if item.startswith(("bl ", "blx ", "blr "))]
        assert calls == ["bl memset"] * len(calls), name
