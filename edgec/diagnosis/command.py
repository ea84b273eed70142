"""The command that explains a build: `edgec diagnose` with the build's own flags."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgec.spec import MAX_FLOAT_MACS, BuildSpec, is_random


def explain(spec: BuildSpec, target: str) -> str:
    """One sentence: what to type to see why `spec` loses what it loses."""
    if not isinstance(spec.calibration, Path) and not is_random(spec.calibration):
        return "edgec.diagnose(...) with the same arguments shows where it goes wrong, and why."
    return f"To see where it goes wrong, and why: {command(spec, target)}"


def command(spec: BuildSpec, target: str) -> str:
    """`edgec diagnose` for one target of `spec`; flags that have their default are left out."""
    words = ["edgec", "diagnose", str(spec.model), "--target", target]
    if spec.calibration is not None:
        words += ["--calib", str(spec.calibration)]
    for flag, value in (("--preprocess", spec.recipe), ("--samples", spec.max_samples), ("--name", spec.name)):
        if value is not None:
            words += [flag, str(value)]
    if spec.evaluation is not None:
        words += ["--eval", str(spec.evaluation)]
    for name, shape in spec.shapes.items():
        words += ["--shape", f"{name}={'x'.join(map(str, shape))}"]
    for output, into in spec.state.items():
        words += ["--state", f"{output}:{into}"]
    for flag, chosen, default in (
        ("--precision", spec.precision, "int8"),
        ("--profile", spec.profile, "auto"),
        ("--backend", spec.backend, "auto"),
        ("--max-float-macs", spec.max_float_macs, MAX_FLOAT_MACS),
        ("--min-int8-macs", spec.min_int8_macs, 0.0),
        ("--search-seconds", spec.search_seconds, None),
    ):
        if chosen != default:
            words += [flag, f"{chosen:g}" if isinstance(chosen, float) else str(chosen)]
    for flag, names in (("--keep-float", spec.keep_float), ("--force", spec.force), ("--forbid", spec.forbid)):
        for each in names:
            words += [flag, each]
    for gate, limit in spec.gate.items():
        words += ["--gate", f"{gate}={limit:g}"]
    if not spec.simplify:
        words.append("--no-simplify")
    if not spec.emulate:
        words.append("--no-emulate")
    return shlex.join(words)
