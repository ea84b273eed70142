"""Magika: what type is this file? 2048 bytes as int32 in, 214 types out. Google, Apache-2.0.

The files to calibrate on and to judge by are taken from pinned packages, so that everyone has the same ones. Their type
is known from their name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np

from . import packages
from .case import Case, Example, Outputs, same_top1
from .packages import SCIKIT_LEARN, Package, product, publishing, unpack
from .photos import FOOLBOX, SCIKIT_IMAGE
from .speech import RECORDINGS

MAGIKA = Package(
    "pypi",
    "magika",
    "1.0.3",
    "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
    ("magika/models/standard_v3_3/*",),
    "Apache-2.0",
)
MATPLOTLIB = Package(
    "pypi",
    "matplotlib",
    "3.11.2",
    "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
    ("*.ttf", "*.svg", "*.pdf", "*.png", "*.css", "*.js", "*.html", "*.npz", "matplotlib/*.py"),
    "Matplotlib's (PSF-like); fonts: Bitstream Vera's",
)
DJANGO = Package(
    "pypi",
    "django",
    "5.2.19",
    "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
    ("*.html", "*.js", "*.css", "*.svg", "*.po", "*.txt"),
    "BSD-3-Clause",
)
ANSIBLE = Package(
    "pypi",
    "ansible-core",
    "2.19.14",
    "d518d0e96fa75bedfe9b0a96d5b158aa712d092961824c115140c8677b88ff06",
    ("*.yml", "*.ps1", "*.json", "*.md", "*.txt", "*.sh"),
    "GPL-3.0-or-later",
)
NODE_TYPES = Package(
    "npm",
    "@types/node",
    "22.10.0",
    "c12d2931a9099ecb33131635578e942246d72df914646e1a54ae0ec6bdff84e0",
    ("*.ts", "*.json", "*.md"),
    "MIT",
)
_TYPES = {
    ".c": "c",
    ".cpp": "cpp",
    ".css": "css",
    ".csv": "csv",
    ".gz": "gzip",
    ".html": "html",
    ".jpg": "jpeg",
    ".js": "javascript",
    ".json": "json",
    ".md": "markdown",
    ".npz": "npz",
    ".pdf": "pdf",
    ".png": "png",
    ".ps1": "powershell",
    ".py": "python",
    ".rst": "rst",
    ".sh": "shell",
    ".so": "elf",
    ".svg": "svg",
    ".ts": "typescript",
    ".ttf": "ttf",
    ".txt": "txt",
    ".wav": "wav",
    ".yml": "yaml",
}
_SMALLEST = 300  # bytes; less says too little about a type
_MOST = 24  # files of one type


def case(seed: int = 0) -> Case:
    """Files of each type are shuffled and dealt in turn: one to the calibration, two to the test."""
    return Case(
        name="magika",
        model=unpack(MAGIKA) / "magika/models/standard_v3_3/model.onnx",
        calibration=_calibration(seed),
        recipe=None,
        examples=lambda: _examples(seed),
        score=_score,
        compare=same_top1("target_label"),
        shapes={"bytes": (1, 2048)},
        seed=seed,
    )


def features(content: bytes) -> np.ndarray:
    """int32 [1, 2048]: the first 1024 bytes without leading white space, the last 1024 without trailing; 256 pads."""
    config = _config()
    block, padding = config["block_size"], config["padding_token"]
    head = list(content[:block].lstrip()[: config["beg_size"]])
    tail = list(content[-block:].rstrip()[-config["end_size"] :])
    head += [padding] * (config["beg_size"] - len(head))
    tail = [padding] * (config["end_size"] - len(tail)) + tail
    return np.array([head + tail], np.int32)


@remember
def _files(seed: int) -> list[tuple[Path, str]]:
    """(file, type), by type; the same on every machine. The seed draws and shuffles the files of a type."""
    found: dict[str, list[Path]] = {kind: [] for kind in _TYPES.values()}
    seen: set[bytes] = set()
    for package in (SCIKIT_LEARN, SCIKIT_IMAGE, MATPLOTLIB, FOOLBOX, RECORDINGS, DJANGO, ANSIBLE, NODE_TYPES):
        folder = unpack(package)
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            kind = _TYPES.get(path.suffix)
            if kind and path.is_file() and path.stat().st_size > _SMALLEST:
                content = features(path.read_bytes()).tobytes()
                if content not in seen:  # what looks the same to the model counts once
                    seen.add(content)
                    found[kind].append(path)
    rng = np.random.default_rng(seed)
    drawn = {kind: rng.permutation(len(paths))[:_MOST] for kind, paths in found.items()}
    return [(found[kind][index], kind) for kind, indices in drawn.items() for index in indices]


def _calibration(seed: int) -> Path:
    folder = product(f"magika-features-{seed}", __file__, packages.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            for index, (path, kind) in enumerate(_files(seed)):
                if index % 3 == 0:
                    np.save(partial / f"{index:03}_{kind}.npy", features(path.read_bytes()))
    return folder


def _examples(seed: int) -> Iterator[Example]:
    for index, (path, kind) in enumerate(_files(seed)):
        if index % 3:
            yield Example(path.name, ({"bytes": features(path.read_bytes())},), kind)


def _score(results: Sequence[tuple[list[Outputs], Any]]) -> float:
    labels = _config()["target_labels_space"]
    return float(np.mean([labels[outputs[0]["target_label"].argmax()] == kind for outputs, kind in results]))


@remember
def _config() -> dict[str, Any]:
    (path,) = unpack(MAGIKA).rglob("config.min.json")
    return dict(json.loads(path.read_text()))
