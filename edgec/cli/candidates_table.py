"""The candidates of a search on the terminal: what was tried, what it came to, and what was not worth trying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgec.cli.sizes import size


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
    table.add_column("candidate")
    table.add_column("", no_wrap=True)
    for title in filter(None, ("size", "latency", "original/it", measure, "joules" * joules, "instructions" * counted)):
        table.add_column(title, justify="right", no_wrap=True)
    for item in built:
        cells = [*_figures(item), *_extra(item, joules, counted)]
        mark = "[green]✓[/] " if item["status"] == "kept" else "◆ " if item["front"] else "  "
        shown = "kept" if item["status"] == "kept" else "" if item["status"] == "ok" else item["status"]
        table.add_row(mark + escape(item["name"]), shown, *cells)
    console.print(table)
    console.print("  ✓ kept   ◆ on the Pareto front: nothing else is better in every figure", style="dim")
    reasons: dict[str, list[str]] = {}
    for item in left_out:
        reasons.setdefault(item["not_tried"], []).append(item["name"])
    for reason, names in reasons.items():
        console.print(f"  not tried: {escape('; '.join(names))}: {escape(reason)}", style="dim")
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
