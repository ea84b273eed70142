"""Where the time of a model compiled by the TVM backend goes, step by step.

    python benchmarks/tvm_layers.py MODEL... [--folder FOLDER] [--runs 200] [--target x86-64-vnni]

MODEL: a name of `tvm_models.py`, or the path of a quantized .onnx file. For each step: the median time in a run of the
whole model on one thread, multiply-accumulates in a nanosecond, their share of what this machine can do at most by the
target's instructions (a loop of nothing but products on registers, measured beside), and what bounds it:

    compute     the products alone, padding to whole vectors and tiles included, would take most of that time
    results     rounding, narrowing and storing would take longer than the products: few inputs for each output
    constants   reading the weights once from the third-level cache would take longer than both
    small       less than 2 microseconds: the call and the beginning and end of loops
    elements    no product: it moves or converts

The bound that is named is the one whose estimate is the longest; "x" is how many times as long the step takes.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tvm_models import MODELS, prepared

from edgec import toolchain
from edgec.backends.tvm.building import build_program
from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.dense import Dense
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.kernels.depthwise_tiles import Work
from edgec.backends.tvm.lowering import lowered_graph, program_of
from edgec.backends.tvm.lowering.products import sums_of_products
from edgec.backends.tvm.program import Program, Step
from edgec.backends.tvm.storage import ALIGNMENT
from edgec.backends.tvm.tuning.tiles import tile_of
from edgec.ir import kinds
from edgec.ir.graph import Graph
from edgec.onnx_graph.graph import load_model
from edgec.runners import native
from edgec.targets import Target, load_target

SMALL = 2000.0
"""Nanoseconds."""

WARM = 5
"""Runs that do not count."""

_PEAK = r"""
#include <immintrin.h>
#include <stdint.h>
typedef int32_t vector __attribute__((vector_size(4 * LANES), aligned(4)));
/* products of pairs of bytes, SUMS vectors of them independent of each other in each round. a is unknown to the
   compiler each time, which else would multiply once only where another instruction adds. */
