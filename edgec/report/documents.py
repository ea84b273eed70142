"""The JSON report: everything that the other forms are made of."""

from __future__ import annotations

import json
from dataclasses import fields

from edgec.report.inputs import ReportInputs
from edgec.version import __version__


def render_json(inputs: ReportInputs) -> str:
    """One JSON document, keys sorted; the contact sheet is left to the HTML."""
    parts = {item.name: getattr(inputs, item.name) for item in fields(inputs) if item.name != "contact_sheet"}
    document = {"edgec": __version__, "schema": 1, **parts}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
