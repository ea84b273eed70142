"""How much faster a model is with tiles that were searched for than with the rules' tiles.

    edgec build model.onnx --target x86-64-vnni --backend tvm --tune 300 ...
    python benchmarks/tvm_tiles.py qdq.onnx dist/model-x86-64-vnni.tuning.json

Both libraries run in turns in one process on one thread, and a third one, which is the rules' again: what that differs
from the first by is noise. Processor time; of each, the median of all runs, and the median of the ratios to the run of
the rules' library just before, with the quartiles of those.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from edgec.backends.tvm.building import build_program
from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.lowering import lowered_graph, program_of
from edgec.backends.tvm.tuning import database
from edgec.backends.tvm.tuning.search import fitting, works_of
from edgec.onnx_graph.graph import load_model
from edgec.runtime.engines.tvm import TVMEngine, load
from edgec.targets import Target, cpu_name, load_target

WARM = 10
"""Runs that do not count."""


def engines(model: Path, tuning: Path, target: Target) -> tuple[dict[str, TVMEngine], dict[str, np.ndarray], str]:
    """Libraries by what they are, noise for them, and how many kernels were searched."""
    isa = name_for(target)
    assert isa is not None, f"no kernels for {target.name}"
    graph = lowered_graph(load_model(model))
    plain = program_of(graph, named(isa))
    works = works_of(plain, named(isa))
    entries = database.read(tuning).of(isa, cpu_name())
    tiles, _ = fitting(works, entries, isa)
    changed = sum(entries[kernel].tile != entries[kernel].default_tile for kernel in tiles)
    programs = {"rules": plain, "searched": program_of(graph, named(isa), tiles), "rules again": plain}
    made = {}
    for name, program in programs.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.so"
            build_program(program, isa, target, path)
            made[name] = load({path.name: path.read_bytes()}, {}, 1)
    rng = np.random.default_rng(0)
    feeds = {item.name: rng.normal(0, 1, item.shape).astype(item.dtype) for item in plain.inputs}
    return made, feeds, f"{changed} of {len(works)} kernels have another tile than the rule's"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a quantized model")
    parser.add_argument("tuning", type=Path, help="a database of tiles")
    parser.add_argument("--target", default="x86-64-vnni")
    parser.add_argument("--runs", type=int, default=400)
    arguments = parser.parse_args()
    made, feeds, said = engines(arguments.model, arguments.tuning, load_target(arguments.target))
    print(said)
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(arguments.runs + WARM):
        for name, engine in made.items():
            began = time.thread_time()
            engine.run(feeds)
            times[name].append(1e3 * (time.thread_time() - began))
    rules = np.array(times["rules"][WARM:])
    for name, values in times.items():
        found = np.array(values[WARM:])
        low, middle, high = np.quantile(found / rules, [0.25, 0.5, 0.75])
        print(f"{name:12} {np.median(found):7.3f} ms   {middle:.3f} of the rules' ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
