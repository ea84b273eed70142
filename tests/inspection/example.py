"""An inspection as `edgec inspect --json` prints it, made by hand."""

from __future__ import annotations


def layer(number, **changes):
    made = {
        "node": f"/backbone/stage{number}/block/depthwise/Conv",
        "operator": "Conv",
        "output": f"t{number}",
        "shape": [1, 8, 8, 8],
        "macs": 1000 * number,
        "parameters": 10,
        "bytes": {"float32": 400, "int8": 100},
        "intensity": {"float32": 2.5, "int8": 10.0},
        "milliseconds": 0.1 * (number + 1),
        "measured_in": None,
        "roof_milliseconds": {"float32": 0.05, "int8": 0.02},
        "bound": "memory" if number % 2 else "compute",
        "bound_int8": "memory",
        "int8_at_most": 3.5,
    }
    return {**made, **changes}


def inspection():
    """An inspection of twenty layers for this machine."""
    layers = [layer(number) for number in range(20)]
    analysis = {
        "came_quantized": False,
        "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 3, 32, 32]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": []}],
        "totals": {
            "nodes": 20,
            "macs": 190_000,
            "parameters": 200,
            "weight_bytes": {"float32": 800, "int8": 200},
            "activation_peak_bytes": {"float32": 4096, "int8": 1024, "at": layers[3]["node"]},
            "intensity": {"float32": 2.5, "int8": 10.0},
            "int8_at_most": 3.5,
            "roof_milliseconds": {"float32": 1.0, "int8": 0.4},
            "unknown_shapes": 0,
            "bodies": 0,
        },
        "operators": [{"operator": "Conv", "count": 20, "macs": 190_000, "parameters": 200, "milliseconds": 21.0}],
        "layers": layers,
        "profile": {
            "on_target": True,
            "engine": "onnxruntime",
            "version": "1.31.0",
            "threads": 1,
            "runs": 9,
            "milliseconds": 21.0,
            "elsewhere_milliseconds": 0.0,
            "noisy": False,
        },
        "profile_note": None,
        "roofline": {
            "source": "measured on this machine",
            "threads": 1,
            "float32_gmacs": 100.0,
            "int8_gmacs": 400.0,
            "memory_gb_per_s": 30.0,
        },
        "roofline_note": None,
        "support": {"tflite": {"status": "all", "reason": "", "int8_mac_fraction": 0.9995, "nodes": []}},
        "memory": {"device_mib": 1, "needed_bytes": 1224, "fits": True},
        "expected_bytes": {"tflite": 60_000},
    }
    return {
        "model": {"name": "net", "bytes": 1000, "sha256": "0" * 64},
        "open": None,
        "inspections": [
            {"target": "host", "title": "This machine", "analysis": analysis, "answers": {}, "unanswered": {}}
        ],
        "error": None,
    }
