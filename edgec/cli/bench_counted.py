"""`edgec bench --emulate`: how much artifacts have to do, on an emulated device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.cli.bench_names import distinct
from edgec.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from edgec.runners.counted import Counted

_KINDS = ("multiply", "vector", "memory", "branch", "other")
_CAVEAT = (
    "Executed instructions are work, not time: they know no caches, no waiting for memory, and not how many a core\n"
    "does at once. They compare artifacts on one kind of core, and are the same however busy this machine is."
)


def counted_inferences(path: Path, target: str | None, runs: int) -> dict[str, Any]:
    """What `--json` says of one artifact."""
    from edgec.bundle.errors import as_edgec_error
    from edgec.runners import counted
    from edgec.runtime.bundle import Bundle
    from edgec.runtime.errors import ArtifactFailure
    from edgec.targets import load_target

    try:
        manifest = Bundle.open(path).manifest
    except ArtifactFailure as failed:
        raise as_edgec_error(failed) from failed
    try:
        device = load_target(target or manifest["target"])
    except UsageError as error:
        if target is not None:
            raise
        raise ArtifactError(
            f"{path} was built for a target that is not known here: {manifest['target']!r}",
            error.why,
            "Name the file of that target, or a device with the same core: --target NAME.",
        ) from error
    found = counted.inferences(path, device, runs)
    return {
        "path": str(path),
        "name": manifest["name"],
        "target": device.name,
        "precision": manifest["precision"],
        "backend": manifest["backend"],
        "engine": manifest["engine"]["name"],
        "engine_version": found.version,
        **_place(found),
        "threads": 1,
        "warm_ups": counted.WARM_UPS,
        "runs": runs,
        **found.to_json(),
    }


def _place(found: Counted) -> dict[str, Any]:
    machine = found.machine
    root = machine.root.digest
    return {"emulator": machine.qemu.name, "emulator_version": machine.qemu.version, "core": machine.core, "root": root}


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Counted artifacts as text: a block for the numbers, one for the kinds of instructions, and what they mean."""
    names = distinct([row["path"] for row in rows])
    wide = max(len(name) for name in (*names, "instructions per inference"))
    shown = [f"{'instructions per inference':<{wide}}  {'in all':>13}  {'ratio':>6}  {'engine':>13}  runs differ by"]
    for name, row in zip(names, rows, strict=True):
        whole, engine = row["instructions"], row["engine_instructions"]
        shown.append(
            f"{name:<{wide}}  {whole['total']:>13,}  {row['ratio']:>6.3f}  {engine['total']:>13,}  {_spread(whole)}"
        )
    if any(row["instructions"]["kinds"] for row in rows):
        shown += ["", f"{'of these':<{wide}}" + "".join(f"  {kind:>13}" for kind in _KINDS)]
    for name, row in zip(names, rows, strict=True):
        if kinds := row["instructions"]["kinds"]:
            shown.append(f"{name:<{wide}}" + "".join(f"  {kinds[kind]:>13,}" for kind in _KINDS))
    shown.append("")
    for name, row in zip(names, rows, strict=True):
        shown.append(
            f"{name}: {row['precision']} through {row['engine']} {row['engine_version']}, one thread, on an emulated "
            f"{row['core']} ({row['emulator']} {row['emulator_version']})"
        )
    shown.append("in all: the artifact's run(), with Python and the conversion of inputs and outputs; engine: its call")
    return [*shown, _CAVEAT]


def _spread(counts: dict[str, Any]) -> str:
    difference = counts["most"] - counts["least"]
    return f"{difference:,} ({difference / counts['total']:.2%})" if difference else "nothing"
