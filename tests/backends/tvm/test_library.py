"""The shared library: what it computes, what it needs, what it shows, and that equal inputs give equal bytes."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgec.backends.base import LowerJob
from edgec.errors import UsageError
from edgec.runtime.engines.tvm import load
from edgec.runtime.errors import InputError
from edgec.targets import load_target
from tests.quantization.test_emit import quantized
from tests.quantization.tiny import random_feeds

pytest.importorskip("tvm")

from edgec.backends.tvm.backend import BACKEND
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.linking import SHELL
from edgec.backends.tvm.lowering import lower, lowered_graph
from tests.backends.tvm import symbols
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, TARGET, differences

runs_here = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")


@pytest.fixture(scope="module")
def library(model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("lowered")
    payload = BACKEND.lower(LowerJob(model, TARGET, "int8", out))
    return out / payload.files[0]


@runs_here
@pytest.mark.parametrize("threads", [1, 2])
def test_a_whole_model_computes_what_the_reference_does(model, library, threads):
    graph = lowered_graph(onnx.load(model))
    engine = load({library.name: library.read_bytes()}, {}, threads)
    rng = np.random.default_rng(1)
    for _ in range(50):
        assert differences(graph, engine, {"image": rng.random((1, 8, 8, 1), np.float32)}) == {"logits": 0}


def test_equal_layers_share_their_code(model):
    program = lower(onnx.load(model), named(ISA))
    assert len(set(program.symbols().values())) == len({step.kernel for step in program.steps})


def test_it_shows_nothing_but_its_interface(library):
    defined = symbols.defined(library)
    interface = set(re.findall(r"\b(edgec_\w+)\(", (SHELL / "edgec_model.h").read_text()))
    assert {name for name in defined if name.startswith("edgec")} == interface
    assert defined - interface <= {"__extendhfsf2", "__truncsfhf2"}  # TVM's own, weak; nothing calls them


def test_it_needs_nothing_but_the_c_library(library):
    assert {name for name in symbols.wanted(library) if not name.startswith(("pthread_", "_"))} <= {
        "aligned_alloc",
        "calloc",
        "clock_gettime",  # of a run that is timed
        "free",
        "memcpy",
        "memset",
        "sched_yield",
    }


def test_nothing_of_the_machine_that_builds_is_in_it(library):
    content = library.read_bytes()
    for trace in (str(Path.home()), str(SHELL), sys.prefix, "/tmp", "emeraldrapids"):
        assert trace.encode() not in content, trace


def test_equal_models_give_equal_bytes_in_any_process(model, library, tmp_path):
    again = BACKEND.lower(LowerJob(model, TARGET, "int8", tmp_path))
    assert (tmp_path / again.files[0]).read_bytes() == library.read_bytes()


@runs_here
def test_what_it_says_of_itself_is_what_was_planned(model, library):
    program = lower(onnx.load(model), named(ISA))
    engine = load({library.name: library.read_bytes()}, {}, 1)
    said = engine._library.edgec_model_describe().contents
    assert (said.arena_bytes, said.constant_bytes) == (program.plan().size, len(program.constants))
    assert [(item.name, item.shape, item.dtype) for item in engine._inputs] == [("image", (1, 1, 8, 8), "float32")]


@runs_here
def test_an_array_of_another_size_is_refused_before_the_library_reads_it(library):
    engine = load({library.name: library.read_bytes()}, {}, 1)
    with pytest.raises(InputError, match="shape"):
        engine.run({"image": np.zeros((1, 1, 8, 7), np.float32)})


@runs_here
def test_threads_of_python_may_share_an_engine(library):
    engine = load({library.name: library.read_bytes()}, {}, 1)
    images = [np.random.default_rng(seed).random((1, 1, 8, 8), np.float32) for seed in range(8)]
    alone = [engine.run({"image": image})["logits"] for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: [engine.run({"image": image})["logits"] for _ in range(200)], images))
    for expected, found in zip(alone, together, strict=True):
        assert all(np.array_equal(expected, each) for each in found)


@runs_here
def test_an_arena_that_is_not_aligned_is_refused(library):
    engine = load({library.name: library.read_bytes()}, {}, 1)
    pointers = (ctypes.c_void_p * 1)(0)
    assert engine._library.edgec_model_run(pointers, pointers, 64 + 4, None) == 1
    assert engine._library.edgec_model_profile(pointers, pointers, 64 + 4, None, None, None) == 1


@runs_here
def test_a_c_program_runs_it(library, tmp_path):
    """The header compiles as C, and twenty lines are enough."""
    source = tmp_path / "main.c"
    source.write_text(
        """
        #include <stdio.h>
        #include <stdlib.h>
        #include "edgec_model.h"
        int main(void) {
            const struct edgec_model *model = edgec_model_describe();
            void *arena = aligned_alloc(model->arena_alignment, model->arena_bytes);
            float *image = calloc(1, model->input[0].bytes), *logits = malloc(model->output[0].bytes);
            const void *inputs[] = {image};
            void *outputs[] = {logits};
            if (edgec_model_run(inputs, outputs, arena, NULL) != EDGEC_OK) return 1;
            for (size_t i = 0; i < model->output[0].bytes / sizeof *logits; i++) printf("%.9g ", logits[i]);
            return 0;
        }
        """
    )
    out = tmp_path / "main"
    flags = ["-std=c11", "-Wall", "-Werror", f"-I{SHELL}", str(source), str(library), "-o", str(out)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, f"-Wl,-rpath,{library.parent}"], check=True)
    said = subprocess.run([out], capture_output=True, text=True, check=True).stdout
    engine = load({library.name: library.read_bytes()}, {}, 1)
    expected = engine.run({"image": np.zeros((1, 1, 8, 8), np.float32)})["logits"]
    assert np.array_equal(np.array(said.split(), np.float32), expected.reshape(-1))


def test_a_target_without_kernels_is_refused(model, tmp_path):
    old = replace(load_target("x86-64-v3"), name="old", features=("sse4_2",))
    with pytest.raises(UsageError, match="no kernels for old") as error:
        BACKEND.lower(LowerJob(model, old, "int8", tmp_path))
    assert "x86_64 with avx2;" in error.value.why and "x86_64 with sse4_2." in error.value.why


@runs_here
def test_a_model_that_multiplies_nothing_breaks_no_promise_of_integers(tmp_path):
    *_, emitted = quantized(_with_softmax(), feeds=random_feeds(_with_softmax(), 8))
    path = tmp_path / "qdq.onnx"
    onnx.save(emitted.model if hasattr(emitted, "model") else emitted, path)
    BACKEND.lower(LowerJob(path, TARGET, "int8", tmp_path))
    engine = load({"model.so": (tmp_path / "model.so").read_bytes()}, {}, 1)
    x = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    expected = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(engine.run({"x": x})["y"], expected, rtol=1e-6)  # float32: the quantizer leaves it


def _with_softmax() -> onnx.ModelProto:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 8] x) => (float[1, 8] y) { y = Softmax<axis = -1>(x) }'
    model = onnx.parser.parse_model(text)
    model.graph.node[0].name = "softmax"
    return model
