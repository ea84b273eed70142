"""What a build asks of a backend before it does any work: is it there, and can it take every node?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from edgec import processors
from edgec.backends import load_backend
from edgec.backends.base import Backend, Interface, OpVerdict, Precision
from edgec.errors import ToolMissing, UnsupportedOp, UsageError
from edgec.quantization.profiles import Profile, of_family
from edgec.runners import native, ssh
from edgec.targets import Target

_NAMED = 10  # nodes in a message; all of them are in the details


def require_backend(name: str) -> Backend:
    """The backend called `name`; ToolMissing when it can't be used here. Imports nothing heavy."""
    backend = load_backend(name)
    available = backend.availability()
    if not available.installed:
        raise ToolMissing(
            f"The backend {name} can't be used here",
            available.reason,
            f"Install it: {available.install}. `edgec doctor` shows what else is there.",
        )
    return backend


def require_precision(name: str, precision: Precision) -> None:
    """UsageError when the backend called `name` can't make this precision. Imports nothing heavy."""
    offered = load_backend(name).precisions
    if precision not in offered:
        raise UsageError(
            f"The backend {name} makes no {precision} artifacts",
            f"It makes: {', '.join(item for item in offered if item != 'mixed')}.",
            "Choose one of those with --precision, or another --backend, where the target lists one.",
        )


def require_tile_search(name: str, target: Target, *, measured: bool, board: str | None = None) -> None:
    """UsageError when the backend called `name` has no tiles to search for, or, where they are to be measured, this
    machine, or the board at that host, can't stand in for the target; DeviceError for a board that can't be reached."""
    if not load_backend(name).searches_tiles:
        raise UsageError(
            f"The backend {name} has no tiles to search for",
            "Its payloads are read by an engine, which has kernels of its own.",
            "Leave --tune and --tuning out, or choose --backend tvm, where the target lists it.",
        )
    if board is not None:
        _require_board(board, target)
        return
    here = native.suitability(target)
    if measured and not here.runs:
        raise UsageError(
            f"Tiles for {target.name} can be searched on a {target.name} only",
            f"They are chosen by the clock, and {here.reason}.",
            "Name a board that ssh reaches with --tune-on [USER@]HOST; or build on such a machine, and use the file of "
            "tiles that it writes with --tuning FILE anywhere.",
        )


def _require_board(host: str, target: Target) -> None:
    facts = ssh.facts_of(host)
    reason = facts.unfit(target)
    cores = {processors.core_of(name) for name in facts.cores}
    if not reason and target.cpu in processors.CORES and target.cpu not in cores:
        reason = f"it has {' and '.join(sorted(filter(None, cores)) or facts.cores[:1])}, and the target {target.cpu}"
    if reason:
        raise UsageError(
            f"Tiles for {target.name} can't be searched on {host}",
            f"They are chosen by the clock, and {reason}.",
            "Name a board of that kind, or the target that this one is (`edgec targets` lists them).",
        )


def require_c_object(name: str) -> None:
    """UsageError when the backend called `name` makes no object files for C programs."""
    if not load_backend(name).c_objects:
        raise UsageError(
            f"The backend {name} makes no object files for C programs",
            "Its payloads are read by an engine.",
            "Leave --c-object out, or choose --backend tvm, where the target lists it.",
        )


def interface_of(name: str, asked: Interface | Literal["auto"]) -> Interface:
    """What a payload of the backend called `name` takes and gives; UsageError when it can't be had as asked."""
    offered = load_backend(name).interfaces
    if asked == "auto":
        return offered[0]
    if asked not in offered:
        raise UsageError(
            f"The backend {name} makes no payloads with {asked} inputs and outputs",
            f"Its payloads take and give {' or '.join(offered)}.",
            "Leave --io out, or choose a backend that has them (--backend), where the target lists one.",
        )
    return asked


def profiles_of(name: str, asked: str) -> tuple[Profile, ...]:
    """The profiles of the backend called `name` that are meant by --profile; UsageError when it has none of them."""
    backend = load_backend(name)
    found = of_family(backend.profiles, asked)
    if not found:
        raise UsageError(
            f"The backend {name} can't lower the profile {asked!r}",
            f"It can lower {' and '.join(backend.profiles)}.",
            "Leave --profile out, or choose a backend that has it (--backend), where the target lists one.",
        )
    return found


def require_support(model: Path, backend: str, target: Target) -> dict[str, int]:
    """How many nodes of each operator an ONNX file has; UnsupportedOp when the backend can't take all of them.

    Loads the backend's native library: call it in a worker.
    """
    verdicts = require_backend(backend).supports(model, target)
    refused = [verdict for verdict in verdicts if not verdict.supported]
    if refused:
        raise _unsupported(backend, refused)
    return dict(sorted(Counter(verdict.op for verdict in verdicts).items()))


def _unsupported(backend: str, refused: Sequence[OpVerdict]) -> UnsupportedOp:
    lines = [f"node {verdict.node!r} ({verdict.op}): {verdict.reason}" for verdict in refused[:_NAMED]]
    if len(refused) > _NAMED:
        lines.append(f"and {len(refused) - _NAMED} more")
    count = "One operator" if len(refused) == 1 else f"{len(refused)} operators"
    return UnsupportedOp(
        f"{count} of the model can't be lowered through {backend}",
        "\n".join(lines),
        "\n".join(dict.fromkeys(verdict.remedy for verdict in refused if verdict.remedy)),
        {"backend": backend, "nodes": [asdict(verdict) for verdict in refused]},
    )
