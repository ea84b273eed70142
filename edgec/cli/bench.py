"""`edgec bench`: how much an artifact has to do, on an emulated device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgec.cli.json_output import failure, print_json
from edgec.errors import ArtifactError, EdgecError, UsageError
from edgec.version import __version__

if TYPE_CHECKING:
    from edgec.runners.counted import Counted

_KINDS = ("multiply", "vector", "memory", "branch", "other")
_CAVEAT = (
    "Executed instructions are work, not time: they know no caches, no waiting for memory, and not how many a core\n"
    "does at once. They compare artifacts on one kind of core, and are the same however busy this machine is."
)


@click.command(name="bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.edgec...")
@click.option("--emulate", is_flag=True, help="Count instructions on the target's emulated core.")
@click.option(
    "--target", "-t", metavar="NAME", help="Device whose core is emulated.  [that which the artifact was built for]"
)
@click.option(
    "--runs", type=click.IntRange(1, 1000), default=3, show_default=True, help="Inferences that count, of each file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(artifacts: tuple[Path, ...], emulate: bool, target: str | None, runs: int, as_json: bool) -> int:
    """Count the instructions that an inference of each artifact executes, side by side.

    \b
    edgec bench --emulate model-rpi4.edgec
    edgec bench --emulate tvm/model-rpi5.edgec tflite/model-rpi5.edgec

    It needs no device: see docs/emulation.md. On the device itself, an artifact is timed by its own command:
    python3 FILE.edgec bench.
    """
    try:
        if not emulate:
            raise UsageError(
                "`edgec bench` does nothing without --emulate yet",
                "It counts instructions on an emulated core; it does not time artifacts.",
                f"Add --emulate, or time the artifact on its device: python3 {artifacts[0].name} bench.",
            )
        rows = []
        for path in artifacts:
            if not as_json:
                click.echo(f"{path} ...", err=True)
            rows.append(_counted(path, target, runs))
    except EdgecError as error:
        if as_json:
            print_json(failure(None, error))
            return error.exit_code
        raise
    first: int = rows[0]["instructions"]["total"]
    for row in rows:
        row["ratio"] = round(row["instructions"]["total"] / first, 4)
    if as_json:
        print_json({"edgec": __version__, "schema": 1, "status": "ok", "artifacts": rows})
    else:
        for line in lines(rows):
            click.echo(line)
    return 0


def _counted(path: Path, target: str | None, runs: int) -> dict[str, Any]:
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
    names = _distinct([row["path"] for row in rows])
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


def _distinct(paths: Sequence[str]) -> list[str]:
    """Short names for files: without the folders that all have."""
    if len(set(paths)) < 2:
        return [Path(path).name for path in paths]
    common = (
        os.path.commonpath([str(Path(path).parent) for path in paths]) if len({*map(os.path.isabs, paths)}) == 1 else ""
    )
    return [os.path.relpath(path, common) if common else path for path in paths]