void products(int32_t *out, const int32_t *in, long rounds) {
    vector sums[SUMS], a = *(const vector *)in, b = *(const vector *)(in + LANES);
    for (int i = 0; i < SUMS; i++) sums[i] = b + i;
    for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++) {
            __asm__ volatile("" : "+x"(a));
            sums[i] = PRODUCT(sums[i], a, b);
        }
    }
    for (int i = 1; i < SUMS; i++) sums[0] += sums[i];
    *(vector *)out = sums[0];
}
/* reads a block of memory: the caller makes it too large for the second-level cache */
void reads(int32_t *out, const int32_t *in, long vectors) {
    vector sums[4] = {{0}};
    for (long i = 0; i < vectors; i++) sums[i % 4] += *(const vector *)(in + LANES * i);
    *(vector *)out = sums[0] + sums[1] + sums[2] + sums[3];
}
"""


@dataclass(frozen=True)
class Product:
    """How an instruction set multiplies. code: C, on vectors sum, a and b. of: pairs of bytes, in each 32 bits of a
    vector. sums: vectors that fit into its registers beside a, b and what is between."""

    code: str
    of: int
    sums: int


_WIDE = "(vector)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b))"
_SHORT = "(vector)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b))"
_OF_PAIRS = "(sum) + (vector)_mm256_madd_epi16((__m256i)(a), (__m256i)(b))"
PRODUCTS = {"avx512_vnni": Product(_WIDE, 4, 24), "avx_vnni": Product(_SHORT, 4, 12), "avx2": Product(_OF_PAIRS, 2, 12)}
"""By instruction set."""

_ROUNDS = 20_000
_LARGE = 6 * 2**20  # bytes: beyond the second-level cache, within the third
_GROUP_CYCLES = 9.0  # what 4 vectors take to be converted, scaled, rounded, packed, stored: 18 instructions, 2 at once
_PAIR = 2.0  # vector instructions of products that start in a cycle


@dataclass(frozen=True)
class Machine:
    """products: multiply-accumulates in a nanosecond at most, by the instruction set. bytes: read from the third-level
    cache in one."""

    isa: InstructionSet
    products: float
    bytes: float

    @property
    def cycle(self) -> float:
        """Nanoseconds of a cycle, if two vectors are multiplied in it."""
        return PRODUCTS[self.isa.name].of * self.isa.lanes * _PAIR / self.products


def peak_program(isa: InstructionSet, target: Target, folder: Path) -> Path:
    """A library with `products` and `reads`."""
    product, source, made = PRODUCTS[isa.name], folder / "peak.c", folder / "peak.so"
    defined = f"#define LANES {isa.lanes}\n#define SUMS {product.sums}\n#define PRODUCT(sum, a, b) ({product.code})\n"
    source.write_text(defined + _PEAK)
    tool = toolchain.find(target)
    tool.compile(source, made.with_suffix(".o"), target)
    tool.link([made.with_suffix(".o")], made, target)
    return made


def measured(isa: InstructionSet, target: Target) -> Machine:
    """What this machine can do by an instruction set, in the best of some tries."""
    with tempfile.TemporaryDirectory() as name:
        library = ctypes.CDLL(str(peak_program(isa, target, Path(name))))
    block, out = np.zeros(_LARGE // 4, np.int32), np.zeros(isa.lanes, np.int32)
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in (out, block)]
    times: dict[str, list[float]] = {"products": [], "reads": []}
    for _ in range(40):
        for function, count in (("products", _ROUNDS), ("reads", _LARGE // (4 * isa.lanes))):
            began = time.perf_counter_ns()
            getattr(library, function)(*addresses, ctypes.c_long(count))
            times[function].append(time.perf_counter_ns() - began)
    product = PRODUCTS[isa.name]
    products = _ROUNDS * product.sums * product.of * isa.lanes
    return Machine(isa, products / min(times["products"]), _LARGE / min(times["reads"]))


@dataclass(frozen=True)
class Row:
    """One step. macs: of the model, without padding. time: nanoseconds."""

    step: Step
    macs: int
    time: float

    def estimates(self, machine: Machine) -> dict[str, float]:
        """How long each part would take alone, in nanoseconds."""
        kernel = self.step.kernel
        if not isinstance(kernel, Dense | Depthwise):
            return {"elements": 0.0}
        isa, of = machine.isa, 4
        if isinstance(kernel, Dense):
            pixels = kernel.positions * kernel.width
            products = pixels * kernel.vectors * kernel.fetches
            groups = pixels * sum(len(tile) for tile in kernel.tiles)
        else:
            tiles, work = kernel.units * kernel.tiles, Work.of(kernel, isa.registers, isa.depthwise.pairs)
            products, groups = tiles * work.products, tiles * work.results
            of = 2 if isa.depthwise.pairs else 4
        constants = sum(place.size for place in self.step.operands if place.memory == "constants")
        return {
            "compute": products * of * isa.lanes / machine.products,
            "results": groups * _GROUP_CYCLES * machine.cycle,
            "constants": constants / machine.bytes,
        }

    def bound(self, machine: Machine) -> str:
        """What bounds it."""
        if self.time < SMALL:
            return "small"
        name, estimate = max(self.estimates(machine).items(), key=lambda item: item[1])
        return f"{name} {self.time / estimate:.1f}x" if estimate else name


def multiplications(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of each operation with weights, by its result."""
    found = {}
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Conv2D | kinds.FullyConnected):
            weights = graph.type(operation.inputs[1]).shape
            found[operation.outputs[0]] = int(np.prod(graph.type(operation.outputs[0]).shape) * np.prod(weights[1:]))
    return found


def of_steps(graph: Graph, program: Program) -> list[int]:
    """Multiply-accumulates of each step. One that adds as well is called after the sum."""
    of_results, products = multiplications(graph), sums_of_products(graph)
    computing = [isinstance(step.kernel, Dense | Depthwise) for step in program.steps]
    names = [products.get(step.result, step.result) for step in program.steps]
    return [of_results.get(name, 0) if here else 0 for name, here in zip(names, computing, strict=True)]


