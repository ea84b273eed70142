"""What the model really saw: the calibration data's values, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.report import formats
from edgec.report.inputs import ReportInputs


@dataclass(frozen=True)
class SeenRow:
    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class SeenTable:
    columns: tuple[str, ...]
    rows: tuple[SeenRow, ...]


_COLUMNS = (
    ("shape", "Shape"),
    ("dtype", "Type"),
    ("min", "Least"),
    ("max", "Largest"),
    ("mean", "Mean"),
    ("std", "Deviation"),
)


def table(inputs: ReportInputs) -> SeenTable | None:
    """One row an input, one column a statistic that is known of any of them."""
    rows: Sequence[Mapping[str, Any]] = (inputs.inputs or {}).get("inputs") or ()
    columns = [(key, title) for key, title in _COLUMNS if any(row.get(key) is not None for row in rows)]
    if not columns:
        return None
    return SeenTable(
        columns=tuple(title for _, title in columns),
        rows=tuple(
            SeenRow(formats.clean(row["name"]), tuple(_cell(row.get(key)) for key, _ in columns)) for row in rows
        ),
    )


def notes(inputs: ReportInputs) -> list[str]:
    """How many samples there were, and what calibration found odd about them."""
    document = inputs.inputs or {}
    said = []
    if document.get("samples"):
        said.append(f"{formats.counted(int(document['samples']), 'sample')} for calibration.")
    return said


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        if all(isinstance(item, int) for item in value):
            return " × ".join(str(item) for item in value)
        return ", ".join(_cell(item) for item in value[:4]) + (" …" if len(value) > 4 else "")
    if isinstance(value, float):
        return formats.significant(value, 4)
    return formats.clean(value)
