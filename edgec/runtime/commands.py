"""The commands of an artifact: `python3 FILE.edgec info | verify | extract | selftest | run | bench | ab`.

Exit codes are those of `edgec`: 0 ok, 2 usage, 6 the self-test failed, 8 the engine is missing, 9 the artifact is
damaged, 10 this machine can't run it, 73 the output can't be written, 130 interrupted. Numpy and the engine are
imported only by the commands that need them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundle import Bundle
from .device import check_device
from .durations import seconds_of
from .errors import ArtifactFailure, EngineMissing, InputError, SelftestFailed
from .layouts import by_x
from .machine import peak_bytes

if TYPE_CHECKING:
    import numpy as np

    from .model import Model

_OUTPUT_FAILED = 73
_INTERRUPTED = 130


def main(artifact: Path, arguments: Sequence[str] | None = None) -> int:
    """Run one command on `artifact`; returns the exit code."""
    options = _parser(artifact).parse_args(arguments)
    try:
        document = options.command(artifact, options)
        if options.json:
            print(json.dumps(document, indent=2))
        sys.stdout.flush()
    except ArtifactFailure as failure:
        return _report(failure, options.json)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the reader has seen enough; nor shall exit fail
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    return _INTERRUPTED if document.get("status") == "interrupted" else 0


def _report(failure: ArtifactFailure, as_json: bool) -> int:
    if as_json:
        kind = type(failure).__name__
        error = {"kind": kind, "what": failure.what, "why": failure.why, "fix": failure.fix}
        print(
            json.dumps(
                {"status": "failed", "exit_code": failure.exit_code, "error": error, **failure.details}, indent=2
            )
        )
    print(f"error: {failure.what}", file=sys.stderr)
    for title, text in (("why", failure.why), ("fix", failure.fix)):
        for number, line in enumerate(text.splitlines()):
            print(f"  {title + ':' if number == 0 else '    '} {line}", file=sys.stderr)
    return failure.exit_code


def _parser(artifact: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=artifact.name,
        description="A model compiled by edgec. It needs Python, numpy and the engine that `info` names.",
        epilog="Exit codes: 0 ok, 2 command line or input does not fit, 6 self-test failed, 8 engine or numpy missing, "
        "9 file damaged, 10 wrong machine, 73 output can't be written, 130 interrupted.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        each = commands.add_parser(name, help=text, description=text)
        each.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        each.set_defaults(command=command)
        return each

    add("info", _info, "Show what the artifact is, takes and gives, and what it needs.")
    add("verify", _verify, "Check every file in the artifact against its digest.")
    each = add("extract", _extract, "Write the files that the engine loads into a folder: for your own program.")
    each.add_argument(
        "folder", type=Path, metavar="FOLDER", help="made where it is not there; no other file is replaced"
    )
    each = add("selftest", _selftest, "Replay the build's golden samples here, and compare.")
    _add_threads(each)
    each = add("run", _run, "Run the model on files.")
    each.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help=".npy, .npz with an array for each input, or an image; NAME=FILE where there are several inputs. For an "
        "input of 1x1x8x8 an array may be 1x1x8x8, 1x8x8 or 8x8, or Nx1x8x8 or Nx8x8 for N samples: these run one "
        "after the other; a recurrent model takes them as steps and keeps its state in between. Where the artifact "
        "prepares images, uint8 arrays of height x width (x 3) are images too, or several with one more axis in front",
    )
    each.add_argument(
        "--output",
        type=Path,
        metavar="FILE.npz",
        help="write all outputs there; those of several runs are stacked along one more axis in front",
    )
    each.add_argument("--top", type=int, metavar="N", help="show the N largest values of each output, with their index")
    _add_threads(each)
    each = add("bench", _bench, "Time the model on this machine: latency, throughput, memory, processor time.")
    each.add_argument(
        "--duration", default="5s", metavar="TIME", help="measure for so long: 500ms, 30s, 2m (default: 5s)"
    )
    each.add_argument("--batch", type=int, default=1, metavar="B", help="inferences of a query, one after the other")
    each.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="INPUT",
        help="what to feed, as for `run` (default: a golden sample)",
    )
    each.add_argument("--profile", action="store_true", help="also time each step, where the engine tells")
    each.add_argument("--csv", type=Path, metavar="FILE", help="write the time of each query there")
    instead = each.add_mutually_exclusive_group()
    instead.add_argument("--soak", metavar="TIME", help="run for so long, and watch for drift of latency and memory")
    instead.add_argument(
        "--mlperf", action="store_true", help="MLPerf's single stream: 1024 queries and 60 s at least, p90"
    )
    _add_threads(each)
    each = add("ab", _ab, "Let another artifact run in the shadow of this one, and compare answers and latency.")
    each.add_argument("candidate", metavar="CANDIDATE", help="another artifact, or a slot of the device")
    each.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="files as for `run`, folders of them, or - for file names on standard input, a line each (default: the "
        "golden samples of this artifact)",
    )
    each.add_argument("--watch", type=Path, metavar="FOLDER", help="take each file that comes in there")
    each.add_argument("--for", dest="duration", metavar="TIME", help="how long to watch (default: until Ctrl-C)")
    each.add_argument(
        "--share", type=float, default=1.0, metavar="S", help="share of inputs that the candidate gets (default: 1)"
    )
    each.add_argument(
        "--agree", type=float, metavar="S", help="fail with 6 unless it is shown that decisions agree so often"
    )
    _add_threads(each)
    return parser


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the engine; 0 leaves it to the engine (default: the target's)",
    )


def _info(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    manifest = dict(Bundle.open(artifact).manifest)
    if not options.json:
        engine = manifest["engine"]
        rows = [
            ("name", manifest["name"]),
            ("target", f"{manifest['target']} ({manifest['arch']})"),
            ("precision", manifest["precision"]),
            ("backend", manifest["backend"]),
            ("engine", _engine(engine)),
            ("CPU features", ", ".join(manifest["cpu_features"]) or "none beyond the architecture's"),
            *([("glibc", f">= {manifest['min_glibc']}")] if "min_glibc" in manifest else []),
            *([("memory", f">= {_size(manifest['memory_bytes'])}")] if manifest.get("memory_bytes") else []),
            ("preprocessing", (manifest.get("preprocess") or {}).get("name") or "none: takes arrays"),
            *(("input", _spec(spec)) for spec in manifest["inputs"]),
            *(("output", _spec(spec)) for spec in manifest["outputs"]),
            *((("state", f"{source} -> {into}") for source, into in manifest["state"].items())),
            ("model SHA-256", manifest.get("model_sha256") or "not recorded"),
            (
                "payload",
                ", ".join(f"{name} ({_size(manifest['files'][name]['bytes'])})" for name in manifest["payload"]),
            ),
        ]
        _print_rows(rows)
    return manifest


def _engine(needed: dict[str, Any]) -> str:
    if not needed["distribution"]:
        return f"{needed['name']}: the payload is machine code, nothing has to be installed for it"
    return f"{needed['distribution']} >= {needed['minimum_version']}"


def _spec(spec: dict[str, Any]) -> str:
    return f"{spec['name']}: {spec['dtype']} {by_x(spec['shape'])}"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count} bytes"


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(title) for title, _ in rows) + 2
    for title, text in rows:
        print(f"{title:{width}}{text}")


def _verify(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    sizes = Bundle.open(artifact).verify()
    if not options.json:
        print(f"{artifact.name}: ok, {len(sizes)} files, {_size(sum(sizes.values()))}")
    return {"status": "ok", "files": len(sizes), "bytes": sum(sizes.values())}


def _extract(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every file whole or not at all, and none that is there with other bytes replaced."""
    payload = Bundle.open(artifact).payload()
    places = {options.folder / name: content for name, content in payload.items()}
    try:
        for place, content in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and place.read_bytes() != content:
                raise InputError(f"{place} is there already", "It holds something else.", "Choose another folder.")
        for place, content in places.items():
            part = place.with_name(f".{place.name}.part")
            part.write_bytes(content)
            part.replace(place)
    except OSError as error:
        raise _unwritable(options.folder, error, "Choose another folder.") from error
    if not options.json:
        for place, content in places.items():
            print(f"{place} ({_size(len(content))})")
    return {"status": "ok", "files": [str(place) for place in places]}