def profile(library: Path, program: Program, feeds: Mapping[str, np.ndarray], runs: int) -> np.ndarray:
    """Nanoseconds of each step: medians over runs."""
    inputs = [np.ascontiguousarray(feeds[item.name], item.dtype) for item in program.inputs]
    outputs = [np.empty(item.shape, item.dtype) for item in program.outputs]
    given, made = ((ctypes.c_void_p * len(arrays))(*map(_address, arrays)) for arrays in (inputs, outputs))
    memory = np.empty(program.plan().size + ALIGNMENT, np.uint8)
    arena = ctypes.c_void_p(_address(memory) + -_address(memory) % ALIGNMENT)
    times = np.zeros((runs + WARM, len(program.steps)), np.uint64)
    function = ctypes.CDLL(str(library)).edgec_model_profile
    for row in times:
        function(given, made, arena, None, None, ctypes.c_void_p(_address(row)))
    return np.asarray(np.median(times[WARM:], axis=0))


def _address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def rows(
    model: Path, feeds: Mapping[str, np.ndarray] | None, isa: InstructionSet, target: Target, runs: int
) -> list[Row]:
    """The steps of a quantized model, compiled and timed. feeds: noise, unless told."""
    graph = lowered_graph(load_model(model))
    program = program_of(graph, isa)
    if feeds is None:
        rng = np.random.default_rng(0)
        feeds = {item.name: rng.normal(0, 1, item.shape).astype(item.dtype) for item in program.inputs}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.so"
        build_program(program, isa.name, target, path)
        times = profile(path, program, feeds, runs)
    return [Row(*row) for row in zip(program.steps, of_steps(graph, program), times.tolist(), strict=True)]


def table(found: list[Row], machine: Machine) -> str:
    """Markdown: a row for each step, and the sums."""
    total = sum(row.time for row in found)
    lines = ["| step | us | share | MAC/ns | of peak | bound |", "|---|---|---|---|---|---|"]
    for row in found:
        rate = row.macs / row.time
        speed = f"{rate:.0f} | {rate / machine.products:.0%}" if row.macs else " | "
        cells = f"{row.time / 1e3:.1f} | {row.time / total:.1%} | {speed} | {row.bound(machine)}"
        lines.append(f"| {described(row.step, machine.isa)} | {cells} |")
    macs = sum(row.macs for row in found)
    rate = macs / total
    lines.append(f"| all | {total / 1e3:.1f} | | {rate:.0f} | {rate / machine.products:.0%} | |")
    families: dict[str, float] = {}
    for row in found:
        families[row.step.kernel.family] = families.get(row.step.kernel.family, 0.0) + row.time
    shares = sorted(families.items(), key=lambda item: -item[1])
    return "\n".join([*lines, "", ", ".join(f"{name} {time / total:.1%}" for name, time in shares)])


def described(step: Step, isa: InstructionSet) -> str:
    """The kernel and its shape."""
    kernel = step.kernel
    if isinstance(kernel, Dense):
        tiles = "+".join(str(sum(tile)) for tile in dict.fromkeys(kernel.tiles))
        channels = f"{4 * kernel.words}->{isa.lanes * kernel.vectors}"
        shape = f"{channels} @{kernel.rows}x{kernel.columns}, tile {kernel.width}x{tiles}"
    elif isinstance(kernel, Depthwise):
        shape = f"{kernel.pixel} @{kernel.rows}x{kernel.columns}, tile {tile_of(kernel)}"
    else:
        shape = ""
    return f"{kernel.family} {shape} {step.result}".replace("|", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help=f"paths, or {', '.join(MODELS)}")
    parser.add_argument("--folder", type=Path, help="where models are kept that have been prepared")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--target", default="x86-64-vnni")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    isa_name = name_for(target)
    if isa_name not in PRODUCTS:
        parser.error(f"{target.name} is of none of the instruction sets {', '.join(PRODUCTS)}")
    suitability = native.suitability(target)
    if not suitability.runs:
        parser.error(f"nothing for {target.name} can be timed here: {suitability.reason}")
    isa = named(isa_name)
    machine = measured(isa, target)
    print(f"peak: {machine.products:.0f} MAC/ns; third-level cache: {machine.bytes:.0f} bytes/ns")
    with tempfile.TemporaryDirectory() as name:
        for model in arguments.models:
            if model.endswith(".onnx"):
                found = rows(Path(model), None, isa, target, arguments.runs)
            else:
                folder = prepared(model, arguments.folder or Path(name), target)
                with np.load(folder / "example.npz") as stored:
                    found = rows(folder / "qdq.onnx", dict(stored), isa, target, arguments.runs)
            print(f"\n### {Path(model).stem}\n\n{table(found, machine)}", flush=True)


if __name__ == "__main__":
    main()
