"""Compile real models, through each backend, and show what came of it: `make demo`.

For each: the artifact, its size beside the ONNX file's, its accuracy on labelled data beside the original's, its
parity and its latency. Models and data come out of published packages; where no package index can be reached, only the
digits model is built, and the end of the output says so.
"""

from __future__ import annotations

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
from edgec.cli.summary import size
from edgec.result import TargetBuild
from edgec.runtime import load

OUTPUT = Path("dist")
SHOWN = (
    ("digits_cnn", "host", "openvino"),
    ("digits_cnn", "host", "tflite"),
    ("digits_cnn", "coral-usb", "edgetpu"),
    ("efficientnet_lite0", "host", "openvino"),
    ("efficientnet_lite0", "host", "tflite"),
    ("ppocr_cls", "host", "openvino"),
    ("ppocr_cls", "host", "tflite"),
)
"""Model, target, backend."""


def main() -> None:
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    rows, missing = [], []
    for name, target, backend in SHOWN:
        try:
            case = CASES[name]()
        except Unavailable as error:
            missing.append(str(error))
            continue
        console.print(f"\n[bold]$ {case.command()} --target {target} --backend {backend}[/]")
        rows.append((case, build(case, target, backend)))
    console.print(table(rows))
    for _, built in rows:
        console.print(f"report: {built.report}")
    if rows and rows[0][1].artifact:
        console.print(f"\nOn a device with numpy and openvino: python3 {rows[0][1].artifact.path} selftest")
    if missing:
        console.print("\n[yellow]Not shown, because a package can't be downloaded:[/]")
        for text in dict.fromkeys(missing):
            console.print(f"  {text}")
        sys.exit(8)


def build(case: Case, target: str, backend: str) -> TargetBuild:
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
            output=OUTPUT,
            listener=listener,
        )
    return result.builds[0]


def table(rows: list[tuple[Case, TargetBuild]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold", title="\nWhat was built", title_justify="left")
    titles = ("", "ONNX file", "artifact", "accuracy FP32", "artifact", "parity", "latency", "ONNX Runtime FP32")
    for title in titles:
        shown.add_column(title, justify="right" if shown.columns else "left", no_wrap=True)
    for case, built in rows:
        assert built.artifact is not None
        assert built.parity is not None
        assert built.latency is not None
        before = case.accuracy(onnx_runtime(case.model))
        after = case.accuracy(load(built.artifact.path).run)
        worst = min(output["sqnr_db"] for output in built.parity["total"]["outputs"])
        shown.add_row(
            built.artifact.path.name,
            size(case.model.stat().st_size),
            size(built.artifact.bytes),
            f"{before:.1%}",
            f"{after:.1%}",
            f"{worst:.1f} dB",
            *(_milliseconds(built.latency[side]) for side in ("artifact", "baseline")),
        )
    return shown


def _milliseconds(side: Mapping[str, Any] | None) -> str:
    """The median; a dash for a chip that is not in this machine."""
    return f"{side['p50']:.2f} ms" if side else "–"


if __name__ == "__main__":
    main()
