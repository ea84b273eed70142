"""The JSON report: everything that the other forms are made of, and the way back. docs/report.md describes it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgec.errors import UsageError
from edgec.report.inputs import ReportInputs
from edgec.version import __version__

SCHEMA = 1
"""Keys are only ever added; this number grows when one goes, or comes to mean something else."""

_NEEDED = ("model", "build", "target")
_SHEET = "contact_sheet"


def render_json(inputs: ReportInputs) -> str:
    """One JSON document, keys sorted; the contact sheet is base64."""
    parts = {item.name: getattr(inputs, item.name) for item in fields(inputs)}
    sheet = inputs.contact_sheet
    parts[_SHEET] = None if sheet is None else base64.b64encode(sheet).decode("ascii")
    document = {"edgec": __version__, "schema": SCHEMA, **parts}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_report(path: Path) -> ReportInputs:
    """What `render_json` wrote. Raises UsageError for anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} can't be read", f"The system says: {error.strerror}.", "Name a NAME.report.json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _no_report(path, f"It is not JSON: {error}.") from error
    return inputs_of(document, path)


def inputs_of(document: Any, path: Path) -> ReportInputs:
    """The inputs of a report from its document, read from `path`. Raises UsageError."""
    if not isinstance(document, Mapping) or not all(isinstance(document.get(key), Mapping) for key in _NEEDED):
        raise _no_report(path, f"It lacks one of {', '.join(_NEEDED)}.")
    if document.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} is a report of another form",
            f"Its schema is {document.get('schema')!r}; this edgec reads {SCHEMA}.",
            "Build once more with this edgec: what is in the store is not made again.",
        )
    names = {item.name for item in fields(ReportInputs)}
    parts = {key: value for key, value in document.items() if key in names}
    try:
        sheet = parts.get(_SHEET)
        parts[_SHEET] = None if sheet is None else base64.b64decode(sheet, validate=True)
    except (TypeError, binascii.Error) as error:
        raise _no_report(path, f"Its contact sheet is not base64: {error}.") from error
    return ReportInputs(**parts)


@contextmanager
def rendering(path: Path) -> Iterator[None]:
    """Rendering what was read from `path`: that it is not as edgec writes it becomes a UsageError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _no_report(path, f"Something in it is missing or of another kind: {error!r}.") from error


def _no_report(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is not the report of a build", why, "Name the NAME.report.json that a build wrote beside its artifact."
    )
