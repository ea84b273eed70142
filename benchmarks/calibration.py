"""CPU time and peak memory of calibration beside the float model alone and beside ONNX Runtime's calibrators.

    python benchmarks/calibration.py [--samples 512] [--peer-samples 24] [--rounds 3] [--model FILE] [--data FILE]

Every variant runs in a fresh process, and the variants take turns:

    float          the model alone: an ONNX Runtime session with default options, one thread, over the same data
    edgec          edgec's calibration: statistics for minmax, percentile, mse and entropy ranges from one pass
    ort-minmax, ort-percentile, ort-entropy, ort-distribution
                   the calibrators of onnxruntime.quantization; all but minmax keep every activation, so they get
                   --peer-samples samples only, and edgec is measured with that many too

CPU time is user + system. "work" leaves out the start of Python and its imports, which "process" includes. Without
--model it is efficientnet_lite0 with random weights, on random images; no network is needed. Without --data the images
are noise. --data is an array [samples, *shape of the model's only input]; it is used round and round.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PEERS = {
    "ort-minmax": "MinMax",
    "ort-percentile": "Percentile",
    "ort-entropy": "Entropy",
    "ort-distribution": "Distribution",
}
_DISTINCT = 32  # images in the file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--peer-samples", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        measure(options.variant, options.model, options.data, options.samples)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or save_efficientnet_lite0(Path(folder) / "efficientnet_lite0.onnx")
        data = options.data or save_noise(model, Path(folder) / "noise.npy")
        wanted = [("float", options.samples), ("edgec", options.samples), ("edgec", 32), ("edgec", 512)]
        wanted += [(name, options.peer_samples) for name in ("float", "edgec", *PEERS)]
        wanted = list(dict.fromkeys(wanted))
        runs: dict[tuple[str, int], list[dict[str, float]]] = {key: [] for key in wanted}
        for done in range(options.rounds):
            for name, samples in wanted:
                print(f"round {done + 1}/{options.rounds}: {name}, {samples} samples", file=sys.stderr)
                runs[name, samples].append(in_a_fresh_process(name, model, data, samples))
    show(runs, options.samples, options.peer_samples)


def in_a_fresh_process(name: str, model: Path, data: Path, samples: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--variant", name, "--model", str(model), "--data", str(data)]
    found = subprocess.run([*command, "--samples", str(samples)], check=True, stdout=subprocess.PIPE)
    return json.loads(found.stdout.splitlines()[-1])


def measure(name: str, model: Path, data: Path, samples: int) -> None:
    """Run one variant in this process; print {"work", "process": CPU seconds, "mib": peak resident set}."""
    run = {"float": float_run, "edgec": edgec_run}.get(name, peer_run)
    arguments = (model, data, samples, PEERS[name]) if name in PEERS else (model, data, samples)
    before = run(*arguments)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    process = usage.ru_utime + usage.ru_stime
    print(json.dumps({"work": process - before, "process": process, "mib": usage.ru_maxrss / 1024}))


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def images(data: Path, samples: int) -> Iterator[np.ndarray]:
    """Read one sample at a time."""
    stored = np.load(data, mmap_mode="r")
    header, shape, dtype = data.stat().st_size - stored.nbytes, stored.shape, stored.dtype
    del stored
    size = int(np.prod(shape[1:]))
    with data.open("rb") as file:
        for i in range(samples):
            file.seek(header + i % shape[0] * size * dtype.itemsize)
            yield np.fromfile(file, dtype, size).reshape(shape[1:])


def float_run(model: Path, data: Path, samples: int) -> float:
    import onnxruntime as ort

    before = cpu_seconds()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    for image in images(data, samples):
        session.run(None, {name: image})
    return before


def edgec_run(model: Path, data: Path, samples: int) -> float:
    from edgec.quantization.collector import Collector
    from edgec.quantization.statistics import save

    before = cpu_seconds()
    collector = Collector(model, samples)
    (name,) = collector.inputs
    for i, image in enumerate(images(data, samples)):
        collector.run({name: image}, str(i))
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "statistics.npz", collector.finish())
    return before


def peer_run(model: Path, data: Path, samples: int, method: str) -> float:
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self._feeds = ({name: image} for image in images(data, samples))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    before = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(
            model, augmented_model_path=augmented, calibrate_method=CalibrationMethod[method]
        )
        options = ort.SessionOptions()  # as the calibrator sets them, but for the threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        calibrator.infer_session = ort.InferenceSession(augmented, options, providers=["CPUExecutionProvider"])
        calibrator.collect_data(Reader(calibrator.infer_session.get_inputs()[0].name))
        calibrator.compute_data()
    return before


def show(runs: dict[tuple[str, int], list[dict[str, float]]], samples: int, peer_samples: int) -> None:
    medians = {
        key: {unit: statistics.median(run[unit] for run in found) for unit in ("work", "process", "mib")}
        for key, found in runs.items()
    }
    print(f"{'variant':18}{'samples':>8}{'CPU s work':>12}{'process':>9}{'peak MiB':>10}")
    for (name, count), found in medians.items():
        print(f"{name:18}{count:8}{found['work']:12.2f}{found['process']:9.2f}{found['mib']:10.0f}")
    ours, plain = medians["edgec", samples], medians["float", samples]
    print(f"\nedgec / float model alone, CPU, {samples} samples: work {ours['work'] / plain['work']:.2f}", end="")
    print(f", process {ours['process'] / plain['process']:.2f}")
    few = medians["edgec", peer_samples]
    for name in PEERS:
        peer = medians[name, peer_samples]
        print(f"edgec / {name}, {peer_samples} samples: ", end="")
        print(f"CPU {few['work'] / peer['work']:.2f}, peak memory {few['mib'] / peer['mib']:.2f}")
    print(f"edgec, peak memory, 512 / 32 samples: {medians['edgec', 512]['mib'] / medians['edgec', 32]['mib']:.3f}")


def save_noise(model: Path, path: Path) -> Path:
    import onnx

    (info,) = onnx.load(str(model), load_external_data=False).graph.input
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    np.save(path, np.random.default_rng(0).normal(size=(_DISTINCT, *shape)).astype(np.float32))
    return path


def save_efficientnet_lite0(path: Path) -> Path:
    """EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation) with random weights, batch norms folded."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def conv(x: str, inputs: int, outputs: int, kernel: int, stride: int, groups: int, activation: bool) -> str:
        name = f"conv{len(nodes)}"
        fan_in = inputs // groups * kernel * kernel
        values = random.normal(size=(outputs, inputs // groups, kernel, kernel)) * np.sqrt(2 / fan_in)
        tensors = [x, constant(f"{name}_w", values), constant(f"{name}_b", random.normal(size=outputs) / 3)]
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", tensors, [name], name, strides=[stride] * 2, pads=pads, group=groups))
        if activation:
            nodes.append(helper.make_node("Clip", [name, "zero", "six"], [f"{name}_clip"], f"{name}_clip"))
        return nodes[-1].output[0]

    constant("zero", np.array(0)), constant("six", np.array(6))
    x, channels = conv("image", 3, 32, 3, 2, 1, True), 32
    stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)]
    stages += [(3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
    for repeats, kernel, first_stride, expansion, outputs in stages:
        for i in range(repeats):
            stride, inner, y = (first_stride if i == 0 else 1), channels * expansion, x
            if expansion > 1:
                y = conv(y, channels, inner, 1, 1, 1, True)
            y = conv(y, inner, inner, kernel, stride, inner, True)
            y = conv(y, inner, outputs, 1, 1, 1, False)
            if stride == 1 and channels == outputs:
                nodes.append(helper.make_node("Add", [y, x], [f"sum{len(nodes)}"]))
                y = nodes[-1].output[0]
            x, channels = y, outputs
    x = conv(x, channels, 1280, 1, 1, 1, True)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    constant("classifier", random.normal(size=(1280, 1000)) / 36)
    nodes.append(helper.make_node("Gemm", ["flat", "classifier"], ["logits"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 224, 224))
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 1000))
    graph = helper.make_graph(nodes, "efficientnet_lite0", [image], [logits], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


if __name__ == "__main__":
    main()
