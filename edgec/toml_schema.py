"""TOML files that people write: targets, recipes, edgec.toml.

Every complaint names the file and the line, and suggests the key or value that was probably meant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgec.errors import EdgecError, UsageError

T = TypeVar("T")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean X?' when something known is close to `word`, else ''."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


class Table:
    """One table of a TOML file, read key by key; `done` refuses what nobody asked for."""

    def __init__(
        self, path: Path, text: str, values: dict[str, Any], prefix: str = "", lines: range | None = None
    ) -> None:
        """lines: where the table stands in `text`, counted from 1; None for the whole file."""
        self._path = path
        self._text = text
        self._values = values
        self._prefix = prefix
        self._lines = lines
        self._known: list[str] = []

    @classmethod
    def read(cls, path: Path) -> Table:
        """Parse `path`; UsageError with the line for malformed TOML."""
        try:
            text = path.read_text(encoding="utf-8")
            return cls(path, text, tomllib.loads(text))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path} is not well-formed TOML", f"{error}.", "Correct that line; see docs for an example."
            ) from error
        except OSError as error:
            raise UsageError(f"{path} can't be read", f"{error.strerror}.", "Check the path.") from error

    def get(self, key: str, kind: type[T], default: T | None = None, choices: Sequence[T] = ()) -> T:
        """The value of `key`; without a default the key is required."""
        self._known.append(key)
        if key not in self._values:
            if default is None:
                raise self.error(f"the key {self._prefix}{key} is missing", "Add it.")
            return default
        value = self._values[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self.error(f"{self._prefix}{key} is {value!r}", f"It must be of type {_TOML_NAMES[kind]}.", key)
        if choices and value not in choices:
            listed = ", ".join(str(choice) for choice in choices)
            raise self.error(
                f"{self._prefix}{key} is {value!r}",
                f"It must be one of: {listed}.{did_you_mean(str(value), map(str, choices))}",
                key,
            )
        return value

    def list_of(self, key: str, kind: type[T], default: Sequence[T] | None = None) -> tuple[T, ...]:
        """The array at `key` as a tuple, every item of type `kind`."""
        items = self.get(key, list, None if default is None else list(default))
        wanted = (int, float) if kind is float else (kind,)
        if not all(type(item) in wanted for item in items):
            raise self.error(
                f"{self._prefix}{key} is {items!r}", f"Every item must be of type {_TOML_NAMES[kind]}.", key
            )
        return tuple(kind(item) for item in items)  # type: ignore[call-arg]

    def table(self, key: str) -> Table | None:
        """The sub-table at `key`, or None."""
        self._known.append(key)
        if key not in self._values:
            return None
        if not isinstance(self._values[key], dict):
            raise self.error(f"{self._prefix}{key} is not a table", f"Write it as [{key}].", key)
        return Table(
            self._path,
            self._text,
            self._values[key],
            f"{self._prefix}{key}.",
            self._section(rf"\[\s*{re.escape(key)}\s*\]"),
        )

    def tables(self, key: str) -> list[Table]:
        """The array of tables at `key` ([[key]]); empty when there is none."""
        self._known.append(key)
        items = self._values.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self.error(f"{self._prefix}{key} is not an array of tables", f"Write each as [[{key}]].", key)
        header = rf"\[\[\s*{re.escape(key)}\s*\]\]"
        return [
            Table(self._path, self._text, item, f"{self._prefix}{key}[{i}].", self._section(header, i))
            for i, item in enumerate(items)
        ]

    def items(self) -> dict[str, Any]:
        """All keys of a free-form table."""
        self._known.extend(self._values)
        return dict(self._values)

    def done(self) -> None:
        """Refuse keys that were never asked for."""
        for key in self._values:
            if key not in self._known:
                raise self.error(
                    f"the key {self._prefix}{key} is not known",
                    f"Known keys: {', '.join(sorted(set(self._known)))}.{did_you_mean(key, self._known)}",
                    key,
                )

    def error(self, why: str, fix: str, key: str | None = None) -> EdgecError:
        """A UsageError that names the file and, where `key` can be found, its line."""
        return UsageError(f"{self._path}{self._line(key)} can't be used", f"There, {why}.", fix)

    def _line(self, key: str | None) -> str:
        if key is None:
            return ""
        pattern = re.compile(rf"^\s*(?:\[+\s*)?(?:[\w.-]+\.)?[\"']?{re.escape(key)}[\"']?\s*[=\].]")
        for number, line in enumerate(self._text.splitlines(), 1):
            if (self._lines is None or number in self._lines) and pattern.match(line):
                return f", line {number},"
        return ""

    def _section(self, header: str, index: int = 0) -> range | None:
        """The lines of the table under the `index`-th header; None where it is written in another way."""
        lines = self._text.splitlines()
        heads = [number for number, line in enumerate(lines, 1) if re.match(rf"\s*{header}", line)]
        if index >= len(heads):
            return None
        start = heads[index]
        following = (number for number, line in enumerate(lines, 1) if number > start and re.match(r"\s*\[", line))
        return range(start, next(following, len(lines) + 1))


_TOML_NAMES: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    list: "array",
    dict: "table",
}
