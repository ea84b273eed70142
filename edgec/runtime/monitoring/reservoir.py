"""A folder of drifted inputs, drawn by chance and bounded in size: for `edgec build --calib FOLDER`."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..npz import write_npz

MOST_FILES = 500

_log = logging.getLogger("edgec.runtime")


class Reservoir:
    """Keeps inputs of runs, one .npz file each, with an array for each input by its name.

    Once the folder is full, each further one replaces a random one with the probability that makes all that were
    offered equally likely to be there (Vitter, Random Sampling with a Reservoir, 1985, algorithm R).
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._offered = self.kept
        self._broken = False
        self._random = random.Random()

    @property
    def kept(self) -> int:
        """The number of files."""
        return sum(1 for _ in self.folder.glob("drift-*.npz"))

    def offer(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Maybe keep the inputs of one run. A folder that can't be written is told of once, and left alone."""
        size = sum(array.nbytes for array in feeds.values()) + 512 * (len(feeds) + 1)
        room = min(MOST_FILES, self._most_bytes // size)
        place = self._offered if self._offered < room else self._random.randrange(self._offered + 1)
        self._offered += 1
        if place >= room or self._broken:
            return
        target = self.folder / f"drift-{place:03}.npz"
        part = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_npz(part, feeds)
            part.replace(target)
        except OSError as error:
            self._broken = True
            _log.warning("drifted inputs are not kept: %s can't be written (%s)", part, error.strerror)
