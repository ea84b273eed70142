"""Graphs as machine code for another processor, run by QEMU: a C program with the model linked in, without any root."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec.backends.tvm.generating import object_file
from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.linking import SHELL, steps_header
from edgec.backends.tvm.lowering import program_of
from edgec.ir.graph import Graph
from edgec.targets import Target, load_target

MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edgec_model.h"
int main(int count, char **arguments) {
    const struct edgec_model *model = edgec_model_describe();
    void *arena = aligned_alloc(model->arena_alignment, model->arena_bytes);
    memset(arena, 0xFF, model->arena_bytes);  // NaN, in case somebody reads what nobody wrote
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


_SHELLS = {"aarch64": "generic", "armv7l": "generic+v7a+neon"}
"""What the shell and the C library are compiled for, whatever the kernels are: Zig builds a library for each core."""


@dataclass(frozen=True)
class Emulated:
    """A program that reads a graph's inputs and writes its outputs, in the graph's order. It needs no C library.

    target: what it was compiled for. main: the program.
    """

    graph: Graph
    target: Target
    main: Path

    @classmethod
    def of(cls, graph: Graph, target: str | Target, folder: Path) -> Emulated:
        device = load_target(target) if isinstance(target, str) else target
        isa = named(name_for(device) or "")
        made = program_of(graph, isa)
        kernels = {symbol: kernel for kernel, symbol in made.symbols().items()}
        (folder / "kernels.o").write_bytes(object_file(kernels, isa, device))
        (folder / "constants.bin").write_bytes(made.constants)
        (folder / "model_steps.h").write_text(steps_header(made))
        (folder / "main.c").write_text(MAIN)
        for source in SHELL.iterdir():
            shutil.copy(source, folder)
        command = [sys.executable, "-m", "ziglang", "cc", "-static", "-O2", "-I.", "-Wa,-I."]
        command += ["-target", device.triple.replace("gnu", "musl"), f"-mcpu={_SHELLS[device.arch]}"]
        command += ["main.c", "model.c", "pool.c", "kernels.o", "-o", "main"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return cls(graph, device, folder / "main")

    def run(self, core: str, feeds: Mapping[str, np.ndarray], threads: int = 1) -> dict[str, np.ndarray]:
        """The outputs on a core, by name; feeds and outputs in the graph's order of dimensions.

        Raises CalledProcessError when the program dies.
        """
        graph = self.graph
        orders = {name: np.argsort(graph.layouts[name]) for name in graph.layouts}
        given = b"".join(
            np.ascontiguousarray(feeds[name].transpose(orders.get(name)) if name in orders else feeds[name]).tobytes()
            for name in graph.inputs
        )
        assert self.target.emulator is not None
        command = [self.target.emulator.qemu, "-cpu", core, str(self.main), str(threads)]
        said = subprocess.run(command, input=given, capture_output=True, check=True).stdout
        outputs, done = {}, 0
        for name in graph.outputs:
            of = graph.type(name)
            made = np.frombuffer(said, of.dtype, of.size, done)
            if name in orders:
                order = graph.layouts[name]
                made = made.reshape([of.shape[order.index(axis)] for axis in range(of.rank)]).transpose(order)
            outputs[name] = made.reshape(of.shape)
            done += of.nbytes
        assert done == len(said)
        return outputs
