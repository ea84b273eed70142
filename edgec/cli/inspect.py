"""`edgec inspect`: flags into a specification, the answers into tables or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgec.cli import build
from edgec.cli.json_output import failure, print_json
from edgec.cli.summary import size
from edgec.errors import EdgecError
from edgec.spec import BuildSpec, Interface

_TAKEN_OVER = ("shapes", "interface", "simplify", "as_json", "quiet", "verbose")
"""Flags of `edgec build` that mean the same here."""

_NAMED = 3  # operators that one remedy names


@click.command(name="inspect", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "-t", "targets", multiple=True, metavar="NAME", help="Device to ask about.  [coral-usb]")
@click.option("--all", "everything", is_flag=True, help="Show every operation, in the order of the file.")
def command(
    model: Path,
    everything: bool,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    interface: Interface,
    simplify: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Tell what a device would make of MODEL (.onnx) before anything is built. Needs no calibration data.

    For a target with an Edge TPU: which operations would run on it, where its part ends, what would make it longer,
    and whether the weights fit on the chip. All of it is predicted. For a target that TVM makes machine code for: the
    memory of a run, constants and code.

    \b
    edgec inspect model.onnx --target coral-usb
    edgec inspect model.onnx --target rpi4
    """
    from edgec.cli.progress import listening
    from edgec.inspection.driver import inspect

    try:
        spec = BuildSpec(
            model,
            targets=targets or ("coral-usb",),
            shapes=build.read_shapes(shapes),
            simplify=simplify,
            precision="float",  # an INT8 build would ask for calibration data
        )
        with listening(quiet=quiet or as_json, verbose=verbose) as listener:
            found = inspect(spec, interface, listener=listener)
    except EdgecError as error:
        if as_json:
            print_json(failure(model, error))
            return error.exit_code
        raise
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(f"{found.model.name} for {found.target}")
        if "mapping" in found.answers:
            for line in mapping_lines(found.answers["mapping"], everything):
                click.echo(line)
        if "machine_code" in found.answers:
            for line in machine_code_lines(found.answers["machine_code"]):
                click.echo(line)
    return 0


command.params += [param for param in build.command.params if param.name in _TAKEN_OVER]


def mapping_lines(document: Mapping[str, Any], everything: bool) -> list[str]:
    """A mapping as text: what runs where, the end, the memory, and what would map more."""
    operators = document["operators"]
    count = f"{document['mapped']} of {len(operators)} operations"
    lines = [
        f"  Edge TPU   {count}, {_percent(document['macs_mapped'])} of the multiplications, would run on it",
        f"             ({document['is']})",
    ]
    if document["end"] is not None:
        left = len(operators) - document["mapped"]
        lines.append(
            f"  ends at    {document['end']}: {left} operations with {_percent(1 - document['macs_mapped'])} of the "
            "multiplications are left to the CPU"
        )
    lines.append(f"  memory     {document['memory']['sentence']}")
    lines += [f"  warning    {text}" for text in document["warnings"]]
    lines += _refusal(document["float_nodes"])
    lines += ["", *(_by_operation(operators) if everything else _by_status(operators))]
    if document["remedies"]:
        lines += ["", "What would map more, one after the other:"]
    for remedy in document["remedies"]:
        named = ", ".join(remedy["operators"][:_NAMED])
        more = f" and {len(remedy['operators']) - _NAMED} more" if len(remedy["operators"]) > _NAMED else ""
        lines.append(f"  {remedy['operator']}: {named}{more}")
        lines.append(f"    {remedy['what']}")
        lines.append(
            f"    then {remedy['mapped']} of {len(operators)} operations and {_percent(remedy['macs_mapped'])} of the "
            f"multiplications ({remedy['gained']:+d} operations)"
        )
    return lines


def machine_code_lines(document: Mapping[str, Any]) -> list[str]:
    """Sizes as text, and what is not computed in integers."""
    steps = f"{document['kernels']} kernels for {document['steps']} steps, with {document['instruction_set']}"
    lines = [
        f"  through TVM, {_percent(document['int8_mac_fraction'])} of the multiplications in INT8",
        f"  arena      {size(document['arena'])} for each run that goes on at a time",
        f"  constants  {size(document['constants'])}, read-only, in the library",
        f"  code       {size(document['code'])}: {steps}",
    ]
    for item in document["float_operations"][:_NAMED]:
        lines.append(f"  in float   {item['operation']} {item['result']}: {item['reason']}")
    if len(document["float_operations"]) > _NAMED:
        lines.append(f"             and {len(document['float_operations']) - _NAMED} more")
    if document["fallback"]:
        lines.append(f"  plain      without a kernel made for it: {', '.join(document['fallback'])}")
    return lines


def _refusal(float_nodes: Mapping[str, str]) -> list[str]:
    if not float_nodes:
        return []
    named = [f"{'':<13}{node}: {reason}" for node, reason in list(float_nodes.items())[:_NAMED]]
    more = [f"{'':<13}and {len(float_nodes) - _NAMED} more"] if len(float_nodes) > _NAMED else []
    return ["  refused    a build would be, for what has no INT8 form:", *named, *more]


def _by_status(operators: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of the compiler's log, with the reasons below each line."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in operators:
        rows.setdefault((item["operator"], item["status"]), []).append(item)
    lines = [f"{'Operator':<31}{'Count':<11}Status"]
    for (operator, status), items in sorted(rows.items()):
        lines.append(f"{operator:<31}{len(items):<11}{status}")
        reasons = dict.fromkeys(item["reason"] for item in items if item["reason"] and item["remedy"])
        caveats = dict.fromkeys(item["caveat"] for item in items if item["caveat"])
        lines += [f"{'':<42}{text}" for text in list(reasons)[:_NAMED]]
        lines += [f"{'':<42}but: {text}" for text in list(caveats)[:_NAMED]]
    return lines


def _by_operation(operators: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{'Operator':<25}{'Tensor':<41}Status"]
    for item in operators:
        lines.append(f"{item['operator']:<25}{item['tensor']:<40} {item['status']}")
        lines += [f"{'':<66}{item[key]}" for key in ("reason", "remedy", "caveat") if item[key]]
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
