"""Builds to report on: one that holds, one that was refused, a float build for another machine, a failed one."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from edgec.calibration_data.diagnosis import InputDiagnosis
from edgec.contract import Contract, TensorSpec
from edgec.parity.gates import judge
from edgec.parity.metrics import OutputComparison, compare
from edgec.report import ReportInputs

RNG = np.random.default_rng(11)
START = RNG.bit_generator.state

DIGEST = "9f2feb0f1ef425b292f2f94bcbd5e5ab4dbf3c3f4a5d0f1a3c2be0a7c0f1d5e2"


def noisy(clean, level):
    """The same with noise, in every channel `level` times its deviation."""
    return [
        {name: value + RNG.normal(0, level, value.shape) * spread(value) for name, value in step.items()}
        for step in clean
    ]


def spread(value):
    """The deviation of each channel."""
    return value.std(axis=-1, keepdims=True) if value.ndim > 2 else value.std()


def detector(count=24):
    """Boxes beside scores, and class logits."""
    steps = []
    for _ in range(count):
        boxes = RNG.uniform(0, 320, (1, 4, 60))
        scores = np.where(RNG.random((1, 3, 60)) < 0.1, 0.9, 0.01)
        steps.append({"detections": np.concatenate([boxes, scores], 1), "logits": RNG.normal(0, 4, (1, 100))})
    return steps


def section(reference, candidate, **options):
    return {"outputs": [item.to_json() for item in compare(reference, candidate, **options)]}


def sheet():
    picture = Image.fromarray(RNG.integers(0, 255, (96, 384, 3), dtype=np.uint8)).resize((768, 192))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def looked_at():
    """What calibration says of its data."""
    image = RNG.normal(0.03, 1.1, (3, 5000)).clip(-2.1, 2.6)
    diagnosis = InputDiagnosis(Contract((TensorSpec("image", "float32", (1, 3, 40, 40)),), ()), None)
    for _ in range(12):
        diagnosis.add({"image": RNG.choice(image.reshape(-1), (1, 3, 40, 40)).astype(np.float32)})
    return diagnosis.finish()


PEAKS = {"source": "measured on this machine", "threads": 1}
PEAKS |= {"float32_gmacs": 60.0, "int8_gmacs": 230.0, "memory_gb_per_s": 11.0}


def analysis(count=40):
    """What a model of `count` layers, each a Conv and an Add, asks of a device."""
    layers = []
    for index in range(count):
        macs, moved = 2_000_000 + 21_000_000 * (index % 7), 400_000 + 90_000 * (index % 5)
        for operator, work in (("Conv", macs), ("Add", 0)):
            layers.append(
                {
                    "node": f"/backbone/stage{index}/{operator.lower()}{index}/{operator}",
                    "operator": operator,
                    "output": f"t{index}",
                    "shape": [1, 32, 40, 40],
                    "macs": work,
                    "parameters": 9_216 if work else 0,
                    "bytes": {"float32": moved, "int8": moved // 4},
                    "intensity": {"float32": work / moved, "int8": 4 * work / moved} if work else None,
                    "milliseconds": 0.02 + work / 4e7,
                    "measured_in": None,
                    "bound": "memory" if index % 7 == 0 else "compute",
                    "bound_int8": "compute",
                    "int8_at_most": 3.8,
                }
            )
    return {
        "totals": {"int8_at_most": 3.6, "macs": sum(layer["macs"] for layer in layers)},
        "layers": layers,
        "roofline": PEAKS,
        "roofline_note": None,
        "profile": {
            "engine": "onnxruntime",
            "version": "1.31.0",
            "threads": 1,
            "runs": 20,
            "milliseconds": 10.3,
            "on_target": True,
        },
        "profile_note": None,
    }


def layer_table(count=40):
    """The same layers after quantization: a few are measured alone, two stay in float, one has 16 bits."""
    found = []
    for index in range(count):
        name = f"/backbone/stage{index}/conv{index}/Conv"
        found.append(
            {
                "node": name,
                "members": [name, f"/backbone/stage{index}/add{index}/Add"],
                "op": "Conv",
                "fused": ["Add"],
                "precision": "float" if index >= count - 2 else "int16" if index == 4 else "int8",
                "macs": 2_000_000 + 21_000_000 * (index % 7),
                "isolated_db": 17.2 + 2.4 * index if index < 12 else None,
            }
        )
    return found


def ranges():
    """A tensor whose rare extremes are cut, and one that its grid holds."""
    tail = [int(4000 * 0.8**i) for i in range(64)]
    grid = {"low": 0.0, "high": 6.0, "step": 6 / 255, "bits": 8}
    cut = {"tensor": "/backbone/stem/Clip_output_0", "why": "clipped", "minimum": 0.0, "maximum": 11.5, "grid": grid}
    cut |= {"clipped_share": 0.0031, "histogram": {"low": 0.0, "high": 11.5, "counts": tail}}
    held = {**cut, "tensor": "image", "why": "read by /backbone/stage0/conv0/Conv", "clipped_share": 0.0}
    held |= {"minimum": -2.1, "maximum": 2.6, "grid": {"low": -2.1, "high": 2.6, "step": 4.7 / 255, "bits": 8}}
    held |= {"histogram": {"low": -2.1, "high": 2.6, "counts": tail[::-1]}}
    return [held, cut]


def latencies(median, wide):
    """One side of latency.json."""
    edges = [median * (0.95 + 0.01 * wide * i) for i in range(12)] + [median * 2]
    counts = [2, 9, 30, 41, 26, 12, 9, 5, 3, 1, 1, 1]
    spread = {"p25": 0.98, "p50": 1.0, "p75": 1.03, "p95": 1.08, "p99": 1.1}
    return {
        **{key: round(median * share, 4) for key, share in spread.items()},
        "histogram": {"edges_ms": edges, "counts": counts},
    }


COST = {
    "estimate": "Estimate: one inference at a time occupies the device for its median latency.",
    "currency": "EUR",
    "price_per_hour": 0.04,
    "watts": 6.5,
    "after": {"milliseconds": 4.02, "per_1000": 4.5e-05, "joules": 0.026},
    "before": {"milliseconds": 10.3, "per_1000": 1.1e-04, "joules": 0.067},
    "saved": 0.6097,
    "note": "",
}


def step(name, status, before, after, reason=""):
    """One recovery pass."""
    return {"pass": name, "status": status, "sqnr_before_db": before, "sqnr_after_db": after, "reason": reason}


def good() -> ReportInputs:
    """INT8 on x86 with VNNI, everything reached."""
    RNG.bit_generator.state = START
    original = detector()
    reference = noisy(original, 0.02)
    payload = [{name: value + 0.004 * spread(value) for name, value in step.items()} for step in reference]
    quantization, total = section(original, reference), section(original, payload)
    lowering = section(reference, payload, steps={"logits": 0.11, "detections": 2.5})
    quantize = {
        "profile": "strict",
        "method": "mse",
        "bias_correction": True,
        "passed": True,
        "failures": [],
        "warnings": [],
        "int8_mac_fraction": 0.9994,
        "nodes": {"int8": 92, "float": 4},
        "float_nodes": [
            {"name": "/head/Concat", "op": "Concat", "reason": "boxes and scores differ 300 times in range"},
            {"name": "/head/Sigmoid", "op": "Sigmoid", "reason": "feeds the output that joins boxes and scores"},
        ],
        "recovery": [
            step("range-method", "accepted", 18.6, 20.1, "MSE"),
            step("gptq", "accepted", 20.1, 22.7),
            step("rescale", "rejected", 22.7, 9.2, "alpha 0.5"),
            {"pass": "16-bit", "status": "not available", "reason": "openvino has no 16-bit activations"},
        ],
        "candidates": [
            {
                "profile": "strict",
                "method": "minmax",
                "bias_correction": True,
                "sqnr_db": 18.6,
                "loss": 0.0141,
                "passed": False,
            },
            {
                "profile": "strict",
                "method": "mse",
                "bias_correction": True,
                "sqnr_db": 22.7,
                "loss": 0.0052,
                "passed": True,
            },
            {
                "profile": "strict",
                "method": "percentile",
                "bias_correction": True,
                "sqnr_db": 20.1,
                "loss": 0.0089,
                "passed": True,
            },
        ],
        "outputs": quantization["outputs"],
        "worst_layers": [
            {"node": f"/backbone/stage{i}/conv{i}/Conv", "op": "Conv", "sqnr_db": 17.2 + 2.4 * i, "cause": cause}
            for i, cause in enumerate(
                [
                    "weights of a depthwise convolution differ 40 times between channels",
                    "its input has one channel 31 times as wide as the median",
                    "few bits left: range -118 to 96, useful part -3 to 12",
                    "weights of a depthwise convolution differ 22 times between channels",
                    "error carried over from its input",
                ]
            )
        ],
        "layers": layer_table(),
        "ranges": ranges(),
        "precision": "mixed",
        "clipped": ["/backbone/stem/Clip_output_0"],
        "held_out": 24,
    }
    parity = {
        "passed": True,
        "runner": "native",
        "emulator": None,
        "not_executed": "",
        "engine_version": "2026.4.1",
        "idle_accelerator": None,
        "quantization_executed": None,
        "metric": None,
        "quantization": quantization,
        "lowering": lowering,
        "total": total,
        "failures": [],
        "warnings": [],
        "samples": 24,
        "executed_samples": 24,
        "golden": {"samples": 3, "outputs_of": "payload"},
        "note": "",
    }
    stages = [
        ("ingest", 0.61),
        ("simplify", 1.94),
        ("calibrate", 9.8),
        ("quantize", 21.4),
        ("lower", 2.2),
        ("validate", 3.9),
    ]
    return ReportInputs(
        model={
            "path": "models/nanodet-plus-m.onnx",
            "sha256": DIGEST,
            "macs": 456_000_000,
            "parameters": 1_170_000,
            "bytes": 4_803_221,
        },
        build={
            "target": "x86-64-vnni",
            "backend": "openvino",
            "precision": "mixed",
            "status": "ok",
            "artifact": {"path": "dist/nanodet-plus-m-x86-64-vnni.edgec", "bytes": 1_612_340, "sha256": DIGEST[::-1]},
            "parity": parity,
            "int8_mac_fraction": 0.9994,
            "float_nodes": quantize["float_nodes"],
            "latency_ms": {"p50": 4.02, "p95": 4.4, "p99": 4.9},
            "stages": [
                *({"name": name, "seconds": taken, "cached": name in ("ingest", "simplify")} for name, taken in stages),
                {"name": "pack", "seconds": 1.2, "cached": False},
                {"name": "measure", "seconds": 2.6, "cached": False},
            ],
            "notes": [
                {
                    "stage": "calibrate",
                    "level": "warning",
                    "text": "Input 'image' looks like 0..255 where the recipe says 0..1.",
                }
            ],
            "report": None,
            "error": None,
        },
        target={
            "name": "x86-64-vnni",
            "title": "x86-64 with AVX-512 VNNI",
            "arch": "x86_64",
            "features": ["avx2", "avx512_vnni"],
            "threads": 0,
            "backends": ["openvino"],
        },
        ingest={
            "opset_before": 11,
            "opset": 17,
            "ir_version": 8,
            "nodes": 323,
            "parameters": 1_170_000,
            "macs": 456_000_000,
            "ops": {},
        },
        contract={"inputs": [{"name": "image", "dtype": "float32", "shape": [1, 3, 320, 320]}], "outputs": []},
        simplify={
            "status": "simplified",
            "reason": "",
            "nodes_before": 323,
            "nodes_after": 233,
            "max_abs_diff": 4.1e-6,
            "ops": {"Conv": 64, "Sigmoid": 58, "Mul": 58, "Concat": 17, "Add": 8, "Resize": 2},
        },
        inputs=looked_at(),
        contact_sheet=sheet(),
        quantize=quantize,
        lower={
            "engine": "openvino",
            "files": ["model.xml", "model.bin"],
            "options": {"inference_precision": "f32"},
            "facts": {"int8_primitives": 64, "float_primitives": 9},
        },
        parity=parity,
        latency={
            "artifact": latencies(4.02, 1.0),
            "baseline": {"engine": "onnxruntime", **latencies(10.3, 1.8)},
            "ratio_of_medians": 0.3903,
            "ratio_interval": [0.384, 0.397],
            "profile": [
                {
                    "name": f"/backbone/stage{i}/conv/Conv, /backbone/stage{i}/relu",
                    "operator": "Convolution",
                    "milliseconds": 0.1 + i / 50,
                    "share": (5 + i) / 165,
                }
                for i in range(15)
            ],
            "profile_note": "over 20 runs, which taking the times slows down: shares are what to read",
            "runs": 140,
            "threads": 1,
            "noisy": False,
        },
        recipe={"name": "imagenet"},
        analysis=analysis(),
        cost=COST,
    )


def candidate(backend, precision, threads, milliseconds, size, status="ok", **more):
    """One line of what a search tried."""
    found = {"name": f"{backend} {precision}, {threads} threads", "backend": backend, "precision": precision}
    found |= {"threads": threads, "latency_ms": milliseconds, "bytes": size, "status": status, "front": False}
    found |= {"profile": None, "tuned": False, "ratio_of_medians": milliseconds and milliseconds / 10.3}
    found |= {"instructions": None, "accuracy": None, "joules": None, "not_tried": None, "error": None}
    return {**found, **more}


def searched() -> ReportInputs:
    """The same, the best of several."""
    refusal = {"what": "INT8 changes the model's results too much", "why": ""}
    return replace(
        good(),
        choice={
            "why": "It is the fastest: 1.21 times as fast as the next one.",
            "optimize": "latency",
            "limits": {"latency_ms": None, "bytes": None},
            "candidates": [
                candidate("openvino", "int8", 1, 4.02, 1_612_340, "kept", front=True),
                candidate("tflite", "int8", 1, 4.9, 1_402_110, front=True),
                candidate("tvm", "float", 1, 9.1, 4_900_000),
                candidate("tvm", "int8", 2, None, None, "refused", error=refusal),
                candidate("tflite", "float", 2, None, None, "not tried", not_tried="the roofline rules it out"),
            ],
        },
    )


def refused() -> ReportInputs:
    """INT8 that does not hold: quantize said no, nothing after it was reached."""
    done = good()
    original = detector()
    outputs = section(original, noisy(original, 0.6))["outputs"]
    worst = [
        {"node": f"/decoder/block.{i}/ffn/MatMul", "op": "MatMul", "sqnr_db": 0.4 + 1.9 * i, "cause": cause}
        for i, cause in enumerate(
            [
                "one channel of its output is 212 times as wide as the median: all others share a few steps",
                "its input is a mask of -10000: nothing is left for the rest",
                "error carried over from its input",
                "error carried over from its input",
                "one channel of its output is 66 times as wide as the median",
            ]
        )
    ]
    failures = list(judge([OutputComparison.from_json(item) for item in outputs]).failures)
    quantize = {
        **(done.quantize or {}),
        "passed": False,
        "failures": failures,
        "outputs": outputs,
        "worst_layers": worst,
    }
    quantize["curve"] = [{"int8_mac_fraction": 1.0, "sqnr_db": 9.1}, {"int8_mac_fraction": 0.91, "sqnr_db": 14.0}]
    quantize["candidates"] = [{**item, "passed": False} for item in quantize["candidates"]]
    error = {
        "kind": "ParityGateError",
        "exit_code": 6,
        "what": "INT8 changes the model's results too much",
        "why": "\n".join(failures),
        "fix": "More or other calibration data often helps.\n"
        "--keep-float NODE leaves a layer out.\n"
        "--precision float builds without INT8.",
        "details": {"failures": failures, "worst_layers": worst},
    }
    build = {**done.build, "status": "refused", "artifact": None, "parity": None, "latency_ms": None, "error": error}
    build["stages"] = list(done.build["stages"])[:4]
    return replace(done, build=build, quantize=quantize, parity=None, latency=None, lower=None)


def nothing_proven(count: int = 1) -> ReportInputs:
    """Refused because there was nothing to compare: a single sample, or `count` on which the original is constant."""
    done = refused()
    steps = [{"y": np.arange(4.0)[None]}] if count == 1 else [{"y": np.zeros((1, 4))}] * count
    comparisons = compare(steps, steps)
    verdict = judge(comparisons)
    quantize = {
        **(done.quantize or {}),
        "failures": list(verdict.failures),
        "warnings": list(verdict.warnings),
        "outputs": [item.to_json() for item in comparisons],
        "worst_layers": [],
    }
    details = {"failures": list(verdict.failures), "worst_layers": []}
    error = {**done.build["error"], "why": "\n".join(verdict.failures), "details": details}
    calibration = {"source": "data/", "kind": "files", "samples": count, "sha256": DIGEST}
    return replace(done, quantize=quantize, build={**done.build, "error": error, "calibration": calibration})


def not_executed() -> ReportInputs:
    """A float build for a machine of another architecture."""
    done = good()
    empty = {"outputs": []}
    note = "The artifact was not executed: the target is aarch64, and this machine is x86_64."
    parity = {
        **(done.parity or {}),
        "runner": "none",
        "not_executed": "the target is aarch64, and this machine is x86_64",
        "engine_version": None,
        "executed_samples": 0,
        "quantization": empty,
        "lowering": empty,
        "total": empty,
        "note": note,
        "warnings": [note],
    }
    build = {**done.build, "target": "rpi5", "precision": "float", "parity": parity, "latency_ms": None}
    target = {
        **done.target,
        "name": "rpi5",
        "title": "Raspberry Pi 5, 64-bit",
        "arch": "aarch64",
        "features": ["asimd"],
    }
    return replace(
        done,
        build=build,
        target=target,
        parity=parity,
        quantize=None,
        cost={**COST, "after": None, "before": None, "saved": None, "note": "No time was measured on rpi5."},
        analysis={**(done.analysis or {}), "roofline": None, "profile": None},
        latency={
            **dict.fromkeys(("artifact", "baseline", "ratio_of_medians", "ratio_quartiles")),
            "runs": 0,
            "threads": 1,
            "noisy": False,
            "note": "Not measured: This artifact is for aarch64, and this machine is x86_64.",
        },
        inputs=None,
        contact_sheet=None,
    )


def failed() -> ReportInputs:
    """A build that ended before calibration."""
    done = good()
    error = {
        "kind": "ToolMissing",
        "exit_code": 8,
        "what": "The backend openvino can't be used here",
        "why": "The package openvino is not installed.",
        "fix": "pip install 'edgec[openvino]'",
        "details": {},
    }
    build = {
        **done.build,
        "status": "failed",
        "artifact": None,
        "parity": None,
        "latency_ms": None,
        "error": error,
        "notes": [],
    }
    build["stages"] = list(done.build["stages"])[:2]
    return ReportInputs(model=done.model, build=build, target=done.target, ingest=done.ingest, simplify=done.simplify)


ALL = {
    "good": good,
    "searched": searched,
    "refused": refused,
    "nothing_proven": nothing_proven,
    "not_executed": not_executed,
    "failed": failed,
}
