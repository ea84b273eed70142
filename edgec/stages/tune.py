"""Tune: tiles for the kernels that lowering will write, searched for by measuring, or read from a database.

    out: tiles.json (what lowering takes: tiles by kernel), tuning.json (the database, with what was measured now)

What was measured is kept in the context's journal, so that a build that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from edgec.backends import backend_tools
from edgec.errors import DeviceError
from edgec.stage import Stage, StageContext
from edgec.targets import Target

FOUND = "database"

_NAMED = 3
"""Entries that one note names at most."""


@dataclass(frozen=True)
class TuneParams:
    """file: which ONNX file of the input folder. cpu: the processor's name where it is measured.

    seconds: of wall time to search for; None takes what the database has.
    board: the host to measure on over ssh; None: this machine. processors: its numbers there of what `cpu` names, where
        the board has others as well.
    """

    target: Target
    file: str
    cpu: str
    seconds: float | None = None
    board: str | None = None
    processors: tuple[int, ...] = ()


def run(model: Path, known: str, params: TuneParams, context: StageContext) -> None:
    """Search tiles for `model / params.file`. known: the text of a database.

    Raises UnsupportedOp naming what there is no kernel for, ToolMissing without a linker, DeviceError for a board that
    can't be had (any more): its details have the database with what was measured before, at FOUND.
    """
    from edgec.backends.tvm.isa import name_for, named
    from edgec.backends.tvm.lowering import lowered_graph, program_of
    from edgec.backends.tvm.tuning.database import Database, Entry, tile_document
    from edgec.backends.tvm.tuning.on_board import BoardTimer
    from edgec.backends.tvm.tuning.search import fitting, search, works_of
    from edgec.onnx_graph.graph import load_model

    deadline = time.monotonic() + (params.seconds or 0.0)
    isa = name_for(params.target)
    assert isa is not None, "supports() refuses targets without kernels"
    database = Database.parse(known, "The database of tiles")
    works = works_of(program_of(lowered_graph(load_model(model / params.file)), named(isa)), named(isa))
    _, odd = fitting(works, database.of(isa, params.cpu, params.target.cpu), isa)
    if odd:
        more = f" and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
        context.info(
            f"Tiles of the database do not fit their kernels and are ignored: {', '.join(odd[:_NAMED])}{more}."
        )
    if params.seconds is not None:
        found: list[Entry] = []
        try:
            with contextlib.ExitStack() as stack:
                timer = stack.enter_context(BoardTimer(params.board, params.processors)) if params.board else None
                for entry in search(
                    works,
                    database,
                    isa,
                    params.target,
                    params.cpu,
                    deadline,
                    context.journal,
                    lambda done, total, detail: context.progress(done, total, "kernels", detail),
                    timer,
                ):
                    found.append(entry)
        except DeviceError as error:
            database = database.merged(found)
            raise type(error)(error.what, error.why, error.fix, {**error.details, FOUND: database.text()}) from error
        database = database.merged(found)
    chosen = database.of(isa, params.cpu, params.target.cpu)
    tiles, _ = fitting(works, chosen, isa)
    faster = sum(chosen[kernel].tile != chosen[kernel].default_tile for kernel in tiles)
    measured = f"Tiles were measured for {len(tiles)} of {len(works)} kernels of INT8 products"
    context.info(f"{measured}; {faster} get another tile than the rule's.")
    context.write_json("tiles.json", {kernel: tile_document(tile) for kernel, tile in tiles.items()})
    (context.out / "tuning.json").write_text(database.text(), encoding="utf-8")


STAGE = Stage("tune", ("onnx", *backend_tools()), run)
