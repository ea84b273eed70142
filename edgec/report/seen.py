"""What the model really saw: the calibration data's values, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgec.report import figures, formats, story
from edgec.report.inputs import ReportInputs


@dataclass(frozen=True)
class SeenRow:
    """One input. channels: its statistics channel by channel, in words. histogram: of its values."""

    name: str
    cells: tuple[str, ...]
    channels: tuple[str, ...]
    histogram: Markup | None


@dataclass(frozen=True)
class SeenTable:
    columns: tuple[str, ...]
    rows: tuple[SeenRow, ...]


_MOST_CHANNELS = 8

_COLUMNS = (
    ("shape", "Shape"),
    ("dtype", "Type"),
    ("layout", "Layout"),
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
            SeenRow(
                formats.clean(row["name"]),
                tuple(_cell(row.get(key)) for key, _ in columns),
                _channels(row.get("channels") or ()),
                _histogram(row),
            )
            for row in rows
        ),
    )


def _channels(channels: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    listed = tuple(
        f"channel {index}: {_cell(item['min'])} to {_cell(item['max'])}, mean {_cell(item['mean'])}, "
        f"deviation {_cell(item['std'])}"
        for index, item in enumerate(channels[:_MOST_CHANNELS])
    )
    if len(channels) <= _MOST_CHANNELS:
        return listed
    return (f"channels 0 to {_MOST_CHANNELS - 1} of {len(channels)}:", *listed)


def _histogram(row: Mapping[str, Any]) -> Markup | None:
    histogram = row.get("histogram")
    if not histogram or len(histogram["counts"]) < 2:
        return None
    edges = float(histogram["low"]), float(histogram["high"])
    # bins are coarser than the data: the axis ends where the data does
    low = edges[0] if row.get("min") is None else float(row["min"])
    high = edges[1] if row.get("max") is None else float(row["max"])
    ends = formats.significant(low), formats.significant(high)
    words = f"Histogram of the values of {formats.clean(row['name'])}, from {ends[0]} to {ends[1]}."
    return figures.columns(histogram["counts"], edges, (low, high), ends, words)


def notes(inputs: ReportInputs) -> list[str]:
    """How many samples there were, and what calibration found odd about them."""
    document = inputs.inputs or {}
    said = []
    if calibration := story.calibration(inputs):
        said.append(f"{calibration[:1].upper()}{calibration[1:]}.")
    elif document.get("samples"):
        said.append(f"{formats.counted(int(document['samples']), 'sample')} for calibration.")
    if document.get("duplicates"):
        said.append(f"{document['duplicates']} of them are copies of others.")
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
