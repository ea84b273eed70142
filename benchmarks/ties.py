"""How many decisions of a model are so near a tie that white noise would turn them: `python benchmarks/ties.py`.

Noise of a given SQNR is added to the float model's class scores on its evaluation data. What INT8 loses beyond that has
a cause of its own; what it loses within that, only a higher SQNR can win back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from model_zoo.case import Feeds, Outputs, onnx_runtime
from model_zoo.fetch import CASES

LEVELS_DB = (20.0, 22.0, 23.5, 25.0, 27.0, 30.0)
DRAWS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="efficientnet_lite0")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| seed | " + " | ".join(f"{level:g} dB" for level in LEVELS_DB) + " |")
    print("|---|" + "---|" * len(LEVELS_DB))
    for seed in range(arguments.seeds):
        cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in agreement(arguments.model, seed))
        print(f"| {seed} | " + " | ".join(cells) + " |")


def agreement(model: str, seed: int) -> list[tuple[float, float]]:
    """Share of decisions that stay at each level: mean and standard deviation over the draws."""
    case = CASES[model](seed=seed)
    run, seen = onnx_runtime(case.model), []

    def listening(feeds: Feeds) -> Outputs:
        outputs = run(feeds)
        seen.append(np.asarray(next(iter(outputs.values()))).reshape(-1))
        return outputs

    case.accuracy(listening)
    scores, random = np.array(seen), np.random.default_rng(0)
    chosen, strength = scores.argmax(axis=1), float(np.sqrt((scores**2).mean()))
    found = []
    for level in LEVELS_DB:
        noise = strength * 10 ** (-level / 20)
        stays = [(np.argmax(scores + random.normal(0, noise, scores.shape), 1) == chosen).mean() for _ in range(DRAWS)]
        found.append((float(np.mean(stays)), float(np.std(stays))))
    return found


if __name__ == "__main__":
    main()
