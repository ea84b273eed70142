"""Does the parity gate know good from bad? Its verdict beside the accuracy on labels, over many quantized variants.

    python benchmarks/gates.py [MODEL ...] [--seeds N] [--keep FOLDER] [--json FILE]

For each model of examples/model_zoo, variants are made that differ in the method of ranges, the profile, the correction
of biases, the graph (canonical forms or as exported), the resolution of weights, and the seed that draws calibration
and test data. The gate judges each on held-out samples without labels, as a build does. Then the variant is run on the
labelled examples. A variant is bad when it loses more than one point of accuracy against the original.

Printed are, for each model, how many good and bad variants the gate lets pass and refuses, and every miss.

--keep stores the outputs of every variant: another run judges them again without running anything, which is how a
threshold is tried.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

MODELS = ("digits_cnn", "mnist_cnn", "mtcnn_onet", "ppocr_cls", "silero_vad_16k", "ppocrv4_det", "ppocrv4_rec")
SLOW = frozenset({"ppocrv4_det", "ppocrv4_rec"})
"""Models that take a second a sample: a part of the variants is made, drawn by chance."""

SOME = 30
FIRST_SEED = 30
"""The seeds that draw calibration and test data here draw nothing elsewhere in this project. Seeds 20 and 21 were used
to choose limits, and so can't confirm them."""

WORSE = 0.01
"""Loss of accuracy above which a variant is bad: one point."""


@dataclass(frozen=True)
class Variant:
    """limit: the largest weight in steps; 127 is INT8, less is what coarser weights would cost."""

    method: str
    profile: str
    bias_correction: bool
    canonical: bool
    limit: int
    seed: int

    def name(self) -> str:
        return (
            f"{self.profile} {self.method}{'' if self.bias_correction else ' no-bias-correction'}"
            f"{'' if self.canonical else ' as-exported'}{'' if self.limit == 127 else f' weights-{self.limit}'}"
            f" seed-{self.seed}"
        )


@dataclass(frozen=True)
class Outcome:
    """What the gate said of a variant, and what the labels say: accuracies from 0 to 1."""

    model: str
    variant: str
    before: float
    after: float
    passed: bool
    failures: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def good(self) -> bool:
        return self.before - self.after <= WORSE + 1e-9


def variants(model: str, seeds: int) -> list[Variant]:
    """All combinations, or SOME of them for a slow model."""
    drawn = range(FIRST_SEED, FIRST_SEED + seeds)
    plain = itertools.product(
        ("minmax", "mse", "percentile"), ("strict", "islands"), (True, False), (True, False), (127,), drawn
    )
    coarse = itertools.product(("minmax", "mse"), ("strict", "islands"), (True, False), (True,), (31, 15, 7, 3), drawn)
    every = [Variant(*item) for item in (*plain, *coarse)]
    if model in SLOW and len(every) > SOME:
        return sorted(random.Random(model).sample(every, SOME), key=every.index)
    return every


