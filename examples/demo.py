"""Compile real models, through each backend, and show what came of it: `make demo`.

For each: the artifact, where it was executed, its size beside the ONNX file's, its accuracy on labelled data beside the
original's, its parity and its latency. What is for another processor runs on that processor's core, emulated: it has no
latency, and running all labelled data would take long. Models and data come out of published packages; where no package
index can be reached, only the digits model is built, and the end of the output says so, as it does without an emulator.
At the end one of the artifacts is shipped to a device of a temporary folder (fleet/ship.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_zoo.case import Case, onnx_runtime
from model_zoo.fetch import CASES
from model_zoo.packages import Unavailable
from rich.console import Console
from rich.table import Table

import edgec
from edgec.cli.progress import listening
from edgec.cli.sizes import size
from edgec.emulator.making import make
from edgec.errors import ToolMissing
from edgec.result import TargetBuild
from edgec.runtime import load
from edgec.targets import load_target

OUTPUT = Path("dist")
SHIP = Path(__file__).parent / "fleet" / "ship.py"
SHOWN = (
    ("digits_cnn", "host", "openvino"),
    ("digits_cnn", "host", "tflite"),
    ("digits_cnn", "host", "tvm"),
    ("digits_cnn", "coral-usb", "edgetpu"),
    ("efficientnet_lite0", "host", "openvino"),
    ("efficientnet_lite0", "host", "tflite"),
    ("efficientnet_lite0", "host", "tvm"),
    ("efficientnet_lite0", "rpi4", "tvm"),
    ("ppocr_cls", "host", "openvino"),
    ("ppocr_cls", "host", "tflite"),
    ("ppocr_cls", "host", "tvm"),
)
"""Model, target, backend."""


def main() -> None:
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    rows, missing, without = [], [], []
    for name, target, backend in SHOWN:
        try:
            case = CASES[name]()
        except Unavailable as error:
            missing.append(str(error))
            continue
        console.print(f"\n[bold]$ {case.command(target)} --backend {backend}[/]")
        try:
            if load_target(target).emulator is not None:
                make(load_target(target).arch, say=console.print)  # once
            rows.append((case, build(case, target, backend)))
        except ToolMissing as error:  # no emulator: it takes packages of the system
            console.print(f"[yellow]{error.what}.[/]")
            without.append(f"{case.name} for {target}: {error.what}. {error.fix}")
    console.print(table(rows))
    for _, built in rows:
        console.print(f"report: {built.report}")
    for case, built in rows:
        if built.artifact is not None and built.backend == "tvm":
            console.print(f"\nOn a device with numpy and nothing else: python3 {built.artifact.path} selftest")
            ship(case, built.artifact.path)
            break
    if without:
        console.print("\n[yellow]Not built, because something is not installed:[/]")
        for text in without:
            console.print(f"  {text}")
    if missing:
        console.print("\n[yellow]Not shown, because a package can't be downloaded:[/]")
        for text in dict.fromkeys(missing):
            console.print(f"  {text}")
        sys.exit(8)


def ship(case: Case, first: Path) -> None:
    """Ship an artifact for this machine, and another build of the same model after it."""
    second = build(case, "host", "tvm", OUTPUT / "second", threads=2).artifact
    assert second is not None
    subprocess.run([sys.executable, SHIP, first, second.path], check=True)


def build(case: Case, target: str, backend: str, output: Path = OUTPUT, threads: int | None = None) -> TargetBuild:
    with listening(quiet=False, verbose=False) as listener:
        result = edgec.build(
            case.model,
            name=f"{case.name}-{backend}" if target == "host" else case.name,
            targets=target,
            backend=backend,
            calibration=case.calibration,
            preprocess=case.recipe,
            shapes=case.shapes,
            state=case.state,
            output=output,
            threads=threads,
            listener=listener,
        )
    return result.builds[0]


def table(rows: list[tuple[Case, TargetBuild]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold", title="\nWhat was built", title_justify="left")
    titles = ("", "executed", "ONNX", "artifact", "FP32 acc.", "acc.", "parity", "latency", "ORT FP32")
    for title in titles:
        shown.add_column(title, justify="right" if len(shown.columns) > 1 else "left", no_wrap=True)
    for case, built in rows:
        assert built.artifact is not None
        assert built.parity is not None
        assert built.latency is not None
        runner = built.parity["runner"]
        before = case.accuracy(onnx_runtime(case.model))
        after = f"{case.accuracy(load(built.artifact.path).run):.1%}" if runner == "native" else "–"
        worst = min(output["sqnr_db"] for output in built.parity["total"]["outputs"])
        shown.add_row(
            built.artifact.path.stem,
            "here" if runner == "native" else runner.partition(":")[2],
            size(case.model.stat().st_size),
            size(built.artifact.bytes),
            f"{before:.1%}",
            after,
            f"{worst:.1f} dB",
            *(_milliseconds(built.latency[side]) for side in ("artifact", "baseline")),
        )
    return shown


def _milliseconds(side: Mapping[str, Any] | None) -> str:
    """The median; a dash for a chip that is not in this machine."""
    return "–" if not side else f"{side['p50']:.{3 if side['p50'] < 0.1 else 2}f} ms"


if __name__ == "__main__":
    main()
