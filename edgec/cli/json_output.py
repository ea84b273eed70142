"""JSON on standard output: one document, whatever happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgec.errors import EdgecError
from edgec.version import __version__

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document`; characters beyond ASCII are escaped, so that any terminal and any log can take it."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def print_result(fields: Mapping[str, Any]) -> None:
    """Print a document of its own kind: which edgec says it, in which form, and `fields`."""
    print_json({"edgec": __version__, "schema": 1, **fields})


def failure(model: Path | None, error: EdgecError) -> dict[str, Any]:
    """The document of a build that came to nothing."""
    return {
        "edgec": __version__,
        "schema": 1,
        "status": "failed",
        "exit_code": error.exit_code,
        "model": {"path": str(model)} if model else None,
        "builds": [],
        "error": error.to_json(),
    }
