"""The search: all kernels of a program that have tiles, the one with most products first, until the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgec import worker
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels import depthwise_tiles
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.planning import Plan
from edgec.backends.tvm.program import Program, Step
from edgec.backends.tvm.tuning.database import BY_TIME, Database, Entry, TileSize, tile_document, tile_from
from edgec.backends.tvm.tuning.tiles import Tiled, alone, candidates, fits, is_searched, shape_of, tile_of
from edgec.backends.tvm.tuning.timing import PATIENCE, Operand, Timed, fastest
from edgec.errors import WorkerCrashed, WorkerTimedOut
from edgec.quantization.journal import Journal
from edgec.targets import Target

NOISE = 0.03
"""A tile is taken where it is faster than the rule's by more than this share."""

Timer = Callable[[Mapping[str, Any], float], Timed]
"""What times variants: with the arguments of `timing.fastest`, and the seconds that are left of the search. Raises
WorkerCrashed, and WorkerTimedOut when it takes longer than those, or than PATIENCE."""


@dataclass(frozen=True)
class Work:
    """A kernel to search a tile for. operands: of any variant. instructions: of all steps that it does, see
    `_instructions`."""

    kernel: Tiled
    operands: tuple[Operand, ...]
    arena: int
    instructions: int


class OutOfTime(Exception):
    """The time for the search is over."""


def works_of(program: Program, isa: InstructionSet) -> list[Work]:
    """The kernels of a program that tiles are searched for, each shape once, those that compute most first."""
    found: dict[str, list[tuple[Tiled, Step]]] = {}
    for step in program.steps:
        kernel = step.kernel
        if is_searched(kernel) and all(place.memory in ("arena", "constants") for place in step.operands):
            found.setdefault(shape_of(kernel), []).append((alone(kernel), step))
    plan, works = program.plan(), []
    for same in found.values():
        kernel, step = same[0]
        operands = _operands(kernel, step, program, plan, isa)
        works.append(Work(kernel, operands, plan.size, len(same) * _instructions(kernel, isa)))
    return sorted(works, key=lambda work: -work.instructions)


def _operands(kernel: Tiled, step: Step, program: Program, plan: Plan, isa: InstructionSet) -> tuple[Operand, ...]:
    """What the kernel is called with in a step, with constants that are as long as any of its variants wants."""
    least = 0  # those of dense products are as long whatever the tile
    if isinstance(kernel, Depthwise):
        least = max(each.constants(isa) for each in (kernel, *depthwise_tiles.tiles(kernel, isa)))
    return tuple(
        Operand(plan.offsets[place.value] + place.offset)
        if place.memory == "arena"
        else Operand.of_constants(program.constants[place.offset : place.offset + place.size], max(place.size, least))
        for place in step.operands
    )


def fitting(works: Sequence[Work], entries: Mapping[str, Entry], isa: str) -> tuple[dict[str, TileSize], list[str]]:
    """Tiles for the kernels of a program that are in a database, and which of its entries do not fit, in words."""
    tiles, odd = {}, []
    for work in works:
        shape = shape_of(work.kernel)
        entry = entries.get(shape)
        if entry is None:
            continue
        if fits(work.kernel, entry.tile, named(isa)):
            tiles[shape] = entry.tile
        else:
            odd.append(f"{entry.tile} for {described(work.kernel)}")
    return tiles, odd


def search(
    works: Sequence[Work],
    known: Database,
    isa: str,
    target: Target,
    cpu: str,
    deadline: float,
    journal: Path | None,
    progress: Callable[[int, int, str], None],
    timer: Timer | None = None,
) -> Iterator[Entry]:
    """Measure the kernels that this processor has no entry for, as far as time goes. deadline: of `time.monotonic`.

    timer: where, if not here. Raises what it raises, other than WorkerCrashed and WorkerTimedOut.
    """
    kept = Journal(journal)
    of_rule = named(isa)
    for number, work in enumerate(works):
        shape = shape_of(work.kernel)
        entry = known.entries.get((isa, cpu, BY_TIME, shape))
        if entry is not None and fits(work.kernel, entry.tile, of_rule):
            continue
        variants = candidates(work.kernel, of_rule)
        if not variants:
            continue
        progress(number, len(works), described(work.kernel))
        question = {
            "isa": isa,
            "cpu": cpu,
            "target": target.name,
            "kernel": shape,
            "tiles": [tile_document(tile_of(variant)) for variant in variants],
        }
        try:
            answer, _ = kept.recall(question, partial(_ask, work, variants, isa, target, deadline, timer))
        except OutOfTime:
            break
        if answer["tile"] is not None:
            tile, of_default = tile_from(answer["tile"]), tile_of(work.kernel)
            yield Entry(isa, cpu, BY_TIME, shape, tile, of_default, answer["default"], answer["best"])
    progress(len(works), len(works), "")


def _ask(
    work: Work, variants: Sequence[Tiled], isa: str, target: Target, deadline: float, timer: Timer | None
) -> dict[str, Any]:
    """The tile to take, and both figures, as plain data; no tile where nothing could be measured."""
    timed = _timed(work, variants, isa, target, deadline, timer)
    if timed is None:
        return {"tile": None}
    variant, default, best = timed
    if best >= default * (1 - NOISE):
        variant, best = work.kernel, default
    return {"tile": tile_document(tile_of(variant)), "default": round(default, 1), "best": round(best, 1)}


def _timed(
    work: Work, variants: Sequence[Tiled], isa: str, target: Target, deadline: float, timer: Timer | None = None
) -> tuple[Tiled, float, float] | None:
    """The fastest variant, and nanoseconds of the default and of it. None where none can be measured.

    Where a worker dies or hangs, its variants are measured in two halves: so only what is at fault is lost.

    Raises OutOfTime.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise OutOfTime
    call = {
        "default": work.kernel,
        "variants": tuple(variants),
        "operands": work.operands,
        "arena": work.arena,
        "isa": isa,
        "target": target,
    }
    try:
        timed = (timer or _here)(call, left)
    except (WorkerCrashed, WorkerTimedOut):
        if time.monotonic() >= deadline:
            raise OutOfTime from None
        if len(variants) == 1:
            return None
        middle = len(variants) // 2
        halves = [_timed(work, part, isa, target, deadline, timer) for part in (variants[:middle], variants[middle:])]
        return min((half for half in halves if half is not None), key=lambda half: half[2] / half[1], default=None)
    return variants[timed.best], timed.default_time, timed.best_time


def _here(call: Mapping[str, Any], seconds: float) -> Timed:
    """On this machine, in a worker."""
    timed: Timed = worker.call(fastest, call, timeout=min(PATIENCE, seconds))
    return timed


def described(kernel: Tiled) -> str:
    """A kernel's shape, for people."""
    height, width = kernel.window
    results = f"{kernel.rows} x {kernel.columns} results"
    if isinstance(kernel, Depthwise):
        return f"{height}x{width} depthwise convolution of {kernel.pixel} channels, {results}"
    return f"{height}x{width} product of {4 * kernel.words} channels, {results}"


def _instructions(kernel: Tiled, isa: InstructionSet) -> int:
    """On vectors, about: products, and what is interleaved and loaded for a few of them only."""
    if isinstance(kernel, Depthwise):
        work = depthwise_tiles.Work.of(kernel, isa.registers, isa.depthwise.pairs)
        return kernel.units * kernel.tiles * (work.products + work.interleaved + work.loads)
    return kernel.images * kernel.rows * kernel.columns * kernel.vectors * kernel.fetches
