"""Graphs as machine code for another processor, run by QEMU: a C program with the model linked in, without any root."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgec.backends.tvm.generating import object_file
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.linking import SHELL, steps_header
from edgec.backends.tvm.lowering import program_of
from edgec.ir.graph import Graph
from edgec.targets import load_target

MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "edgec_model.h"
int main(int count, char **arguments) {
    const struct edgec_model *model = edgec_model_describe();
    void *arena = aligned_alloc(model->arena_alignment, model->arena_bytes);
    void **inputs = calloc(model->inputs, sizeof *inputs), **outputs = calloc(model->outputs, sizeof *outputs);
    for (size_t i = 0; i < model->inputs; i++) {
        inputs[i] = malloc(model->input[i].bytes);
        if (fread(inputs[i], 1, model->input[i].bytes, stdin) != model->input[i].bytes) return 2;
    }
    for (size_t i = 0; i < model->outputs; i++) outputs[i] = malloc(model->output[i].bytes);
    struct edgec_pool *pool = edgec_pool_create(atoi(arguments[count - 1]));
    int failure = edgec_model_run((const void *const *)inputs, outputs, arena, pool);
    edgec_pool_destroy(pool);
    for (size_t i = 0; i < model->outputs; i++) fwrite(outputs[i], 1, model->output[i].bytes, stdout);
    return failure;
}
"""


def program(graph: Graph, isa: str, target: str, folder: Path) -> Path:
    """A program that reads a graph's inputs and writes its outputs, in the graph's order. It needs no C library."""
    device, made = load_target(target), program_of(graph, named(isa))
    kernels = {symbol: kernel for kernel, symbol in made.symbols().items()}
    (folder / "kernels.o").write_bytes(object_file(kernels, named(isa), device))
    (folder / "constants.bin").write_bytes(made.constants)
    (folder / "model_steps.h").write_text(steps_header(made))
    (folder / "main.c").write_text(MAIN)
    for source in SHELL.iterdir():
        shutil.copy(source, folder)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", device.triple.replace("gnu", "musl"), "-static", "-O2"]
    command += [f"-mcpu={device.cpu.replace('-', '_')}", "-I.", "-Wa,-I."]
    command += ["main.c", "model.c", "pool.c", "kernels.o", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "main"


def run(graph: Graph, main: Path, cpu: str, feeds: Mapping[str, np.ndarray], threads: int = 1) -> dict[str, np.ndarray]:
    """The outputs on a core, by name. The graph has no layouts. Raises CalledProcessError when the program dies."""
    given = b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in graph.inputs)
    command = ["qemu-aarch64", "-cpu", cpu, str(main), str(threads)]
    said = subprocess.run(command, input=given, capture_output=True, check=True).stdout
    outputs, done = {}, 0
    for name in graph.outputs:
        of = graph.type(name)
        outputs[name] = np.frombuffer(said, of.dtype, of.size, done).reshape(of.shape)
        done += of.nbytes
    return outputs
