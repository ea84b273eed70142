"""`edgec build`: flags into a specification, events into progress, the result into a table or JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgec.candidates.objectives import OBJECTIVES, read_bytes, read_milliseconds
from edgec.cli import completion
from edgec.cli.json_output import failure, print_json
from edgec.cli.report_error import report_error
from edgec.errors import EdgecError, UsageError
from edgec.result import BuildResult
from edgec.spec import INTERFACES, MAX_FLOAT_MACS, PRECISIONS, PROFILES, BuildSpec, Precision
from edgec.version import __version__

if TYPE_CHECKING:
    from edgec.pipeline import Plan
    from edgec.reproducibility import Reproduced


@click.command(name="build", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Device to build for; may be repeated.  [host]",
    shell_complete=completion.targets,
)
@click.option(
    "--calib",
    "calibration",
    metavar="PATH",
    help="Calibration data: folder of images, .npy/.npz files, or a list file.",
    shell_complete=completion.paths,
)
@click.option(
    "--preprocess",
    "recipe",
    metavar="RECIPE",
    help="How images become input tensors (see `edgec recipes`).",
    shell_complete=completion.recipes,
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="INPUT=DIMS", help="Freeze open dimensions: --shape x=1x3x48x192."
)
@click.option(
    "--state", "state", multiple=True, metavar="OUTPUT:INPUT", help="Recurrent model: feed OUTPUT back into INPUT."
)
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="What to build.")
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="auto",
    show_default=True,
    help="Quantize every op (strict) or only MAC ops (islands).",
)
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Backend to lower through; auto tries all that the target lists and keeps the fastest.",
    shell_complete=completion.backends,
)
@click.option(
    "--io",
    "interface",
    type=click.Choice(INTERFACES),
    default="auto",
    show_default=True,
    help="What the payload itself takes and gives.",
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of the artifact.  [what the target says]")
@click.option(
    "--search",
    is_flag=True,
    help="Build and measure candidates of every precision (or the one given), backend and number of threads.",
)
@click.option(
    "--optimize",
    type=click.Choice(OBJECTIVES),
    default="latency",
    show_default=True,
    help="What to keep the best of several in.",
)
@click.option("--max-latency", metavar="TIME", help="Refuse what is slower, as --max-latency 20ms.")
@click.option("--max-size", metavar="SIZE", help="Refuse what is larger, as --max-size 5MB.")
@click.option("--graph", is_flag=True, help="Write the graph with costs and errors, for Netron and Model Explorer.")
@click.option("--c-object", is_flag=True, help="Put in an object file for C programs, too (backend tvm).")
@click.option(
    "--tune",
    "tune_seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Search tiles of kernels on this machine for at most so long (backend tvm).",
)
@click.option("--tune-on", metavar="[USER@]HOST", help="Search on this board instead, over ssh (docs/devices.md).")
@click.option(
    "--tuning",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Tiles that were searched for; with --tune go on from there.",
)
@click.option("--keep-float", multiple=True, metavar="NODE", help="Do not quantize this node; may be repeated.")
@click.option(
    "--gate", "gate", multiple=True, metavar="NAME=VALUE", help="Replace a limit of the parity gate (docs/parity.md)."
)
@click.option("--force", multiple=True, metavar="PASS", help="Have this recovery pass in any case (docs/accuracy.md).")
@click.option("--forbid", multiple=True, metavar="PASS", help="Go without this recovery pass; may be repeated.")
@click.option(
    "--search-seconds", type=click.FloatRange(0, min_open=True), metavar="N", help="Search for at most N CPU seconds."
)
@click.option(
    "--max-float-macs",
    type=click.FloatRange(0, 1),
    default=MAX_FLOAT_MACS,
    show_default=True,
    metavar="SHARE",
    help="Most MACs that recovery may leave in float.",
)
@click.option(
    "--min-int8-macs",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Refuse an artifact with fewer MACs in INT8.",
)
@click.option("--metric", metavar="FILE.py:FUNCTION", help="Your own measure; higher is better. Or MODULE:FUNCTION.")
@click.option(
    "--labels",
    metavar="FILE",
    help="What the metric is to compare with; or 'folders'.",
    shell_complete=completion.paths,
)
@click.option(
    "--eval", "evaluation", type=click.Path(path_type=Path), metavar="PATH", help="Data to measure on.  [held-out part]"
)
@click.option("--max-drop", type=click.FloatRange(0), metavar="X", help="Most that the metric may fall.")
@click.option("--samples", "max_samples", type=click.IntRange(1), metavar="N", help="Use at most N samples.")
@click.option(
    "--no-simplify", "simplify", is_flag=True, default=True, flag_value=False, help="Leave the graph as it is."
)
@click.option(
    "--no-emulate",
    "emulate",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Do not run artifacts on emulated devices.",
)
@click.option("--name", metavar="NAME", help="Name of the artifact.  [the model's file name]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("dist"),
    show_default=True,
    help="Folder for artifacts and reports.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Targets to build at a time.")
@click.option(
    "--verify-reproducible",
    is_flag=True,
    help="Build twice, the second time in other folders, locale, time zone, umask..., and compare the bytes.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and what is already there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only warnings and the result.")
@click.option("-v", "--verbose", is_flag=True, help="Say everything that stages have to say.")
def command(
    model: Path | None,
    output: Path,
    jobs: int,
    verify_reproducible: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **flags: Any,
) -> int:
    """Compile MODEL (.onnx) into one verified artifact for each target.

    Without MODEL, the builds described in ./edgec.toml are made.

    \b
    edgec build model.onnx --target host --calib photos/ --preprocess imagenet
    edgec build model.onnx --shape x=1x3x48x192 --calib samples.npz
    """
    try:
        asked = specs(model, output, flags)
        if verify_reproducible:
            _check_reproducible(asked, dry_run)
        if dry_run:
            return _show_plans(asked, as_json)
    except EdgecError as error:
        if as_json:
            print_json(failure(model, error))
            return error.exit_code
        raise
    paths = _described(asked)
    outcomes = [(spec.model, _outcome(spec, jobs, quiet or as_json, verbose)) for spec in asked]
    again: dict[int, Reproduced] = {}
    if verify_reproducible:
        for number, (spec, (path, it)) in enumerate(zip(asked, outcomes, strict=True)):
            if isinstance(it, BuildResult) and not it.exit_code:
                reproduced = _again(spec, it, jobs, quiet or as_json, verbose)
                if isinstance(reproduced, EdgecError):
                    outcomes[number] = (path, reproduced)
                else:
                    again[number] = reproduced
    if as_json:
        documents = [failure(path, it) if isinstance(it, EdgecError) else it.to_json() for path, it in outcomes]
        for number, reproduced in again.items():
            documents[number]["reproduced"] = reproduced.to_json()
        _print_all(documents)
    else:
        from edgec.cli.summary import print_results

        results = [it for _, it in outcomes if isinstance(it, BuildResult)]
        print_results(results, paths)
        for reproduced in again.values():
            for line in reproduced.lines():
                click.echo(line)
        for path, it in outcomes:
            if isinstance(it, EdgecError):
                report_error(it, prefix=f"{path}: " if len(outcomes) > 1 else "")
    return next((it.exit_code for _, it in outcomes if it.exit_code), 0)


def _described(asked: Iterable[BuildSpec]) -> dict[str, str]:
    """Where the targets are described that were asked for by a path, by their names."""
    from edgec.targets import load_target

    found = {}
    for path in {name for spec in asked for name in spec.targets if name.endswith(".toml")}:
        with contextlib.suppress(EdgecError):  # which the build tells
            found[load_target(path).name] = path
    return found


def _outcome(spec: BuildSpec, jobs: int, quiet: bool, verbose: bool) -> BuildResult | EdgecError:
    """One build, or why it came to nothing: one model that can't be built does not stop the others."""
    from edgec.cli.progress import listening
    from edgec.pipeline import build

    with listening(quiet=quiet, verbose=verbose) as listener:
        try:
            return build(spec, listener=listener, jobs=jobs)
        except EdgecError as error:
            return error


