"""How near the rules' tiles are to the fastest ones, shape by shape: dense products and depthwise convolutions, INT8.

    python benchmarks/tvm_tile_rules.py MODEL... [--folder FOLDER] [--target x86-64-vnni] [--rounds 15] [--limit 0.05]

MODEL: a name of `tvm_models.py`, or the path of a quantized .onnx file. Each distinct kernel is compiled with its
rule's tile and with all others that are worth it: not those with less than half of the sums that fit. They are
timed in turns on this machine, with the memory that they have in the model; the three with the least medians and the
rule's are then timed again, three times as often, and compared by that. What takes less than 300 nanoseconds is left
out: it can't be told from the noise of calls.

The last lines say how many shapes have a tile that is faster than the rule's by more than the limit, and what the
fastest tiles would make of the time of all shapes, each as often as the model has it. On a busy machine, run it at a
real-time priority (`chrt -f 1`). A target whose instructions this machine lacks can't be timed.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_models import MODELS, prepared

from edgec import toolchain
from edgec.backends.tvm.generating import object_file
from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels import depthwise_tiles
from edgec.backends.tvm.kernels.dense import Dense
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.lowering import lowered_graph, program_of
from edgec.backends.tvm.program import Program, Step
from edgec.backends.tvm.tiles import even_width
from edgec.backends.tvm.tuning import timing
from edgec.backends.tvm.tuning.database import DenseTile
from edgec.backends.tvm.tuning.tiles import Tiled, alone, fits, is_searched, tile_of, with_tile
from edgec.onnx_graph.graph import load_model
from edgec.targets import Target, load_target

SHORT = 300.0
"""Nanoseconds."""

_LEAST = 0.45
"""Of the most sums that fit: smaller tiles multiply too little for what they load."""

_WIDEST, _MOST = 20, 6
_LEFT, _AGAIN = 3, 3


@dataclass(frozen=True)
class Row:
    """One shape. times: nanoseconds by tile, the rule's first. count: steps of the model that have it."""

    name: str
    count: int
    times: dict[str, float]

    @property
    def rule(self) -> float:
        return next(iter(self.times.values()))

    @property
    def fastest(self) -> str:
        return min(self.times, key=lambda tile: self.times[tile])


def rows(model: Path, target: Target, rounds: int) -> list[Row]:
    """All shapes of a quantized model."""
    isa_name = name_for(target)
    assert isa_name is not None, f"no kernels for {target.name}"
    isa = named(isa_name)
    program = program_of(lowered_graph(load_model(model)), isa)
    steps: dict[Tiled, list[Step]] = {}
    for step in program.steps:
        kernel = step.kernel
        if is_searched(kernel) and all(place.memory in ("arena", "constants") for place in step.operands):
            steps.setdefault(alone(kernel), []).append(step)
    found = []
    for kernel, same in steps.items():
        times = timed(variants(kernel, isa), same[0], program, isa, target, rounds)
        if next(iter(times.values())) >= SHORT:
            found.append(Row(described(kernel, isa), len(same), times))
    return found


def variants(kernel: Tiled, isa: InstructionSet) -> list[Tiled]:
    """The kernel, and it with other tiles."""
    if isinstance(kernel, Depthwise):
        return [kernel, *(tile for tile in depthwise_tiles.tiles(kernel, isa) if tile != kernel)]
    sizes = {
        DenseTile(even_width(kernel.columns, wanted), most)
        for most in range(1, min(kernel.vectors, _MOST) + 1)
        for wanted in range(1, min(kernel.columns, _WIDEST) + 1)
        if wanted * most <= isa.registers
    }
    largest = max(size.pixels * size.vectors for size in sizes)
    ordered = sorted(sizes, key=lambda size: (size.pixels, size.vectors))
    chosen = [size for size in ordered if size.pixels * size.vectors >= _LEAST * largest and fits(kernel, size, isa)]
    others = [with_tile(kernel, size, isa) for size in chosen if size != tile_of(kernel)]
    return [kernel, *dict.fromkeys(other for other in others if other != kernel)]


def timed(
    kernels: Sequence[Tiled], step: Step, program: Program, isa: InstructionSet, target: Target, rounds: int
) -> dict[str, float]:
    """Nanoseconds of a call, by tile."""
    plan = program.plan()
    operands = []
    for place in step.operands:
        if place.memory == "arena":
            operands.append(timing.Operand(plan.offsets[place.value] + place.offset))
        else:
            constants = program.constants[place.offset : place.offset + place.size]
            sizes = [kernel.constants(isa) for kernel in kernels if isinstance(kernel, Depthwise)]
            operands.append(timing.Operand.of_constants(constants, max([place.size, *sizes])))
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "kernels.o"
        made.write_bytes(object_file({f"tile{i}": kernel for i, kernel in enumerate(kernels)}, isa, target))
        toolchain.find(target).link([made], made.with_suffix(".so"), target)
        library = ctypes.CDLL(str(made.with_suffix(".so")))
    memory = timing.Memory(operands, plan.size)
    calls = {i: memory.caller(library[f"tile{i}"], kernel.units) for i, kernel in enumerate(kernels)}
    times = timing.in_turns(calls, rounds)
    left = [0, *sorted(range(1, len(kernels)), key=lambda i: times[i])[:_LEFT]]
    times = timing.in_turns({i: calls[i] for i in left}, _AGAIN * rounds)
    return {str(tile_of(kernels[i])): times[i] for i in left}


def described(kernel: Tiled, isa: InstructionSet) -> str:
    """The kernel's shape."""
    window = f"{kernel.window[0]}x{kernel.window[1]}"
    if isinstance(kernel, Dense):
        channels = f"{4 * kernel.words}->{isa.lanes * kernel.vectors}"
        return f"{window} {channels} @{kernel.rows}x{kernel.columns}{' +' if kernel.other else ''}"
    return f"depthwise {window} {kernel.pixel} @{kernel.rows}x{kernel.columns}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help=f"paths, or {', '.join(MODELS)}")
    parser.add_argument("--folder", type=Path, help="where models are kept that have been prepared")
    parser.add_argument("--target", default="x86-64-vnni")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit", type=float, default=0.05, help="what counts as slower (default: %(default)s)")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    print("| shape | rule's tile | ns | fastest | of the rule's time |\n|---|---|---|---|---|")
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for model in arguments.models:
            known = model.endswith(".onnx")
            path = Path(model) if known else prepared(model, arguments.folder or Path(name), target) / "qdq.onnx"
            for row in rows(path, target, arguments.rounds):
                found.append(row)
                ratio = row.times[row.fastest] / row.rule
                mark = " **beyond**" if ratio < 1 - arguments.limit else ""
                rule = next(iter(row.times))
                print(f"| {row.name} | {rule} | {row.rule:.0f} | {row.fastest} | {ratio:.3f}{mark} |", flush=True)
    beyond = sum(row.times[row.fastest] < (1 - arguments.limit) * row.rule for row in found)
    spent = sum(row.count * row.rule for row in found)
    least = sum(row.count * row.times[row.fastest] for row in found)
    print(f"\n{beyond} of {len(found)} shapes have a tile that is more than {arguments.limit:.0%} faster.")
    if found:
        print(f"The fastest tiles of all would take {least / spent:.3f} of the rules' time.")


if __name__ == "__main__":
    main()
