"""The end of a build on the terminal: what was made, whether it holds, where to look."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgec.cli.report_error import report_error
from edgec.result import BuildResult, StageRecord, TargetBuild
from edgec.spec import BuildSpec


def print_results(results: Sequence[BuildResult]) -> None:
    """A table of artifacts on standard output, then the errors on standard error."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("artifact", "backend", "precision", "size", "parity", "INT8 MACs", "latency p50", "vs ONNX Runtime"):
        table.add_column(title, justify="left" if title in ("artifact", "backend", "precision", "parity") else "right")
    made = [built for result in results for built in result.builds if built.artifact is not None]
    for built in made:
        table.add_row(*_row(built))
    if made:
        console.print(table)
    for built in made:
        assert built.artifact is not None
        console.print(f"\n[bold]{escape(str(built.artifact.path))}[/]\n  sha256 {built.artifact.sha256}")
        console.print(f"  report {escape(str(built.report))}")
        console.print(f"  try it: python3 {escape(str(built.artifact.path))} selftest")
    for built in (built for result in results for built in result.builds if built.error is not None):
        assert built.error is not None
        report_error(built.error, prefix=f"{built.target}: ")
        if built.report is not None:
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"  report {escape(str(built.report))}")


def _row(built: TargetBuild) -> list[str]:
    assert built.artifact is not None
    latency = built.latency or {}
    ratio = latency.get("ratio_of_medians")
    return [
        escape(built.artifact.path.name),
        built.backend,
        built.precision,
        size(built.artifact.bytes),
        _parity(built),
        f"{built.int8_mac_fraction:.1%}" if built.precision != "float" else "-",
        f"{latency['artifact']['p50']:.2f} ms" if latency else "-",
        f"{1 / ratio:.2f}x as fast" if ratio else "-",
    ]


def _parity(built: TargetBuild) -> str:
    """The worst SQNR over the outputs, and whether the artifact was executed."""
    parity = built.parity
    if parity is None:
        return "-"
    if parity["runner"] == "none":
        return "not executed"
    values = [output["sqnr_db"] for output in parity["total"]["outputs"] if output["sqnr_db"] is not None]
    return f"passed, {min(values):.1f} dB" if values else "passed"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"


def print_plan(spec: BuildSpec, records: Sequence[StageRecord]) -> None:
    """What `--dry-run` shows."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(str(spec.model))}[/] for {', '.join(spec.targets)}, into {escape(str(spec.output))}/")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("stage", "what", "now"):
        table.add_column(title)
    for record in records:
        now = f"in the store (took {record.seconds:.1f} s)" if record.cached else "to be done"
        table.add_row(record.name, record.detail or "", now)
    console.print(table)