def _check_reproducible(asked: Iterable[BuildSpec], dry_run: bool) -> None:
    from edgec.reproducibility import check_reproducible

    if dry_run:
        raise UsageError(
            "--verify-reproducible does not go with --dry-run",
            "One builds twice, the other does not build.",
            "Leave one of them out.",
        )
    for spec in asked:
        check_reproducible(spec)


def _again(spec: BuildSpec, result: BuildResult, jobs: int, quiet: bool, verbose: bool) -> Reproduced | EdgecError:
    from edgec.cli.progress import listening
    from edgec.reproducibility import build_again

    with listening(quiet=quiet, verbose=verbose) as listener:
        try:
            return build_again(spec, result, listener=listener, jobs=jobs)
        except EdgecError as error:
            return error


def specs(model: Path | None, output: Path, flags: dict[str, Any]) -> list[BuildSpec]:
    """The builds to make: one from the flags, or those of edgec.toml."""
    if model is None:
        from edgec.project_file import NAME, read_project

        if not Path(NAME).is_file():
            raise UsageError(
                "No model was given, and there is no edgec.toml here",
                "`edgec build` without MODEL makes the builds that ./edgec.toml describes.",
                "Name a model: edgec build model.onnx --calib photos/ --preprocess imagenet",
            )
        _refuse(flags)
        return read_project(Path(NAME), output)
    calibration = flags.pop("calibration")
    if calibration is not None and calibration != "random":
        calibration = Path(calibration)
    labels = flags.pop("labels")
    if labels is not None and labels != "folders":
        labels = Path(labels)
    max_latency, max_size = flags.pop("max_latency"), flags.pop("max_size")
    return [
        BuildSpec(
            model=model,
            output=output,
            targets=flags.pop("targets") or ("host",),
            calibration=calibration,
            labels=labels,
            shapes=read_shapes(flags.pop("shapes")),
            state=read_state(flags.pop("state")),
            gate=_parse("--gate", flags.pop("gate"), "=", _number),
            keep_float=tuple(flags.pop("keep_float")),
            force=tuple(flags.pop("force")),
            forbid=tuple(flags.pop("forbid")),
            search=_searched(flags.pop("search"), flags["precision"]),
            max_latency=None if max_latency is None else read_milliseconds(max_latency),
            max_size=None if max_size is None else read_bytes(max_size),
            **flags,
        )
    ]


