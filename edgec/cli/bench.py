"""`edgec bench`: measure artifacts beside each other and the original; or count what they execute, emulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgec.cli.json_output import json_option, print_json
from edgec.errors import INTERRUPTED, EdgecError, UsageError
from edgec.untrusted_text import clean
from edgec.version import __version__

if TYPE_CHECKING:
    from edgec.benchmark.comparison import Comparison, Protocol, Subject

_OF_COUNTING = ("target", "runs")
_OF_BOTH = ("artifacts", "emulate", "as_json")


@click.command(name="bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.edgec...")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="Also run this model in ONNX Runtime; ratios are to it.  [ratios are to the first artifact]",
)
@click.option("--duration", metavar="TIME", default="5s", show_default=True, help="Of each: 500ms, 30s, 2m.")
@click.option(
    "--threads", type=click.IntRange(0), metavar="N", help="Of each; 0 leaves it to the engine.  [the artifact's own]"
)
@click.option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=1,
    metavar="B",
    help="Time B inferences at once: one after the other, as an artifact's shapes are fixed.",
)
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]FILE", help="What to feed.  [a golden sample]")
@click.option("--profile", is_flag=True, help="Also time each step, where the engine tells.")
@click.option("--soak", metavar="TIME", help="Run for so long, and watch for drift of latency and memory: 10m, 8h.")
@click.option("--mlperf", is_flag=True, help="MLPerf's single stream: 1024 queries and 60 s at least, 90th percentile.")
@click.option(
    "--fail-if-slower-than",
    "limit",
    type=click.FloatRange(0, min_open=True),
    metavar="RATIO",
    help="Exit with 7 unless each is shown to take at most so much of the time of what it is compared to.",
)
@click.option("--csv", type=click.Path(path_type=Path), metavar="FILE", help="Write the time of each query there.")
@click.option("--on", "host", metavar="[USER@]HOST", help="Measure on this board, over ssh (docs/devices.md).")
@click.option("--emulate", is_flag=True, help="Count instructions on the target's emulated core; no times.")
@click.option("--target", "-t", metavar="NAME", help="With --emulate: the device.  [that which it was built for]")
@click.option("--runs", type=click.IntRange(1, 1000), default=3, help="With --emulate: inferences that count.  [3]")
@json_option
@click.pass_context
def command(ctx: click.Context, /, artifacts: tuple[Path, ...], emulate: bool, as_json: bool, **options: Any) -> int:
    """Measure artifacts on this machine, or on a board, in turns with each other and with the original model.

    \b
    edgec bench model-host.edgec --baseline model.onnx
    edgec bench tvm/net.edgec openvino/net.edgec --threads 4 --profile
    edgec bench model-host.edgec --soak 8h
    edgec bench model-rpi4.edgec --on pi@board
    edgec bench --emulate model-rpi4.edgec

    Each runs in a process of its own. On a device without edgec, the artifact does the same for itself:
    python3 FILE.edgec bench.
    """
    try:
        _check_options(ctx, emulate)
        if emulate:
            return _count(artifacts, options["target"], options["runs"], as_json)
        return _measure(artifacts, options, as_json)
    except EdgecError as error:
        if as_json:
            print_json({**_status("failed", error.exit_code), "artifacts": [], "error": error.to_json()})
            return error.exit_code
        raise


def _check_options(ctx: click.Context, emulate: bool) -> None:
    """No option without an effect: times are not taken on an emulated core, and nothing is counted without it."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    wrong = given - {*_OF_COUNTING, *_OF_BOTH} if emulate else given & {*_OF_COUNTING}
    if wrong:
        flag = next(param.opts[0] for param in ctx.command.params if param.name in wrong)
        raise UsageError(
            f"{flag} {'does not go with --emulate' if emulate else 'has no effect without --emulate'}",
            "An emulated core tells what is executed, not how long it takes."
            if emulate
            else "Artifacts are measured on this machine, for the time that --duration says.",
            f"Leave out {flag}{' or --emulate' if emulate else ', or add --emulate'}.",
        )
    if ctx.params["host"] is not None and (here := given & {"baseline", "inputs"}):
        flag = "--baseline" if "baseline" in here else "--input"
        raise UsageError(
            f"{flag} does not go with --on",
            "On a board, artifacts are measured beside each other on their golden samples; ONNX Runtime is not there.",
            f"Leave out {flag}, and name several artifacts to compare them.",
        )
    if ctx.params["mlperf"] and given & {"soak", "duration", "limit"}:
        raise UsageError(
            "--mlperf goes with neither --soak nor --duration nor --fail-if-slower-than",
            "Its protocol says how long it takes, and that each runs alone: in no turns that a ratio could come from.",
            "Leave out one of them.",
        )
    if ctx.params["soak"] is not None and "duration" in given:
        raise UsageError("--soak and --duration exclude each other", "Both say how long it takes.", "Leave out one.")


