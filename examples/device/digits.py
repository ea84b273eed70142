"""An application on a device: names the digit in every array that is put into FOLDER/in, and takes up new versions.

    python3 digits.py SLOT FOLDER [--once]

It needs numpy, the engine, and no edgec: the runtime is in the artifact. While it works on what has arrived it holds
updates off; between two batches it looks whether another version runs now, and loads that.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np


def runtime(slot: Path):
    """The runtime that the version in the slot brings along."""
    links = (slot / name / "model.edgec" for name in ("current", "previous"))
    sys.path.insert(0, str(next(link for link in links if link.exists()).resolve()))
    import edgec_runtime

    return edgec_runtime


def work(edgec_runtime, slot: Path, folder: Path, once: bool) -> None:
    """Write NAME.txt for each NAME.npy, and `alive` after each batch: what the health command looks at."""
    model = edgec_runtime.load(slot)
    while True:
        if model.outdated():
            model = edgec_runtime.load(slot)
        with edgec_runtime.hold_updates(slot):
            for place in sorted((folder / "in").glob("*.npy")):
                (scores,) = model.run(np.load(place, allow_pickle=False)).values()
                place.with_suffix(".txt").write_text(f"{int(scores.argmax())}\n", encoding="ascii")
                place.unlink()
        release = model.source.release.get("sha256", "")
        (folder / "alive").write_text(f"{release}\n", encoding="ascii")
        if once:
            return
        time.sleep(1)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    work(runtime(place), place, Path(sys.argv[2]), "--once" in sys.argv)