def _searched(search: bool, precision: Precision) -> tuple[Precision, ...]:
    """The precisions of a search: that which was given, else all."""
    if not search:
        return ()
    given = click.get_current_context().get_parameter_source("precision") is ParameterSource.COMMANDLINE
    return (precision,) if given else PRECISIONS


def _refuse(flags: Mapping[str, Any]) -> None:
    """Refuse flags that describe one build, where edgec.toml describes them all."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in flags and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            flag = max(parameter.opts, key=len)
            raise UsageError(
                f"{flag} was given without a model",
                "Without MODEL the builds are those of ./edgec.toml, and it is there that they are described.",
                f"Write it there, or name a model: edgec build model.onnx {flag} ...",
            )


def read_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """What --shape says: dimensions by input."""
    return _parse("--shape", texts, "=", _dims)


def read_state(texts: Sequence[str]) -> dict[str, str]:
    """What --state says: inputs by output."""
    return _parse("--state", texts, ":", str)


def _parse(flag: str, texts: Sequence[str], separator: str, convert: Callable[[str], Any]) -> dict[str, Any]:
    """Read "NAME<separator>VALUE" texts; names may hold the separator themselves, so the last one counts."""
    parsed: dict[str, Any] = {}
    for text in texts:
        name, found, value = text.rpartition(separator)
        if not found or not name:
            raise _misread(flag, text, f"It needs a name, '{separator}' and a value.")
        if name in parsed:
            raise _misread(flag, text, f"{name!r} was given before.")
        try:
            parsed[name] = convert(value)
        except ValueError as error:
            raise _misread(flag, text, f"{value!r} is no {error}.") from None
    return parsed


def _misread(flag: str, text: str, why: str) -> UsageError:
    examples = {
        "--shape": "--shape x=1x3x224x224",
        "--state": "--state stateN:state",
        "--gate": "--gate cosine_p01=0.9",
    }
    return UsageError(f"{flag} {text} can't be understood", why, f"For example: {examples[flag]}")


def _dims(text: str) -> tuple[int, ...]:
    try:
        dims = tuple(int(part) for part in text.replace(",", "x").split("x"))
    except ValueError:
        raise ValueError("list of whole numbers") from None
    if any(dim < 1 for dim in dims):
        raise ValueError("list of numbers of at least 1")
    return dims


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("number") from None


def _show_plans(specs: list[BuildSpec], as_json: bool) -> int:
    from edgec.pipeline import plan

    plans = [(spec, plan(spec)) for spec in specs]
    status = next((error.exit_code for _, planned in plans for error in planned.missing.values()), 0)
    if as_json:
        _print_all([_planned(spec, planned) for spec, planned in plans])
        return status
    from edgec.cli.summary import print_plan

    for spec, planned in plans:
        print_plan(spec, planned.stages, planned.candidates)
        for target, error in planned.missing.items():
            report_error(error, prefix=f"{target}: ")
    return status


def _planned(spec: BuildSpec, planned: Plan) -> dict[str, Any]:
    return {
        "edgec": __version__,
        "schema": 1,
        "status": "planned",
        "model": {"path": str(spec.model)},
        "targets": list(spec.targets),
        "stages": [{"name": each.name, "cached": each.cached, "detail": each.detail} for each in planned.stages],
        "candidates": {
            target: [{"name": name, "not_tried": reason or None} for name, reason in found]
            for target, found in planned.candidates.items()
        },
        "missing": {target: error.to_json() for target, error in planned.missing.items()},
    }


def _print_all(documents: list[dict[str, Any]]) -> None:
    """One document for one model; a list of them under "results" for several."""
    print_json(documents[0] if len(documents) == 1 else {"edgec": __version__, "schema": 1, "results": documents})
