"""edgec.toml: builds described in a file, for people who build the same models again and again.

    [[build]]
    model = "models/classifier.onnx"
    targets = ["host", "x86-64-vnni"]
    calibration = "data/photos"
    preprocess = "imagenet"
    shapes = { input = [1, 3, 224, 224] }

Paths are relative to the file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from edgec.candidates.objectives import OBJECTIVES, read_bytes, read_milliseconds
from edgec.spec import INTERFACES, MAX_FLOAT_MACS, PRECISIONS, PROFILES, BuildSpec, Precision
from edgec.toml_schema import Table

NAME = "edgec.toml"


def read_project(path: Path, output: Path) -> list[BuildSpec]:
    """The builds that `path` describes; UsageError with the line where it can't be understood."""
    root = Table.read(path)
    specs = [_read_build(table, path.parent, output) for table in root.tables("build")]
    root.done()
    if not specs:
        raise root.error("there is no build", "Describe at least one under [[build]].")
    return specs


def _read_build(table: Table, folder: Path, output: Path) -> BuildSpec:
    data = table.get("calibration", str, "")
    calibration: Path | Literal["random"] | None = None
    if data:
        calibration = "random" if data == "random" else folder / data
    recipe = table.get("preprocess", str, "")
    shapes = table.table("shapes")
    state = table.table("state")
    gate = table.table("gate")
    precision = table.get("precision", str, "", ("", *PRECISIONS))
    search: tuple[Precision, ...] = ()
    if table.get("search", bool, False):
        search = (precision,) if precision else PRECISIONS  # type: ignore[assignment]
    max_latency, max_size = table.get("max_latency", str, ""), table.get("max_size", str, "")
    spec = BuildSpec(
        model=folder / table.get("model", str),
        targets=table.list_of("targets", str, ("host",)),
        name=table.get("name", str, "") or None,
        calibration=calibration,
        recipe=(str(folder / recipe) if recipe.endswith(".toml") else recipe) or None,
        shapes={name: shapes.list_of(name, int) for name in shapes.items()} if shapes else {},
        state={name: state.get(name, str) for name in state.items()} if state else {},
        gate={name: gate.get(name, float) for name in gate.items()} if gate else {},
        max_samples=table.get("samples", int, 0) or None,
        precision=precision or "int8",  # type: ignore[arg-type]
        profile=table.get("profile", str, "auto", PROFILES),  # type: ignore[arg-type]
        backend=table.get("backend", str, "auto"),
        interface=table.get("interface", str, "auto", INTERFACES),  # type: ignore[arg-type]
        c_object=table.get("c_object", bool, False),
        graph=table.get("graph", bool, False),
        threads=table.get("threads", int, 0) or None,
        search=search,
        optimize=table.get("optimize", str, "latency", OBJECTIVES),  # type: ignore[arg-type]
        max_latency=read_milliseconds(max_latency) if max_latency else None,
        max_size=read_bytes(max_size) if max_size else None,
        tune_seconds=_optional_number(table, "tune_seconds"),
        tune_on=table.get("tune_on", str, "") or None,
        tuning=_path(table, folder, "tuning"),
        keep_float=table.list_of("keep_float", str, ()),
        force=table.list_of("force", str, ()),
        forbid=table.list_of("forbid", str, ()),
        search_seconds=_optional_number(table, "search_seconds"),
        max_float_macs=table.get("max_float_macs", float, MAX_FLOAT_MACS),
        min_int8_macs=table.get("min_int8_macs", float, 0.0),
        metric=_metric(table, folder),
        labels="folders" if table.get("labels", str, "") == "folders" else _path(table, folder, "labels"),
        evaluation=_path(table, folder, "evaluation"),
        max_drop=_optional_number(table, "max_drop"),
        simplify=table.get("simplify", bool, True),
        emulate=table.get("emulate", bool, True),
        output=output,
    )
    table.done()
    return spec


def _path(table: Table, folder: Path, key: str) -> Path | None:
    text = table.get(key, str, "")
    return folder / text if text else None


def _metric(table: Table, folder: Path) -> str | None:
    """The metric; where it names a file, relative to the project's file like any other path."""
    text = table.get("metric", str, "")
    file, _, function = text.rpartition(":")
    return f"{folder / file}:{function}" if file.endswith(".py") else text or None


def _optional_number(table: Table, key: str) -> float | None:
    number = table.get(key, float, math.inf)
    return None if number == math.inf else number  # no limit, whether it is written or not
