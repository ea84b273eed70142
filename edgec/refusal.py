"""A gate that refuses, in words: what differs, where it is lost, and what may be done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgec.backends.base import Precision
from edgec.diagnosis.command import explain
from edgec.errors import ParityGateError
from edgec.spec import BuildSpec

_CURVE_LINES = 6


def refusal(
    what: str, failures: Sequence[str], found: Mapping[str, Any], spec: BuildSpec, target: str
) -> ParityGateError:
    """The error of a build that ends at a gate.

    what: happened, in general. failures: of the gate, in its own words. found: the document quantize.json; empty where
    nothing was quantized.
    """
    if all("calibration-domain" in text for text in failures):
        return ParityGateError(
            "Nothing could be proven on this data",
            "\n".join(failures),
            "Give more and other samples: at least 4, better 64, like those of real use, not of one class only.",
            {"failures": failures, "worst_layers": []},
        )
    if len(failures) == 1 and found.get("int8_mac_fraction", 1.0) < spec.min_int8_macs:
        return ParityGateError(
            "Less of the model runs in INT8 than was asked for",
            failures[0],
            "A smaller --min-int8-macs lets more run in float; the report says of each node why it does.",
            {"failures": failures, "worst_layers": [], "curve": found.get("curve", [])},
        )
    worst, curve = found.get("worst_layers", []), found.get("curve", [])
    why = [*failures]
    if worst:
        why += ["The worst layers:", *map(_layer_line, worst)]
    if curve:
        why += ["What INT8 costs, at best:", *map(curve_line, curve[:_CURVE_LINES])]
    fix = f"{_remedy(spec.precision)}\n{explain(spec, target)}"
    return ParityGateError(what, "\n".join(why), fix, {"failures": failures, "worst_layers": worst, "curve": curve})


def curve_line(point: Mapping[str, Any]) -> str:
    held = "passes" if point["passed"] else "fails"
    share = math.floor(10_000 * point["int8_mac_fraction"] + 1e-6) / 100  # what is not all of them must not read 100 %
    return f"  {point['sqnr_db']:5.1f} dB  with {share:g} % of the multiplications in INT8: {held} the gate"


def _layer_line(layer: Mapping[str, Any]) -> str:
    return f"  {layer['sqnr_db']:5.1f} dB  {layer['node']} ({layer['op']}): {layer['cause']}"


def _remedy(precision: Precision) -> str:
    """What may be done where the gate refused an artifact of this precision."""
    limit = "--gate NAME=VALUE states a limit of your own (docs/parity.md)."
    if precision == "int8-weights":
        return (
            f"--keep-float NODE leaves the weights of a layer in float32; --precision fp16 halves all of them.\n{limit}"
        )
    if precision in ("fp16", "float"):
        return f"--precision float keeps float32.\n{limit}" if precision == "fp16" else limit
    return (
        "More calibration data, or data more like that of real use, often helps.\n"
        "--keep-float NODE leaves a layer out of INT8; --precision int8-weights makes the weights INT8 and computes in "
        "float, which suits recurrent models and activations of very uneven ranges; --precision float leaves out all.\n"
        f"{limit}"
    )
