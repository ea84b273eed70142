"""Executed instructions per inference on ARM: edgec's TVM backend beside LiteRT and tflite-runtime, all in INT8.

    python benchmarks/arm.py [--models NAME,NAME...] [--targets rpi3,rpi4,rpi5] [--json FILE]

The models are those of examples/model_zoo. For each target (rpi3 is a Cortex-A53, rpi4 a Cortex-A72, rpi5 a Cortex-A76)
edgec builds one artifact for each backend from the same float graph and the same calibration samples:

    edgec TVM         `edgec build --backend tvm`
    LiteRT            `edgec build --backend tflite`, run by ai-edge-litert, the version of the emulated device
    tflite-runtime    the same file, run by tflite-runtime 2.14.0 beside numpy 1.26.4

and counts them as `edgec bench --emulate` does: one thread, on the target's emulated core, by the same Python driver.
The search for accuracy is cut short, which changes weights and not what is executed. Counts are work and not time, and
do not depend on what else the machine does. A target without kernels says so; one without LiteRT (rpi2: 32-bit ARM) is
compared with tflite-runtime, that of its own root.

Needs QEMU with plugins and the root for aarch64 (docs/emulation.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from model_zoo.case import Case
from model_zoo.fetch import CASES
from model_zoo.packages import cache, publishing

import edgec
from edgec.errors import EdgecError
from edgec.runners import counted
from edgec.targets import load_target

MODELS = ("efficientnet_lite0", "ppocr_cls", "mnist_cnn", "digits_cnn")
TARGETS = ("rpi3", "rpi4", "rpi5")
CONTENDERS: Mapping[str, str] = {"edgec TVM": "tvm", "LiteRT": "tflite", "tflite-runtime": "tflite"}
"""Backend of each."""

OURS, PEER, SECOND = "edgec TVM", "LiteRT", "tflite-runtime"
LIMITS: Mapping[str, float] = {"rpi4": 1.0, "rpi5": 0.9}
"""How many instructions edgec's TVM backend may execute for one of LiteRT's, in the engine alone, by target."""

_WHEELS = ("tflite-runtime==2.14.0", "numpy==1.26.4")
_PLATFORMS = ("manylinux_2_34_aarch64", "manylinux2014_aarch64")


@dataclass(frozen=True)
class Row:
    """One contender with one model on one target. found: None where it could not be counted; failure says why."""

    model: str
    target: str
    contender: str
    found: counted.Counted | None
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        counts = self.found.to_json() if self.found else {}
        named = {"model": self.model, "target": self.target, "contender": self.contender}
        return {
            **named,
            "engine_version": self.found.version if self.found else None,
            "failure": self.failure,
            **counts,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), metavar="NAME,NAME...")
    parser.add_argument("--targets", default=",".join(TARGETS), metavar="NAME,NAME...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.models.split(","):
        case = CASES[name]()
        for target in options.targets.split(","):
            print(f"{name} for {target} ...", file=sys.stderr)
            rows += measure(case, target)
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps([row.to_json() for row in rows], indent=1) + "\n")


def measure(case: Case, target: str) -> Iterator[Row]:
    """A row for each contender."""
    arch = load_target(target).arch
    with tempfile.TemporaryDirectory() as folder:
        artifacts: dict[str, Path | str] = {
            backend: build(case, target, backend, Path(folder) / backend) for backend in set(CONTENDERS.values())
        }
        for contender, backend in CONTENDERS.items():
            artifact = artifacts[backend]
            if isinstance(artifact, str):
                yield Row(case.name, target, contender, None, artifact)
                continue
            if contender == PEER and arch != "aarch64":
                yield Row(case.name, target, contender, None, f"there is none for {arch}")
                continue
            try:
                path = tflite_runtime() if contender == SECOND and arch == "aarch64" else []
                yield Row(case.name, target, contender, counted.inferences(artifact, load_target(target), path=path))
            except EdgecError as error:
                yield Row(case.name, target, contender, None, error.what)
            except subprocess.CalledProcessError:  # pip has said why
                yield Row(case.name, target, contender, None, "its wheels can't be fetched")


def build(case: Case, target: str, backend: str, output: Path) -> Path | str:
    """An artifact, or why there is none."""
    try:
        result = edgec.build(
            case.model,
            targets=target,
            calibration=case.calibration,
            preprocess=case.recipe,
            shapes=case.shapes,
            state=case.state,
            backend=backend,
            search_seconds=1.0,
            emulate=False,
            output=output,
        )
    except EdgecError as error:
        return error.what
    (built,) = result.builds
    assert built.artifact is not None
    return built.artifact.path


def tflite_runtime() -> Sequence[str]:
    """Where the emulated Python finds tflite-runtime, and nothing that it would prefer to it."""
    folder = cache() / "tflite-runtime-2.14.0-aarch64"
    with publishing(folder) as partial:
        if partial is not None:
            platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            only = ["--only-binary=:all:", "--python-version", "311", "--implementation", "cp", "--abi", "cp311"]
            subprocess.run([*pip, *only, *platforms, "--target", str(partial), *_WHEELS], check=True)
            (partial / "ai_edge_litert").mkdir()
            (partial / "ai_edge_litert" / "__init__.py").write_text("raise ImportError('it is not to be used')\n")
    return [str(folder)]


def table(rows: Sequence[Row]) -> list[str]:
    """Millions of instructions in the engine, and ratios to LiteRT's, as Markdown; then whether limits are kept."""
    lines = [
        f"| model | core | {' | '.join(CONTENDERS)} | {OURS} to {PEER} | the same in run() |",
        "|---" * (len(CONTENDERS) + 4) + "|",
    ]
    by_place: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_place.setdefault((row.model, row.target), {})[row.contender] = row
    for (model, target), found in by_place.items():
        cells = [_millions(found[contender]) for contender in CONTENDERS]
        ours, peer, other = found[OURS].found, found[PEER].found, found[SECOND].found
        ratios = ["", ""]
        if ours is not None and (stands_in := peer or other) is not None:
            of_which = "" if peer else f" (to {SECOND})"
            ratios = [
                f"{a.total / b.total:.3f}{of_which}"
                for a, b in ((ours.engine, stands_in.engine), (ours.run, stands_in.run))
            ]
        lines.append(f"| {' | '.join([model, load_target(target).cpu, *cells, *ratios])} |")
    return [*lines, "", *verdicts(rows)]


def _millions(row: Row) -> str:
    return row.failure if row.found is None else f"{row.found.engine.total / 1e6:.3f}"


def verdicts(rows: Sequence[Row]) -> list[str]:
    """A line for each model with a limit."""
    peers = {(row.model, row.target): row.found for row in rows if row.contender == PEER}
    lines = []
    for row in rows:
        peer = peers.get((row.model, row.target))
        if row.contender == OURS and row.target in LIMITS and row.found is not None and peer is not None:
            ratio, limit = row.found.engine.total / peer.engine.total, LIMITS[row.target]
            kept = "kept" if ratio <= limit else "MISSED"
            lines.append(f"{row.model} on {row.target}: {ratio:.3f} of {PEER}'s instructions, limit {limit}: {kept}")
    return lines


if __name__ == "__main__":
    main()