def _selftest(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    bundle = Bundle.open(artifact)
    model = _load(bundle, options)
    from .golden import read_golden
    from .selftest import replay

    golden = read_golden(bundle.read("golden.npz"))
    results = replay(model, golden, bundle.manifest["selftest"]["tolerances"])
    engine = model.manifest["engine"]["name"]
    document = {
        "samples": len(golden.samples),
        "runs": sum(len(sample) for sample in golden.samples),
        "engine": engine,
        "engine_version": model.engine.version,
        "outputs": [result.to_json() for result in results],
    }
    if failed := [result for result in results if not result.passed]:
        raise SelftestFailed(
            f"The self-test failed: {len(failed)} of {len(results)} outputs are too far from those of the build",
            "\n".join(map(str, failed)),
            f"This machine's engine ({engine} {model.engine.version}) or CPU computes otherwise than the build's. "
            "Use the engine's version that `info` names; if that is so already, build for this CPU.",
            document,
        )
    if not options.json:
        print(f"{artifact.name}: ok, {document['samples']} samples, {document['runs']} runs")
        for result in results:
            print(f"  {result}")
    return {"status": "ok", **document}


def _run(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    if options.top is not None and options.top < 1:
        raise InputError("--top has to be positive", f"It is {options.top}.", "Give for example --top 5.")
    model = _load(Bundle.open(artifact), options)
    import numpy as np

    from .given import feeds_of

    notes: list[str] = []
    steps = feeds_of(
        options.input, model.free_inputs, model.manifest.get("preprocess"), notes, sequence=bool(model.state)
    )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    outputs = list(model.run_sequence(steps)) if model.state else [model.run(feeds) for feeds in steps]
    if options.output is not None:
        one = len(outputs) == 1
        arrays = {name: outputs[0][name] if one else np.stack([step[name] for step in outputs]) for name in outputs[0]}
        _save(options.output, arrays)
    runs = [{name: _shown(array, options.top) for name, array in step.items()} for step in outputs]
    if not options.json:
        for number, step in enumerate(runs):
            if len(outputs) > 1:
                print(f"run {number}")
            for name, shown in step.items():
                print(f"  {name}: {_text(shown)}")
        if options.output is not None:
            print(f"written to {options.output}")
    return {"status": "ok", "runs": runs, "output": str(options.output) if options.output else None}


def _shown(array: np.ndarray, top: int | None) -> dict[str, Any]:
    """An output as it is shown: all of it when small, else its range; with `top`, its largest values."""
    values = array.reshape(-1)
    document: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if top is not None:
        order = values.argsort(kind="stable")[::-1][:top]
        document["top"] = [{"index": int(index), "value": _plain(values[index])} for index in order]
    elif values.size <= 16:
        document["values"] = [_plain(value) for value in values]
    else:
        document.update(minimum=_plain(values.min()), maximum=_plain(values.max()), argmax=int(values.argmax()))
    return document


def _plain(value: Any) -> Any:
    """A numpy scalar as JSON has it; NaN and infinity, which it lacks, as text."""
    plain = value.item()
    return plain if plain == plain and plain not in (float("inf"), float("-inf")) else str(plain)


def _text(shown: dict[str, Any]) -> str:
    head = f"{shown['dtype']} {by_x(shown['shape'])}:"
    if "top" in shown:
        return f"{head} " + ", ".join(f"{item['index']}: {_short(item['value'])}" for item in shown["top"])
    if "values" in shown:
        return f"{head} " + ", ".join(_short(value) for value in shown["values"])
    return f"{head} from {_short(shown['minimum'])} to {_short(shown['maximum'])}, largest at {shown['argmax']}"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from .npz import write_npz

    try:
        write_npz(path, arrays)
    except OSError as error:
        raise _unwritable(path, error, "Choose another --output.") from error


def _unwritable(path: Path, error: OSError, fix: str) -> InputError:
    failure = InputError(f"{path} can't be written", f"The system says: {error.strerror}.", fix)
    failure.exit_code = _OUTPUT_FAILED
    return failure


def _bench(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    options.duration = seconds_of(options.duration, "--duration")
    options.soak = None if options.soak is None else seconds_of(options.soak, "--soak")
    if options.batch < 1:
        raise InputError("--batch has to be positive", f"It is {options.batch}.", "Give for example --batch 8.")
    bundle = Bundle.open(artifact)
    check_device(bundle.manifest)
    _check_numpy()
    start_bytes = peak_bytes()
    started = time.perf_counter()
    model = _load(Bundle.open(artifact), options)
    load_ms = (time.perf_counter() - started) * 1e3
    from .bench_command import run

    document: dict[str, Any] = run(bundle, model, load_ms, start_bytes, options)
    return document


def _ab(artifact: Path, options: argparse.Namespace) -> dict[str, Any]:
    model = _load(Bundle.open(artifact), options)
    from .ab_command import run

    return run(model, options, print, lambda line: print(f"note: {line}", file=sys.stderr))


def _load(bundle: Bundle, options: argparse.Namespace) -> Model:
    """The model, with what could not be checked said on standard error."""
    if options.threads is not None and options.threads < 0:
        raise InputError("--threads can't be negative", "0 leaves the number to the engine.", "Give 0 or more.")
    check_device(bundle.manifest)  # before numpy, which has machine code too; Model.load says what can't be checked
    _check_numpy()
    from .model import Model

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = Model.load(bundle, options.threads)
    for each in caught:
        if each.category is RuntimeWarning:
            print(f"warning: {each.message}", file=sys.stderr)
    return model


def _check_numpy() -> None:
    try:
        import_module("numpy")
    except ImportError as error:
        raise EngineMissing(
            f"numpy is not installed for {sys.executable}",
            f"{type(error).__name__}: {error}.",
            f"Install it: {sys.executable} -m pip install numpy",
        ) from error
