"""Labels: what the user's metric compares outputs with, matched to samples by name or by position.

    .json            a list, or an object of sample name -> label
    .csv, .tsv       two columns, name and label (with or without a header); or one column of labels
    .npy             an array whose first axis is the samples
    .npz             the same, with one array or one called "labels"; or one array a sample, called like it
    .txt             one label a line
    folders          the first folder of a sample's path

Names are paths relative to the data folder. Suffixes and folders may be left out where that leaves no doubt.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgec.digest import digest_file
from edgec.errors import CalibrationDataError, EdgecError
from edgec.metric.request import FOLDERS, MetricRequest
from edgec.samples import Row, SampleSource
from edgec.toml_schema import did_you_mean

_SHOWN = 5
_PAGE = "docs/metric.md shows what a file of labels holds."
_NAME_COLUMNS = ("name", "path", "file", "filename", "file_name", "image", "img", "image_path", "sample", "id")
_LABEL_COLUMNS = ("label", "labels", "class", "target", "truth", "category", "text", "y")


@dataclass(frozen=True)
class Labels:
    """where: what they are called in messages. Exactly one of the other two is given."""

    where: str
    by_name: Mapping[str, Any] | None = None
    by_position: Sequence[Any] | None = None


def labels_for(request: MetricRequest, samples: SampleSource, indices: Sequence[int]) -> list[Any] | None:
    """The labels of the samples at `indices`, in that order; None where none were asked for.

    A sample of a model with a batch larger than one gets the list of the labels of its rows. Raises
    CalibrationDataError where labels and samples do not match.
    """
    if request.labels is None:
        return None
    rows = [samples.rows_of(index) for index in indices]
    flat = [row for group in rows for row in group]
    if request.labels == FOLDERS:
        found = [_folder(row.name) for row in flat]
    else:
        path = Path(request.labels)
        labels = read_labels(path)
        if digest_file(path) != request.labels_digest:
            raise CalibrationDataError(
                f"{path} has changed since the build began",
                "What is measured with must be what was hashed.",
                "Run the build again when nothing writes to the labels.",
            )
        found = match(labels, flat, samples.all_rows)
    remaining = iter(found)
    grouped = [[next(remaining) for _ in group] for group in rows]
    return [group[0] if len(group) == 1 else group for group in grouped]


def match(labels: Labels, rows: Sequence[Row], total: int) -> list[Any]:
    """The label of each row. Labels by position are for all `total` rows of the data."""
    if labels.by_position is not None:
        if len(labels.by_position) != total:
            first = ", ".join(row.name for row in rows[:_SHOWN])
            raise CalibrationDataError(
                f"{labels.where} holds {len(labels.by_position)} labels, and there are {total} samples",
                f"Without names, the first label is for the first sample and so on; some samples are: {first}.",
                "Give one label for each sample, in the order of their names, or labels with names. " + _PAGE,
            )
        return [labels.by_position[row.position] for row in rows]
    known = labels.by_name or {}
    most: tuple[int, Callable[[str], str]] = (0, _FORMS[0])
    for form in _FORMS:
        keys = [form(row.name) for row in rows]
        hits = sum(key in known for key in keys)
        if hits == len(keys):
            if len(set(keys)) < len(keys):
                raise CalibrationDataError(
                    f"{labels.where} does not say which sample is which",
                    f"Its names fit several of the samples {', '.join(row.name for row in rows[:_SHOWN])}.",
                    "Write the whole path relative to the data folder as the name. " + _PAGE,
                )
            return [known[key] for key in keys]
        most = max(most, (hits, form), key=lambda item: item[0])
    raise _unmatched(labels, rows, most[1])


def _unmatched(labels: Labels, rows: Sequence[Row], form: Callable[[str], str]) -> EdgecError:
    known = list(labels.by_name or {})
    missing = [row.name for row in rows if form(row.name) not in known]
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return CalibrationDataError(
        f"{labels.where} has no label for {len(missing)} of {len(rows)} samples",
        f"It lacks: {', '.join(missing[:_SHOWN])}{more}.{did_you_mean(missing[0], known)} It names: "
        f"{', '.join(known[:_SHOWN])}{' and others' if len(known) > _SHOWN else ''}.",
        "Names are paths relative to the data folder; the suffix may be left out. " + _PAGE,
    )


_FORMS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: PurePosixPath(name).with_suffix("").as_posix(),
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
)
"""What a sample may be called in a file of labels, the most exact form first."""


def _folder(name: str) -> str:
    parts = PurePosixPath(name).parts
    if len(parts) < 2:
        raise CalibrationDataError(
            f"The sample {name} is in no folder that could be its label",
            "--labels folders takes the first folder of each sample's path, below the folder of the data.",
            "Put the samples of each class into a folder of its own, or give a file of labels.",
        )
    return parts[0]


def read_labels(path: Path) -> Labels:
    """Read a file of labels; raises CalibrationDataError, with the line where there is one."""
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _from_arrays(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(path, f"It is not text in UTF-8 ({error.reason}).") from error
    except OSError as error:
        raise _broken(path, f"The system says: {error.strerror}.") from error
    if suffix == ".json":
        return _from_json(path, text)
    if suffix in (".csv", ".tsv"):
        return _from_table(path, text)
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    return _positions(path, _values(lines))


def _from_json(path: Path, text: str) -> Labels:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = dict(pairs)
        if len(counted) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _broken(path, f"{twice!r} stands in it twice.")
        return counted

    try:
        document = json.loads(text, object_pairs_hook=unique)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _broken(path, f"It is not JSON: {error}.") from error
    if isinstance(document, dict):
        return _names(path, list(document.items()))
    if isinstance(document, list):
        return _positions(path, document)
    raise _broken(path, f"It holds {type(document).__name__}, neither a list nor an object.")


def _from_table(path: Path, text: str) -> Labels:
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise _broken(path, f"Line {reader.line_num} can't be understood: {error}.") from error
    if not rows:
        return _positions(path, [])
    header = [cell.lower() for cell in rows[0][1]]
    name = next((i for i, cell in enumerate(header) if cell in _NAME_COLUMNS), None)
    label = next((i for i, cell in enumerate(header) if cell in _LABEL_COLUMNS), None)
    width = len(header)
    if name is not None or label is not None:
        rows = rows[1:]
    if width == 1:
        return _positions(path, _values([cells[0] for _, cells in rows]))
    if width == 2:
        name = 1 - label if name is None and label is not None else name or 0
        label = 1 - name
    if name is None or label is None:
        raise _broken(path, f"Its {width} columns are: {', '.join(header)}; which are names and labels is not clear.")
    for line, cells in rows:
        if len(cells) != width:
            raise _broken(path, f"Line {line} has {len(cells)} columns, and the first one has {width}.")
    values = _values([cells[label] for _, cells in rows])
    return _names(path, [(cells[name], value) for (_, cells), value in zip(rows, values, strict=True)])


def _from_arrays(path: Path) -> Labels:
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # numpy and zipfile answer damaged files with many kinds of exceptions
        raise _broken(path, f"{type(error).__name__}: {error}.") from error
    only = next(iter(arrays.values())) if len(arrays) == 1 else arrays.get("labels")
    if only is None:
        return _names(path, list(arrays.items()))
    if only.ndim == 0:
        raise _broken(path, "Its array holds a single number.")
    return _positions(path, list(only))


def _names(path: Path, pairs: Sequence[tuple[str, Any]]) -> Labels:
    found: dict[str, Any] = {}
    for raw, value in pairs:
        name = PurePosixPath(raw.replace("\\", "/")).as_posix()
        if name in found:
            raise _broken(path, f"{raw!r} stands in it twice.")
        found[name] = value
    if not found:
        raise _broken(path, "It holds no labels.")
    return Labels(path.name, by_name=found)


def _positions(path: Path, values: Sequence[Any]) -> Labels:
    if not values:
        raise _broken(path, "It holds no labels.")
    return Labels(path.name, by_position=values)


def _values(cells: Sequence[str]) -> list[Any]:
    """Whole numbers where all are, numbers where all are, else the texts as they stand."""
    for kind in (int, float):
        try:
            return [kind(cell) for cell in cells]
        except ValueError:
            continue
    return list(cells)


def _broken(path: Path, why: str) -> CalibrationDataError:
    return CalibrationDataError(f"{path} can't be read as labels", why, f"Correct it. {_PAGE}")
