"""The time of each step, and what it computes."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgec.backends.base import LowerJob
from edgec.runtime.engines.tvm import TVMEngine, load

pytest.importorskip("tvm")

from edgec.backends.tvm.backend import BACKEND
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.linking import _quoted, step_label
from edgec.backends.tvm.lowering import lower
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, TARGET

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

CLOCK = ctypes.CFUNCTYPE(ctypes.c_uint64)


@pytest.fixture(scope="module")
def content(model, tmp_path_factory) -> bytes:
    out = tmp_path_factory.mktemp("lowered")
    payload = BACKEND.lower(LowerJob(model, TARGET, "int8", out))
    return (out / payload.files[0]).read_bytes()


@pytest.fixture(scope="module", params=[1, 3], ids=["one thread", "three threads"])
def engine(request, content) -> TVMEngine:
    return load({"model.so": content}, {}, request.param)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 1, 8, 8), np.float32)


def timed(engine: TVMEngine, image: np.ndarray, clock) -> tuple[np.ndarray, list[int]]:
    """The logits of a run that is timed with `clock`, and the ticks of its steps."""
    logits = np.empty((1, 10), np.float32)
    inputs, outputs = ((ctypes.c_void_p * 1)(array.ctypes.data) for array in (image, logits))
    ticks = np.zeros(engine._library.edgec_model_describe().contents.steps, np.uint64)
    function = ctypes.cast(clock, ctypes.c_void_p)
    call = engine._library.edgec_model_profile
    assert call(inputs, outputs, engine._arena, engine._pool, function, ticks.ctypes.data) == 0
    return logits, ticks.tolist()


def test_the_clock_is_asked_once_before_and_once_after_each_step(engine, image):
    seen = []

    @CLOCK
    def squares() -> int:
        seen.append(len(seen) ** 2)
        return seen[-1]

    logits, ticks = timed(engine, image, squares)
    assert ticks == np.diff(seen).tolist()
    assert sum(ticks) == seen[-1] - seen[0]
    assert np.array_equal(logits, engine.run({"image": image})["logits"])


def test_steps_are_named_by_the_nodes_that_they_compute(engine, model, image):
    program = lower(onnx.load(model), named(ISA))
    found = engine.profile({"image": image}, 2)
    assert found is not None
    assert [(step.name, step.operator) for step in found] == [
        (", ".join(step.origin), step.kernel.family) for step in program.steps
    ]
    assert all(step.milliseconds > 0 for step in found)
    nodes = {node.name for node in onnx.load(model).graph.node}
    assert {name for step in found for name in step.name.split(", ")} <= nodes


def test_it_knows_where_its_steps_end(engine):
    library = engine._library
    steps = library.edgec_model_describe().contents.steps
    assert library.edgec_model_step(steps - 1) is not None
    assert library.edgec_model_step(steps) is None


def test_names_of_any_kind_are_one_a_line_and_survive_c(model):
    step = lower(onnx.load(model), named(ISA)).steps[0]
    odd = replace(step, origin=('a"b\\', "two\nlines", "größe??/1"))
    assert step_label(odd).split("\n") == [step.kernel.family, 'a"b\\', "two lines", "größe??/1"]
    plain = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), _quoted(step_label(odd))[1:-1])
    assert plain.encode("latin-1").decode() == step_label(odd)
    nameless = replace(step, origin=())
    assert step_label(nameless).split("\n") == [step.kernel.family, step.result]


def test_runs_that_are_timed_and_runs_that_are_not_go_on_at_once(content, image):
    engines = [load({"model.so": content}, {}, 1) for _ in range(4)]
    expected = engines[0].run({"image": image})["logits"]

    def work(engine: TVMEngine) -> bool:
        return all(
            engine.profile({"image": image}, 5) and np.array_equal(engine.run({"image": image})["logits"], expected)
            for _ in range(50)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, engines * 2))
