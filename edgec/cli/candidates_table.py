"""The candidates of a search on the terminal: what was tried, what it came to, and what was not worth trying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from edgec.candidates.candidate import label
from edgec.cli.markup import escape
from edgec.cli.sizes import size

_MARKS = {"kept": "[green]✓[/]", "over": ">", "refused": "✗", "failed": "✗"}


def is_search(choice: Mapping[str, Any] | None) -> bool:
    """Whether a choice was among more than backends."""
    return any(item["threads"] is not None or item["profile"] for item in (choice or {}).get("candidates", ()))


def print_candidates(choice: Mapping[str, Any], console: Console) -> None:
    """A row for each that was built, the front marked; then those that were left out, with the reason."""
    built = [item for item in choice["candidates"] if item["not_tried"] is None]
    left_out = [item for item in choice["candidates"] if item["not_tried"] is not None]
    table = Table(box=None, pad_edge=False, header_style="bold")
    measure = next((item["accuracy"]["measure"] for item in built if item["accuracy"]), "accuracy")
    joules = any(item["joules"] is not None for item in built)
    counted = any(item["instructions"] for item in built)
    table.add_column("candidate", no_wrap=True)
    for title in filter(
        None, ("threads", "size", "latency", "speed", measure, "joules" * joules, "instructions" * counted)
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for item in built:
        mark = _MARKS.get(item["status"], "◆" if item["front"] else " ")
        threads = "–" if item["threads"] is None else str(item["threads"])
        name = label(item["backend"], item["asked"], item["profile"] or "", None, item["tuned"])
        table.add_row(f"{mark} {escape(name)}", threads, *_figures(item), *_extra(item, joules, counted))
    console.print(table)
    meanings = ["✓ kept", "◆ on the Pareto front", "speed: against ONNX Runtime on as many threads"]
    if any(item["status"] == "over" for item in built):
        meanings.insert(1, "> over a limit")
    if any(item["error"] for item in built):
        meanings.insert(1, "✗ refused or failed")
    console.print("  " + "   ".join(meanings), style="dim")
    reasons: dict[str, list[str]] = {}
    for item in left_out:
        reasons.setdefault(item["not_tried"], []).append(item["name"])
    for reason, names in reasons.items():
        console.print(f"  left out: {escape('; '.join(names))}: {escape(reason)}", style="dim")
    for item in built:
        if item["error"]:
            console.print(f"  {item['status']}: {escape(item['name'])}: {escape(item['error']['what'])}", style="dim")


def _figures(item: Mapping[str, Any]) -> list[str]:
    """Size, latency, how many times as fast as the original, accuracy."""
    ratio, accuracy = item["ratio_of_medians"], item["accuracy"]
    unit = " dB" if accuracy and accuracy["measure"] == "SQNR" else ""
    return [
        "–" if item["bytes"] is None else size(item["bytes"]),
        "–" if item["latency_ms"] is None else f"{item['latency_ms']:.3g} ms",
        "–" if not ratio else f"{1 / ratio:.2f}x",
        "–" if not accuracy else f"{accuracy['value']:.4g}{unit}",
    ]


def _extra(item: Mapping[str, Any], joules: bool, counted: bool) -> list[str]:
    """Joules and instructions, where any candidate has them."""
    return [
        *(["–" if item["joules"] is None else f"{item['joules']:.3g}"] if joules else []),
        *([f"{item['instructions']:,}" if item["instructions"] else "–"] if counted else []),
    ]
