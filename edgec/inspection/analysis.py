"""One document on a model: what it computes, what that takes, what bounds it, and what backends make of it.

docs/inspect.md describes the document. What can't be found out is null, with the reason beside it: an analysis is for
people to decide by, and never the reason that a build fails.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgec.contract import Contract
from edgec.inspection.backend_support import Asked, asking, quantized_structure, support
from edgec.inspection.expected_size import artifact_bytes
from edgec.inspection.layers import Bytes, Census, Layer, by_operator, intensity, name_of, operator_of
from edgec.inspection.profiling import Profile, profile
from edgec.inspection.roofline import Roofline, whole_gain
from edgec.onnx_graph.graph import Graph, load_model
from edgec.targets import Target

MOST_MACS = 300 * 10**9
"""Of a model that is run just for its profile: some ten seconds a run."""


def analyze(folder: Path, target: Target, came_quantized: bool, peaks: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document on the model that a stage left in `folder`.

    came_quantized: it brings scales of its own. peaks: of this machine, where it is the target.
    """
    with asking(folder / "model.onnx", target) as asked:
        return _analyzed(folder, target, came_quantized, peaks, asked)


def _analyzed(
    folder: Path, target: Target, came_quantized: bool, peaks: Mapping[str, Any] | None, asked: Asked
) -> dict[str, Any]:
    model = load_model(folder / "model.onnx")
    contract = Contract.read(folder)
    graph = Graph(model)
    census = Census(graph, came_quantized)
    layers = census.layers()
    cost = {layer.node: layer.macs for layer in layers if layer.macs}
    peak, weights, bodies = census.peak(), census.weights(), census.bodies()
    profiled, note = _profiled(folder / "model.onnx", graph, contract, cost)
    milliseconds = profiled.by_node if profiled is not None else None
    roofline, roofline_note = _roofline(target, peaks)
    quantized = quantized_structure(model, came_quantized)
    operators = {name_of(node): operator_of(node) for node in graph.nodes}
    backends = support(folder / "model.onnx", quantized, cost, operators, target, asked)
    floats = set(quantized.float_nodes)
    measured = milliseconds if target.here else None  # what this machine takes says nothing of another's layers
    gain = None if roofline is None or came_quantized else whole_gain(layers, roofline, measured, floats)
    needed = census.weights_held(floats) + peak.bytes.int8
    return {
        **contract.to_json(),
        "came_quantized": came_quantized,
        "totals": {
            "nodes": len(layers),
            "macs": sum(cost.values()),
            "parameters": census.parameters(),
            "weight_bytes": {"float32": weights.float32, "int8": weights.int8},
            "activation_peak_bytes": {"float32": peak.bytes.float32, "int8": peak.bytes.int8, "at": peak.at},
            "intensity": intensity(sum(cost.values()), _moved(layers)),
            "int8_at_most": _rounded(gain),
            "roof_milliseconds": {
                "float32": _at_roof(layers, roofline, int8=False),
                "int8": None if came_quantized else _at_roof(layers, roofline, int8=True),
            },
            "unknown_shapes": sum(layer.bytes is None and layer.node not in bodies for layer in layers),
            "bodies": len(bodies),
        },
        "operators": by_operator(layers, milliseconds),
        "layers": [_layer(layer, profiled, roofline, came_quantized, floats) for layer in layers],
        "profile": profiled and _profile(profiled, target.here),
        "profile_note": note,
        "roofline": roofline and vars(roofline),
        "roofline_note": roofline_note,
        "support": backends,
        "memory": _memory(target, needed),
        "expected_bytes": {
            name: artifact_bytes(name, census.weights_held(_in_float(found)), graph, contract)
            for name, found in backends.items()
            if found["status"] in ("all", None)
        },
    }


def _in_float(support: Mapping[str, Any]) -> set[str]:
    """Nodes that a backend leaves in float32."""
    return {item["node"] for item in support["nodes"] if item["effect"] == "float"}


def _moved(layers: list[Layer]) -> Bytes:
    return sum((layer.bytes for layer in layers if layer.bytes is not None), Bytes())


