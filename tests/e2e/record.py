"""Measure real models anew and write accuracy.toml.

    python tests/e2e/record.py [MODEL...] [--backend openvino] [--seeds 0,1,2] [--jobs 2] [--anew]
    python tests/e2e/record.py --show     measures nothing, prints what is recorded

Every model and seed is measured in a process of its own, on one thread. What this very code has measured before is
taken from .cache/e2e, so a run that was interrupted goes on where it was; --anew measures all of it again. At the end
everything that is asked for is shown beside what was measured.

Run it after an improvement that a test reports, and look at the difference before committing it: a record may go down
only for a reason that the commit states.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

from measurement import (
    BACKENDS,
    UNEXPLAINED,
    Measurement,
    Record,
    measure,
    models_of,
    read_records,
    records_of,
    short_of,
    write_records,
)
from model_zoo.fetch import CASES

from edgec.backends import backend_tools
from edgec.stage_runner import tool_version

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"default: all that are recorded; of {', '.join(CASES)}"
    )
    parser.add_argument("--seeds", default="0,1,2", help="default: 0,1,2")
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help=f"default: {BACKENDS[0]}")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time (default: 1)")
    parser.add_argument("--anew", action="store_true", help="measure also what this code has measured before")
    parser.add_argument("--show", action="store_true", help="print what is recorded, and measure nothing")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, seed, profile, backend, force = arguments.child
        _measure_here(name, int(seed), profile, backend, force)
        return
    if unknown := set(arguments.models) - set(CASES):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    path = records_of(arguments.backend)
    records = read_records(path)
    names = arguments.models or models_of(arguments.backend)
    if arguments.show:
        print(overview({name: records[name] for name in names if name in records}))
        return
    wanted = [(name, int(seed)) for seed in arguments.seeds.split(",") for name in names]
    failed = []
    for name, seed, measured in _measurements(wanted, records, arguments):
        if isinstance(measured, str):
            failed.append(f"{name}, seed {seed}: {measured}")
            print(f"FAILED {failed[-1]}", flush=True)
            continue
        record = records.get(name, Record())
        _show(name, seed, record.measured.get(seed), measured)
        records[name] = _explained(replace(record, measured={**record.measured, seed: measured}))
        write_records(records, path)
    print("\n" + table({name: records[name] for name in names if name in records}))
    if failed:
        sys.exit("\n".join(["", "not measured:", *failed]))


def table(records: dict[str, Record]) -> str:
    """Markdown: what is asked for beside what each seed reached."""
    lines = ["| model | profile | asked | by seed | |", "|---|---|---|---|---|"]
    for name, record in records.items():
        for figure, limit in record.asked.items():
            reached = [
                f"{measured.figures[figure]:g}" if figure in measured.figures else measured.precision
                for _, measured in sorted(record.measured.items())
            ]
            short = any(short_of({figure: limit}, measured) for measured in record.measured.values())
            verdict = f"short of what is asked: {record.short}" if short else "reached"
            lines.append(f"| {name} | {record.profile} | {figure} {limit} | {' / '.join(reached)} | {verdict} |")
    return "\n".join(lines)


def overview(records: dict[str, Record]) -> str:
    """Markdown: accuracy before and after, over all seeds."""
    lines = [
        "| model | profile | float | INT8 | points lost, by seed | SQNR in dB | MACs in INT8 | CPU s of a build |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        seeds = [measured.figures for _, measured in sorted(record.measured.items()) if measured.precision != "refused"]
        if not seeds:
            continue
        before, after = (sum(figures[key] for figures in seeds) / len(seeds) for key in ("fp32_accuracy", "accuracy"))
        lost = " / ".join(f"{100 * figures['accuracy_drop']:.1f}" for figures in seeds)
        level, cost = ([figures[key] for figures in seeds] for key in ("sqnr_db", "cpu_seconds"))
        share = min(figures["int8_mac_fraction"] for figures in seeds)
        lines.append(
            f"| {name} | {record.profile} | {before:.1%} | {after:.1%} | {lost} | {min(level):.1f} to {max(level):.1f} "
            f"| {share:.0%} | {min(cost):.0f} to {max(cost):.0f} |"
        )
    return "\n".join(lines)


def _measurements(
    wanted: list[tuple[str, int]], records: dict[str, Record], arguments: argparse.Namespace
) -> Iterator[tuple[str, int, Measurement | str]]:
    """(model, seed, what was measured or why it could not be), as they come."""
    known = {name: records.get(name, Record()) for name, _ in wanted}
    how = arguments.backend, arguments.anew
    with ThreadPoolExecutor(arguments.jobs) as pool:
        running = {
            pool.submit(_measured_in_child, name, seed, known[name], *how): (name, seed) for name, seed in wanted
        }
        for done in as_completed(running):
            yield *running[done], done.result()


def _measured_in_child(name: str, seed: int, record: Record, backend: str, anew: bool) -> Measurement | str:
    force = ",".join(record.force)
    kept = ROOT / ".cache" / "e2e" / _code_digest() / f"{name}-{seed}-{record.profile}-{force}-{backend}.json"
    if anew or not kept.is_file():
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--child",
            name,
            str(seed),
            record.profile,
            backend,
            force,
        ]
        with tempfile.TemporaryDirectory() as store:
            environment = {**os.environ, **ONE_THREAD, "EDGEC_CACHE_DIR": store}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return "\n".join(done.stderr.strip().splitlines()[-4:]) or f"exit code {done.returncode}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_text(done.stdout.splitlines()[-1])
        partial.rename(kept)
    return Measurement(**json.loads(kept.read_text()))


def _measure_here(name: str, seed: int, profile: str, backend: str, force: str) -> None:
    with tempfile.TemporaryDirectory() as output:
        print(
            json.dumps(
                asdict(
                    measure(
                        CASES[name](seed=seed), profile, Path(output), backend, tuple(force.split(",")) if force else ()
                    )
                )
            )
        )


def _code_digest() -> str:
    """Of all that a measurement depends on: the product, the models and their data, the tools."""
    digest = hashlib.sha256()
    for folder in ("edgec", "targets", "calibration", "examples/model_zoo", "examples/mnist", "examples/digits"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update((HERE / "measurement.py").read_bytes())
    tools = {name: tool_version(name) for name in ("numpy", "onnx", "onnxruntime", "onnxsim", *backend_tools())}
    digest.update(json.dumps(tools, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _explained(record: Record) -> Record:
    """With a place for the reason where something is short of what is asked, and without one where nothing is."""
    short = any(short_of(record.asked, measured) for measured in record.measured.values())
    return replace(record, short=(record.short or UNEXPLAINED) if short else "")


def _show(name: str, seed: int, before: Measurement | None, after: Measurement) -> None:
    known = {**before.figures, "precision": before.precision} if before else {}
    new = {**after.figures, "precision": after.precision}
    changes = [f"  {key}: {known.get(key, 'new')} -> {value}" for key, value in new.items() if value != known.get(key)]
    print("\n".join([f"{name}, seed {seed}: {len(changes)} changes", *changes]), flush=True)


if __name__ == "__main__":
    main()