class Bench:
    """One model with the data of one seed: read, simplified and calibrated."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        from model_zoo.fetch import CASES

        from edgec.calibration_data.sources import open_source
        from edgec.contract import Contract
        from edgec.events import ignore
        from edgec.onnx_graph.untrusted import scan
        from edgec.quantization.collector import Collector
        from edgec.quantization.held_out import HeldOut
        from edgec.recipes import load_recipe
        from edgec.samples import feeds_of_steps, held_out
        from edgec.stage import StageContext
        from edgec.stages import canonicalize, ingest, simplify

        self.case = CASES[name](seed)

        def out(stage: str) -> StageContext:
            (folder / stage).mkdir()
            return StageContext(stage, folder / stage, ignore)

        files = scan(self.case.model)
        self.state = dict(self.case.state)
        pairs = tuple(sorted(self.state.items()))
        shapes = tuple(sorted((key, tuple(value)) for key, value in self.case.shapes.items()))
        ingest.run(self.case.model, ingest.IngestParams(shapes, pairs, files.digest), out("ingest"))
        simplify.run(folder / "ingest", simplify.SimplifyParams(), out("simplify"))
        self.model = folder / "simplify" / "model.onnx"
        self.contract = Contract.read(folder / "simplify")
        extents: tuple[canonicalize.Extent, ...] = ("needed", "all")
        for extent in extents:
            canonicalize.run(folder / "simplify", canonicalize.CanonicalizeParams(extent), out(extent))
        self.forms = {extent == "all": folder / extent / "model.onnx" for extent in extents}
        recipe = load_recipe(self.case.recipe) if self.case.recipe else None
        samples = open_source(self.case.calibration, self.contract, recipe, self.state)
        used, kept = held_out(len(samples))
        collectors = {canonical: Collector(model, runs=len(used)) for canonical, model in self.forms.items()}
        for sample in samples.read(used):
            for collector in collectors.values():
                for _ in feeds_of_steps(sample, self.contract, self.state, partial(collector.run, sample=sample.name)):
                    pass
        self.statistics = {canonical: collector.finish() for canonical, collector in collectors.items()}
        self.judges = HeldOut(list(samples.read(kept)), self.model, self.contract, self.state)
        self.before = self.accuracy(self.model)

    def make(self, variant: Variant) -> bytes:
        """The variant as a QDQ model."""
        from edgec.onnx_graph.graph import load_model
        from edgec.parity.thresholds import Gate
        from edgec.quantization.held_out import serialized
        from edgec.quantization.recipe import Recipe
        from edgec.quantization.workshop import Workshop

        model, statistics = load_model(self.forms[variant.canonical]), self.statistics[variant.canonical]
        workshop = Workshop.open(model, statistics, self.judges, Gate(), variant.limit)
        recipe = Recipe(variant.profile, method=variant.method, bias_correction=variant.bias_correction)
        return serialized(workshop.make(recipe)[2].model)

    def accuracy(self, model: Path | bytes) -> float:
        """On the labelled examples."""
        from edgec.reference import Reference

        return self.case.accuracy(Reference(model, "none" if isinstance(model, bytes) else "basic").run)


def outcomes(name: str, seeds: int, keep: Path | None) -> Iterator[Outcome]:
    """Every variant of a model, made and judged (or only judged, where its outputs were kept)."""
    from edgec.parity.gates import judge

    with tempfile.TemporaryDirectory() as scratch:
        benches: dict[int, Bench] = {}
        for variant in variants(name, seeds):
            stored = None if keep is None else keep / name / (variant.name().replace(" ", "_") + ".npz")
            if stored is None or not stored.is_file():
                if variant.seed not in benches:
                    folder = Path(scratch) / str(variant.seed)
                    folder.mkdir()
                    benches[variant.seed] = Bench(name, variant.seed, folder)
                measured = _measure(benches[variant.seed], variant)
                if stored is not None:
                    _store(stored, measured)
            else:
                measured = _load(stored)
            verdict = judge(measured.compare())
            yield Outcome(
                name,
                variant.name(),
                measured.before,
                measured.after,
                verdict.passed,
                tuple(verdict.failures),
                tuple(verdict.warnings),
            )


@dataclass(frozen=True)
class Measured:
    """The outputs of the original and of a variant, a list of steps each, and the accuracies on labels."""

    before: float
    after: float
    state: tuple[str, ...]
    expected: list[dict[str, np.ndarray]]
    actual: list[dict[str, np.ndarray]]

    def compare(self) -> Any:
        from edgec.parity.metrics import compare

        return compare(self.expected, self.actual, state=self.state)


def _measure(bench: Bench, variant: Variant) -> Measured:
    from edgec.reference import Reference
    from edgec.samples import feeds_of_steps

    model, judges = bench.make(variant), bench.judges
    run = Reference(model, "none").run
    expected = [step for sample in judges.expected for step in sample]
    actual = [
        outputs for sample in judges.samples for _, outputs in feeds_of_steps(sample, bench.contract, bench.state, run)
    ]
    return Measured(bench.before, bench.accuracy(model), tuple(bench.state), expected, actual)


def _store(path: Path, measured: Measured) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{side}/{index}/{name}": array
        for side in ("expected", "actual")
        for index, step in enumerate(getattr(measured, side))
        for name, array in step.items()
    }
    facts = {"before": measured.before, "after": measured.after, "state": measured.state, "steps": len(measured.actual)}
    np.savez_compressed(path, **{**arrays, "facts": np.array(json.dumps(facts))})


def _load(path: Path) -> Measured:
    with np.load(path) as stored:
        facts = json.loads(str(stored["facts"]))
        sides: dict[str, list[dict[str, np.ndarray]]] = {
            side: [{} for _ in range(facts["steps"])] for side in ("expected", "actual")
        }
        for key in stored.files:
            if key != "facts":
                side, index, name = key.split("/", 2)
                sides[side][int(index)][name] = stored[key]
    return Measured(facts["before"], facts["after"], tuple(facts["state"]), sides["expected"], sides["actual"])


def table(found: Sequence[Outcome]) -> str:
    """The confusion of gate and labels, a row a model and one for all."""
    rows = [
        "| model | FP32 | variants | good, passed | good, refused | bad, passed | bad, refused |",
        "|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(item.model for item in found))
    for name in [*names, "all"]:
        those = [item for item in found if name in (item.model, "all")]
        counts = [
            sum(item.good == good and item.passed == passed for item in those)
            for good, passed in ((True, True), (True, False), (False, True), (False, False))
        ]
        accuracy = "" if name == "all" else f"{those[0].before:.2%}"
        rows.append(f"| {name} | {accuracy} | {len(those)} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(rows)


def misses(found: Sequence[Outcome]) -> Iterator[str]:
    """Bad variants that passed, the worst first, then good ones that were refused, and why."""
    passed = sorted(
        (item for item in found if item.passed and not item.good), key=lambda item: item.after - item.before
    )
    for item in passed:
        yield (
            f"passed though it loses {item.before - item.after:.2%}: {item.model} {item.variant}"
            f" ({'; '.join(item.warnings) or 'no warning'})"
        )
    for item in found:
        if item.good and not item.passed:
            lost = item.before - item.after
            yield f"refused though it loses {lost:.2%}: {item.model} {item.variant} ({item.failures[0]})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(MODELS))
    parser.add_argument(
        "--seeds", type=int, default=2, help="how often calibration and test data are drawn (default: 2)"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the outputs of all variants")
    parser.add_argument("--json", type=Path, help="write every outcome there")
    arguments = parser.parse_args()
    found: list[Outcome] = []
    for name in arguments.models or MODELS:
        for outcome in outcomes(name, arguments.seeds, arguments.keep):
            found.append(outcome)
            said = "passes " if outcome.passed else "refuses"
            print(
                f"{name:16} {said} {outcome.after - outcome.before:+8.2%}  {outcome.variant}",
                file=sys.stderr,
                flush=True,
            )
    print(table(found), *misses(found), sep="\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(item) for item in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
