"""A diagnosis on the terminal: the verdict, the first fault and what helps, the worst layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from edgec.cli.markup import escape
from edgec.diagnosis import wording
from edgec.diagnosis.driver import Diagnosis

WORST, CAUSES = 8, 5


def print_diagnosis(found: Diagnosis, everything: bool) -> None:
    """On standard output. everything: all layers in the order of the graph, in place of the worst."""
    console = Console(highlight=False, soft_wrap=True)
    document = found.document
    console.print(f"[bold]{escape(found.model.path)}[/] for {escape(found.target)}")
    console.print(f"  {'verdict':<9}{escape(wording.verdict(document))}")
    for text in document["failures"][:3]:
        console.print(f"  {'':<9}{escape(text)}")
    if document.get("artifact"):
        console.print(f"  {'artifact':<9}{escape(document['artifact']['note'])}")
    if (first := document["first"]) is not None:
        console.print(f"  {'first':<9}{escape(wording.first_fault(first))}")
    for cause in document["causes"][:CAUSES]:
        where = f" at {cause['node']}" if cause["node"] else ""
        console.print(f"  {'cause':<9}[bold]{escape(cause['title'])}[/]{escape(where)}: {escape(cause['sentence'])}")
        console.print(f"  {'  helps':<9}{escape(cause['remedy'])}")
    if (more := len(document["causes"]) - CAUSES) > 0:
        console.print(f"  {'':<9}and {more} more, in the report")
    if (smallest := document["smallest"]) is not None:
        console.print(f"  {'smallest':<9}{escape(wording.smallest_part(smallest))}")
    for path in found.files:
        if path.suffix == ".py":
            console.print(f"  {'try it':<9}cd {escape(str(path.parent))} && python3 {escape(path.name)}")
    for note in document["notes"]:
        console.print(f"  {'note':<9}{escape(note)}")
    if document["layers"]:
        shown = document["layers"] if everything else wording.worst_first(document["layers"])[:WORST]
        console.print(escape(_table(shown)))
    elif (lowering := document.get("lowering")) and lowering["tensors"]:
        rows = lowering["tensors"]
        console.print(escape(_tensors(rows if everything else wording.worst_lowered_first(rows)[:WORST])))
    if (lowering := document.get("lowering")) and lowering["tensors"]:
        console.print(f"  {'lowering':<9}{escape(wording.lowering_line(document))}")
    console.print(f"  {'report':<9}{escape(str(found.report))}")
    if found.graph is not None:
        console.print(f"  {'graph':<9}{escape(str(found.graph))}")


_COLUMNS = ("#", "layer", "op", "accumulated", "isolated", "outputs alone", "steps used", "clipped", "dead", "cause")
_OF_LOWERING = ("rms LSB", "lowering", "max LSB")
_LEFT = ("layer", "op", "cause", "tensor")
_NAME = 40  # characters of a layer's name


def _table(layers: Sequence[Mapping[str, Any]]) -> str:
    """The layers; what lowering adds stands beside what quantization costs, where the engine shows it."""
    if all(layer["lowering"] is None for layer in layers):
        return _aligned([_COLUMNS, *map(_row, layers)])
    beside = 1 + _COLUMNS.index("accumulated")
    rows = [(*row[:beside], *_lowering(layer), *row[beside:]) for layer in layers for row in (_row(layer),)]
    return _aligned([(*_COLUMNS[:beside], *_OF_LOWERING, *_COLUMNS[beside:]), *rows])


def _tensors(rows: Sequence[Mapping[str, Any]]) -> str:
    """The engine's inner tensors, of a payload without INT8 activations."""
    cells = [(_short(row["name"]), row["op"], wording.decibel(row["sqnr_db"])) for row in rows]
    return _aligned([("tensor", "op", "lowering"), *cells])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under the titles that the first row has; a line is as long as it must be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if title in _LEFT else text.rjust(width)
            for text, width, title in zip(row, widths, rows[0], strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _lowering(layer: Mapping[str, Any]) -> tuple[str, ...]:
    return wording.lsb(layer["accumulated_lsb"]), _short(wording.lowered(layer)), wording.lowered_lsb(layer)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"


def _row(layer: Mapping[str, Any]) -> tuple[str, ...]:
    grid = layer["grid"]
    return (
        str(layer["position"] + 1),
        _short(layer["node"]),
        layer["op"],
        wording.decibel(layer["accumulated_db"]),
        wording.decibel(layer["isolated_db"]) if layer["rounds"] else "float",
        wording.decibel(layer["alone_db"]),
        f"{layer['steps_used']} of {grid['steps']}" if grid else "-",
        f"{100 * layer['clipped_share']:.2g} %" if grid else "-",
        str(len(layer["dead_channels"])) if layer["dead_channels"] else "-",
        layer["cause"]["title"] if layer["cause"] else "",
    )
