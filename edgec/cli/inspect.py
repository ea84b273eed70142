"""`edgec inspect`: flags into a specification, the answers into tables or JSON."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgec.cli import build, completion
from edgec.cli.inspection_text import backend_lines, layer_lines, model_lines, operator_lines, target_lines
from edgec.cli.json_output import failure, print_json
from edgec.cli.sizes import size
from edgec.errors import EdgecError, UsageError
from edgec.output_folder import check_writable, write_whole
from edgec.spec import BuildSpec, Interface
from edgec.untrusted_text import clean

_TAKEN_OVER = ("shapes", "interface", "simplify", "as_json", "quiet", "verbose")
"""Flags of `edgec build` that mean the same here."""

_NAMED = 3  # operators that one remedy names

_NARROWEST, _WIDEST = 80, 140
"""Columns that are written for, whatever the terminal says."""


@click.command(name="inspect", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path), shell_complete=completion.paths)
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Device to ask about; may be repeated.  [host]",
    shell_complete=completion.targets,
)
@click.option("--all", "everything", is_flag=True, help="Show every layer and operation, in the order of the graph.")
@click.option(
    "--machine-code",
    is_flag=True,
    help="Generate machine code through TVM, too, and tell its size and memory. Takes some seconds.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what is found as a page, too.",
    shell_complete=completion.paths,
)
def command(
    model: Path,
    everything: bool,
    targets: tuple[str, ...],
    machine_code: bool,
    html: Path | None,
    shapes: tuple[str, ...],
    interface: Interface,
    simplify: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Tell what MODEL (.onnx) is like, and what devices would make of it, before anything is built.

    Inputs and outputs, dimensions to freeze, operators, multiply-accumulates (MACs), memory, the time of each layer in
    float on this machine, what bounds it on the target and what INT8 can give, what each backend takes. Needs no
    calibration data.

    \b
    edgec inspect model.onnx
    edgec inspect model.onnx --target rpi4 --target rpi5
    edgec inspect model.onnx --target coral-usb   what an Edge TPU would run
    """
    from edgec.cli.progress import listening
    from edgec.inspection.driver import inspect

    try:
        spec = BuildSpec(
            model,
            targets=targets or ("host",),
            shapes=build.read_shapes(shapes),
            simplify=simplify,
            precision="float",  # an INT8 build would ask for calibration data
        )
        if html is not None:
            _require_file(html)
        with listening(quiet=quiet or as_json, verbose=verbose) as listener:
            found = inspect(spec, interface, machine_code=machine_code, listener=listener)
        if html is not None:
            from edgec.report.inspection import render

            write_whole(html, render(found.to_json()).encode("utf-8", "backslashreplace"))
    except EdgecError as error:
        if as_json:
            print_json({**failure(model, error), "schema": 2, "inspections": []})
            return error.exit_code
        raise
    if as_json:
        print_json(found.to_json())
        return found.refusal.exit_code if found.refusal is not None else 0
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_NARROWEST, 24)).columns))
    for line in inspection_lines(found.to_json(), everything, width):
        click.echo(clean(line))
    if html is not None:
        click.echo(f"\npage: {html}")
    if found.refusal is not None:
        raise found.refusal
    return 0


command.params += [param for param in build.command.params if param.name in _TAKEN_OVER]


def _require_file(place: Path) -> None:
    """Raises UsageError or OutputError where no page can be written."""
    if place.is_dir():
        raise UsageError(
            f"--html {place} is a folder", "The page is one file.", f"Name it: --html {place / 'model.html'}"
        )
    check_writable(place.parent)


def inspection_lines(document: Mapping[str, Any], everything: bool, width: int) -> list[str]:
    """The whole document as text: what the model is, then each target."""
    first = document["inspections"][0]["analysis"]
    model = document["model"]
    lines = [f"{model['name']}  {size(model['bytes'])}", *model_lines(first, document["open"], width)]
    lines += ["", *operator_lines(first)]
    for found in document["inspections"]:
        analysis, answers = found["analysis"], found["answers"]
        lines += ["", f"{found['target']}  {found['title']}", *target_lines(analysis, width)]
        lines += ["", *backend_lines(analysis, width)]
        lines += ["", *layer_lines(analysis, everything, width)]
        if "mapping" in answers:
            lines += ["", *mapping_lines(answers["mapping"], everything)]
        if "machine_code" in answers:
            lines += ["", *machine_code_lines(answers["machine_code"])]
        for name, error in found["unanswered"].items():
            lines += ["", f"{name.replace('_', ' ')}: {error['what']}"]
    return lines


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
