"""Which steps threads share, and that runs which follow each other fast or slowly do not disturb each other."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tvm")

from edgec.backends.tvm import dividing
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.lowering import program_of
from edgec.ir import kinds
from edgec.ir.kinds import Padding2D
from edgec.runtime.engines.tvm import TVMEngine as Engine
from edgec.runtime.engines.tvm import load
from tests.backends.tvm.cases import Cases
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, engine_of

LEAST = 16 * 1024
runs = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")


def divided(monkeypatch, side: int, channels: int) -> bool:
    """Whether the step of a pointwise convolution is shared."""
    monkeypatch.setattr(dividing, "WORTH", LEAST)
    cases = Cases(0)
    x = cases.activations((1, side, side, channels))
    y = cases.product(kinds.Conv2D(), x, (1, 1, channels), channels)
    cases.result(y, "")
    program = program_of(cases.finish(), named(ISA))
    (step,) = [step for step in program.steps if step.kernel.family == "dense_1x1"]
    return dividing.is_divided(step, program)


def test_a_step_of_a_microsecond_is_the_callers_alone(monkeypatch):
    assert not divided(monkeypatch, side=7, channels=64)


def test_a_step_of_many_pixels_is_shared(monkeypatch):
    assert divided(monkeypatch, side=56, channels=64)


def test_a_step_of_few_pixels_and_many_weights_is_shared(monkeypatch):
    assert divided(monkeypatch, side=3, channels=512)


def test_arithmetic_is_more_work_than_conversion(monkeypatch):
    """Of as many bytes."""
    monkeypatch.setattr(dividing, "WORTH", LEAST)
    cases = Cases(0)
    a, b = (cases.activations((1, 28, 28, 64)) for _ in range(2))
    cases.result(cases.sum(a, b), "")
    program = program_of(cases.finish(), named(ISA))
    (step,) = [step for step in program.steps if step.kernel.family == "add"]
    assert dividing.is_divided(step, program)
    (converting,) = [
        replace(step, kernel=other.kernel) for other in program.steps if other.kernel.family == "dequantize"
    ]
    assert dividing.work(step, program) > 4 * dividing.work(converting, program)


def chain(seed: int):
    """A graph whose steps depend on each other, some of one unit among them."""
    cases = Cases(seed)
    x = cases.activations((1, 13, 17, 24))
    for _ in range(4):
        y = cases.product(kinds.Conv2D(padding=Padding2D(1, 1, 1, 1)), x, (3, 3, 24), 24)
        x = cases.sum(cases.product(kinds.Conv2D(), y, (1, 1, 24), 24), x)
    cases.result(x, "a chain")
    return cases


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The chain as a library, samples, and what one thread makes of them."""
    cases = chain(0)
    graph = cases.finish()
    feeds = [cases.feeds(graph) for _ in range(3)]
    folder = tmp_path_factory.mktemp("chain")
    alone = engine_of(graph, folder)
    return {"model.so": (folder / "model.so").read_bytes()}, feeds, [alone.run(item) for item in feeds]


def wrong_runs(engine: Engine, rests, feeds, expected) -> list[int]:
    found = []
    for number, rest in enumerate(rests):
        time.sleep(rest)
        made = engine.run(feeds[number % len(feeds)])
        if any(not np.array_equal(made[name], array) for name, array in expected[number % len(feeds)].items()):
            found.append(number)
    return found


@runs
@pytest.mark.parametrize("threads", [2, 3])
def test_runs_that_follow_each_other_at_once_and_after_a_rest(compiled, threads):
    """Threads spin for the next run, or sleep, or are about to."""
    files, feeds, expected = compiled
    rests = [0.0] * 300 + [0.00002 * step for step in range(20)] + [0.01]
    assert wrong_runs(load(files, {}, threads), rests, feeds, expected) == []


@runs
def test_two_pools_at_once(compiled):
    """Each run has its own context, and each pool its own counters."""
    files, feeds, expected = compiled
    engines = [load(files, {}, 2) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        wrong = list(pool.map(lambda engine: wrong_runs(engine, [0.0] * 50, feeds, expected), engines))
    assert wrong == [[], []]
