"""Lists of files: one sample a line, one file for each input.

- .csv, .tsv: with a header, columns are found by the names of the inputs (one input: also path, file, image); without
  one, columns are in the order of the inputs. Columns that no input asks for are left aside: labels often stand there.
- any other text file: paths separated by spaces, in the order of the inputs (one input: the whole line is the path).

Paths are relative to the folder of the list. Empty lines and lines that begin with # do not count.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.calibration_data.listing import unreadable
from edgec.errors import CalibrationDataError
from edgec.toml_schema import did_you_mean

LIST_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".lst", ".list"})

_ONE_INPUT = ("path", "file", "filename", "file_name", "image", "img", "image_path")
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class ListedSample:
    """files: in the order of the inputs that were asked for."""

    line: int
    files: tuple[Path, ...]


def read_list(path: Path, inputs: Sequence[str]) -> tuple[list[ListedSample], list[str]]:
    """The samples that a list names, and notes on what was left aside.

    Raises CalibrationDataError, with the line, for a missing column or a file that is not there.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CalibrationDataError(
                f"{path} is too large for a list of files", "It has more than 256 MiB.", "Give a list of paths."
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise CalibrationDataError(
            f"{path} is not a list of files", f"It is not text in UTF-8 ({error.reason}).", "Save it as UTF-8."
        ) from error
    notes: list[str] = []
    if path.suffix.lower() in (".csv", ".tsv"):
        samples = list(_from_table(path, text, inputs, notes))
    else:
        samples = list(_from_words(path, text, inputs, notes))
    if not samples:
        raise CalibrationDataError(
            f"{path} names no files", "It is empty, or has only comments.", "Write one path a line, relative to it."
        )
    return samples, notes


def _from_table(path: Path, text: str, inputs: Sequence[str], notes: list[str]) -> Iterator[ListedSample]:
    lines = text.splitlines()
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    columns: list[int] | None = None
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if columns is None:
                columns, is_header = _columns(path, reader.line_num, cells, inputs)
                spare = [cells[i] if is_header else str(i + 1) for i in range(len(cells)) if i not in columns]
                if spare:
                    notes.append(f"{path.name}: no input asks for column {', '.join(spare)}")
                if is_header:
                    continue
            if len(cells) <= max(columns):
                raise _line_error(
                    path,
                    reader.line_num,
                    f"has {len(cells)} columns",
                    f"The model needs {len(columns)}: {', '.join(inputs)}.",
                )
            yield _sample(path, reader.line_num, [cells[i] for i in columns])
    except csv.Error as error:
        raise _line_error(path, reader.line_num, "can't be understood", f"{error}.") from error


def _columns(path: Path, line: int, cells: list[str], inputs: Sequence[str]) -> tuple[list[int], bool]:
    """Which column holds which input, and whether the line is a header."""
    known = [*inputs, *(_ONE_INPUT if len(inputs) == 1 else ())]
    if not any(cell in known for cell in cells):
        if any((path.parent / cell).is_file() for cell in cells if cell):
            return list(range(len(inputs))), False
        if all(_is_number(cell) for cell in cells):
            raise _line_error(
                path,
                line,
                "holds numbers, not paths",
                "A CSV file lists files. Save the numbers themselves as an .npy array, one row a sample.",
            )
    columns = []
    for name in inputs:
        wanted = [name] if len(inputs) > 1 else known
        at = next((i for i, cell in enumerate(cells) if cell in wanted), None)
        if at is None:
            raise _line_error(
                path,
                line,
                f"has no column for the input {name!r}",
                f"The columns are: {', '.join(cells)}.{did_you_mean(name, cells)}",
            )
        columns.append(at)
    return columns, True


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _from_words(path: Path, text: str, inputs: Sequence[str], notes: list[str]) -> Iterator[ListedSample]:
    spare_words = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if len(inputs) == 1:
            words = [line]
            if not (path.parent / line).is_file():  # "photo.jpg 3": a label behind the path
                start = line.split()[0]
                if (path.parent / start).is_file():
                    words, spare_words = [start], True
        else:
            try:
                words = shlex.split(line)
            except ValueError as error:
                raise _line_error(path, number, "can't be understood", f"{error}.") from error
            if len(words) != len(inputs):
                raise _line_error(
                    path,
                    number,
                    f"names {len(words)} files",
                    f"The model has {len(inputs)} inputs: {', '.join(inputs)}.",
                )
        yield _sample(path, number, words)
    if spare_words:
        notes.append(f"{path.name}: what follows the first path of a line is left aside")


def _sample(path: Path, line: int, words: Sequence[str]) -> ListedSample:
    files = tuple(_file(path.parent, word) for word in words)
    for word, file in zip(words, files, strict=True):
        if not word:
            raise _line_error(path, line, "leaves a path empty", "Every input needs a file.")
        try:
            there = file.is_file()
        except (OSError, ValueError):
            there = False
        if not there:
            raise _line_error(
                path,
                line,
                f"names {word[:200]!r}, which is not a file",
                f"Paths are relative to {path.parent.resolve()}.",
            )
    return ListedSample(line, files)


def _file(folder: Path, word: str) -> Path:
    """The file that a list in `folder` names; absolute where it climbs, so that people can read where it lies."""
    file = folder / word
    return file.parent.resolve() / file.name if ".." in Path(word).parts else file


def _line_error(path: Path, line: int, what: str, why: str) -> CalibrationDataError:
    return CalibrationDataError(
        f"{path}, line {line}, {what}", why, "Correct that line; docs/calibration-data.md shows the format."
    )