def _measure(artifacts: tuple[Path, ...], options: dict[str, Any], as_json: bool) -> int:
    from edgec.benchmark.comparison import check_ratio, compare
    from edgec.cli.progress import listening
    from edgec.runtime.bench_command import check_csv, write_csv

    protocol = _protocol(options)
    if options["limit"] is not None and options["baseline"] is None and len(artifacts) == 1:
        raise UsageError(
            "--fail-if-slower-than needs something to compare with",
            "One artifact alone is measured.",
            "Add --baseline MODEL.onnx, or the artifact to compare with as the first.",
        )
    if options["csv"] is not None:
        with _own_errors():
            check_csv(options["csv"])
    with _subjects(artifacts, options) as subjects, listening(quiet=as_json, verbose=False) as listener:
        found = compare(subjects, protocol, len(subjects) - 1 if options["baseline"] else 0, listener)
    error = found.failures[0] if found.failures else None
    if error is None and options["limit"] is not None and not found.interrupted:
        try:
            check_ratio(found.documents, options["limit"])
        except EdgecError as missed:
            error = missed
    if options["csv"] is not None:
        try:
            with _own_errors():
                write_csv(options["csv"], found.turns)
        except EdgecError as failed:
            error = error or failed
    if as_json:
        print_json(_document(found, protocol, error))
    else:
        from edgec.cli.bench_table import lines

        for line in lines(found.documents, interrupted=found.interrupted):
            click.echo(clean(line))
        if options["host"] is not None:
            click.echo(f"\nMeasured on {options['host']}.")
    if error is not None:
        if not as_json:
            raise error
        return error.exit_code
    return INTERRUPTED if found.interrupted else 0


@contextmanager
def _subjects(artifacts: Sequence[Path], options: dict[str, Any]) -> Iterator[list[Subject]]:
    """What is to be measured, the baseline last; on a board, as long as there is a session on it."""
    if options["host"] is not None:
        from edgec.benchmark.on_board import BoardArtifact, room_for
        from edgec.runners import ssh

        with ssh.connect(options["host"], room_for(artifacts)) as board:
            yield [BoardArtifact(path, board, f"artifact-{number}.edgec") for number, path in enumerate(artifacts)]
        return
    from edgec.benchmark.subjects import Artifact, OnnxModel

    first = Artifact(artifacts[0], options["inputs"])
    subjects: list[Subject] = [first, *(Artifact(path, options["inputs"]) for path in artifacts[1:])]
    if options["baseline"] is not None:
        subjects.append(OnnxModel(options["baseline"], first))
    yield subjects


def _protocol(options: dict[str, Any]) -> Protocol:
    from edgec.benchmark.comparison import Protocol
    from edgec.runtime.durations import seconds_of

    threads, batch, profile = options["threads"], options["batch"], options["profile"]
    if options["mlperf"]:
        return Protocol.mlperf(threads, batch, profile)
    soaks = options["soak"] is not None
    with _own_errors():
        seconds = seconds_of(options["soak"], "--soak") if soaks else seconds_of(options["duration"], "--duration")
    return Protocol("soak" if soaks else "turns", seconds, threads=threads, batch=batch, profile=profile)


@contextmanager
def _own_errors() -> Iterator[None]:
    """The runtime's errors become edgec's."""
    from edgec.bundle.errors import as_edgec_error
    from edgec.runtime.errors import InputError

    try:
        yield
    except InputError as failed:
        raise as_edgec_error(failed) from failed


def _document(found: Comparison, protocol: Protocol, error: EdgecError | None) -> dict[str, Any]:
    status = "failed" if error else "interrupted" if found.interrupted else "ok"
    return {
        **_status(status, error.exit_code if error else INTERRUPTED if found.interrupted else 0),
        "protocol": {"kind": protocol.kind, "seconds": protocol.seconds, "batch": protocol.batch},
        "artifacts": list(found.documents),
        "error": error.to_json() if error else None,
    }


def _status(status: str, exit_code: int) -> dict[str, Any]:
    """What all documents of this command begin with."""
    return {"edgec": __version__, "schema": 1, "status": status, "exit_code": exit_code}


def _count(artifacts: tuple[Path, ...], target: str | None, runs: int, as_json: bool) -> int:
    from edgec.cli.bench_counted import counted_inferences, lines

    rows = []
    for path in artifacts:
        if not as_json:
            click.echo(f"{path} ...", err=True)
        rows.append(counted_inferences(path, target, runs))
    first: int = rows[0]["instructions"]["total"]
    for row in rows:
        row["ratio"] = round(row["instructions"]["total"] / first, 4)
    if as_json:
        print_json({**_status("ok", 0), "artifacts": rows})
    else:
        for line in lines(rows):
            click.echo(line)
    return 0
