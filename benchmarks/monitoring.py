"""What monitoring costs: `python benchmarks/monitoring.py ARTIFACT...`.

Printed are CPU times, medians over turns: of a run of the model on one thread; of what a Monitor adds to it, without
drift, and with it between two looks, measured on an engine that answers at once, for a microsecond is not seen beside
milliseconds on a busy machine; and of one look for drift. Looks take the share of the time that was asked for at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import edgec.runtime
from edgec.runtime.golden import read_golden
from edgec.runtime.monitoring.monitor import SHARE
from edgec.runtime.monitoring.watch import DriftWatch

TURNS = 15
RUNS = 10
INSTANT_RUNS = 3000
LOOKS = 600
LEAST_SHARE = 1e-6
"""So that no look falls among the runs that are timed."""


class Instant:
    """An engine that answers at once."""

    version = "0"

    def __init__(self, outputs: Mapping[str, np.ndarray]) -> None:
        self._outputs = dict(outputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._outputs

    def profile(self, feeds: Mapping[str, np.ndarray], runs: int) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+", type=Path)
    print(f"| artifact | run | monitor adds | with drift adds | one look | looks per second, at most ({SHARE:.0%}) |")
    print("|---|---|---|---|---|---|")
    for path in parser.parse_args().artifacts:
        alone, monitored, drift, look = costs(path)
        cells = [f"{alone * 1e6:.0f} us", *(_share(each, alone) for each in (monitored, drift))]
        print(f"| {path.name} | {' | '.join(cells)} | {look * 1e6:.0f} us | {SHARE / look:.0f} |")


def costs(path: Path) -> tuple[float, float, float, float]:
    """CPU seconds: of a run, what a monitor adds, what one adds that watches for drift, and of one look."""
    model = edgec.runtime.load(path, threads=1)
    feeds = dict(read_golden(model.bundle.read("golden.npz")).samples[0][0][0])
    outputs = model.run(feeds)
    alone = float(np.median([_time(model.run, feeds, RUNS) for _ in range(TURNS)]))
    instant = replace(model, engine=Instant(outputs))
    plain, watching = edgec.runtime.Monitor(instant), edgec.runtime.Monitor(instant, drift=True, share=LEAST_SHARE)
    sides: list[Callable[[Any], Any]] = [instant.run, plain.run, watching.run]
    times: list[list[float]] = [[], [], []]
    for turn in range(TURNS):
        for side in (0, 1, 2) if turn % 2 else (2, 1, 0):
            times[side].append(_time(sides[side], feeds, INSTANT_RUNS))
    watch = DriftWatch(model, LOOKS + 2, 1.0, None)
    looks = [_time(lambda _: watch.look(feeds, outputs, 1), feeds, 1) for _ in range(LOOKS // 2)]
    base, monitored, drift = (float(np.median(each)) for each in times)
    return alone, monitored - base, drift - base, float(np.median(looks))


def _time(run: Callable[[Any], Any], feeds: Any, count: int) -> float:
    """CPU seconds of one of `count` runs, after one that does not count."""
    run(feeds)
    began = time.process_time()
    for _ in range(count):
        run(feeds)
    return (time.process_time() - began) / count


def _share(added: float, alone: float) -> str:
    return f"{added * 1e6:.1f} us ({added / alone * 100:.2f} %)"


if __name__ == "__main__":
    main()