def _profiled(
    path: Path, graph: Graph, contract: Contract, cost: Mapping[str, int]
) -> tuple[Profile | None, str | None]:
    """The profile, or why there is none."""
    from edgec.runners.timing import probe

    if (macs := sum(cost.values())) > MOST_MACS:
        return None, f"Not run: {macs / 1e9:.0f} G multiply-accumulates take too long for a profile."
    try:
        return profile(path, graph, probe(contract), cost), None
    except Exception as error:
        if not _raised_by_onnxruntime(error):
            raise
        return None, f"ONNX Runtime could not run the model: {' '.join(str(error).split())[:300]}"


def _raised_by_onnxruntime(error: Exception) -> bool:
    """Whether it comes out of ONNX Runtime, which has no common class for what it raises, and not out of edgec."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return str(frames[-1][0].f_globals.get("__name__")).partition(".")[0] == "onnxruntime"


def _roofline(target: Target, peaks: Mapping[str, Any] | None) -> tuple[Roofline | None, str | None]:
    """The target's roofline, or why there is none."""
    if target.performance is not None:
        known = target.performance
        figures = (known.float32_gmacs, known.int8_gmacs, known.memory_gb_per_s)
        return Roofline(known.source, target.threads, *figures), None
    if peaks is not None:
        busy = ", while it was busy: take the figures as rough" if peaks["noisy"] else ""
        figures = (peaks["float32_gmacs"], peaks["int8_gmacs"], peaks["memory_gb_per_s"])
        return Roofline(f"measured on this machine{busy}", 1, *figures), None
    return None, (
        f"The target {target.name} has no [performance] figures: what bounds a layer there is not known "
        "(docs/targets.md says how to add them)."
    )


def _layer(
    layer: Layer, profiled: Profile | None, roofline: Roofline | None, came_quantized: bool, floats: set[str]
) -> dict[str, Any]:
    at_roof = roofline.seconds(layer, int8=False) if roofline is not None else None
    at_roof_int8 = roofline.seconds(layer, int8=True) if roofline is not None else None
    gain = roofline.int8_gain(layer) if roofline is not None else None
    return {
        "node": layer.node,
        "operator": layer.operator,
        "output": layer.output,
        "shape": None if layer.shape is None else list(layer.shape),
        "macs": layer.macs,
        "parameters": layer.parameters,
        "bytes": None if layer.bytes is None else vars(layer.bytes),
        "intensity": intensity(layer.macs, layer.bytes),
        "milliseconds": None if profiled is None else _rounded(profiled.by_node.get(layer.node)),
        "measured_in": None if profiled is None else profiled.into.get(layer.node),
        "roof_milliseconds": {
            "float32": _rounded(at_roof and 1000 * at_roof[0]),
            "int8": _rounded(at_roof_int8 and 1000 * at_roof_int8[0]),
        },
        "bound": at_roof and at_roof[1],
        "bound_int8": at_roof_int8 and at_roof_int8[1],
        "int8_at_most": None if came_quantized else 1.0 if gain and layer.node in floats else _rounded(gain),
    }


def _at_roof(layers: list[Layer], roofline: Roofline | None, *, int8: bool) -> float | None:
    """The least milliseconds that the model can take: every layer at its roof, one after the other."""
    if roofline is None:
        return None
    return _rounded(1000 * sum((roofline.seconds(layer, int8=int8) or (0.0, ""))[0] for layer in layers))


def _profile(found: Profile, on_target: bool) -> dict[str, Any]:
    return {
        "on_target": on_target,
        "engine": "onnxruntime",
        "version": found.version,
        "threads": found.threads,
        "runs": found.runs,
        "milliseconds": _rounded(found.milliseconds),
        "elsewhere_milliseconds": _rounded(found.elsewhere),
        "noisy": found.noisy,
    }


def _memory(target: Target, needed: int) -> dict[str, Any]:
    device = target.memory_mib or None
    return {
        "device_mib": device,
        "needed_bytes": needed,
        "fits": None if device is None else needed < device << 20,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
