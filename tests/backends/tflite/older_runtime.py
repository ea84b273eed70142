"""tflite-runtime 2.14.0, the last of its kind and the one of older and of 32-bit devices, in an environment of its own.

Its metadata allows any numpy, but it was compiled for numpy 1: beside numpy 2 an Interpreter can be imported and not
be made. So files are run in another process, by `run_files.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))

from model_zoo.environments import environment

REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2")
_SCRIPT = Path(__file__).with_name("run_files.py")

Arrays = dict[str, np.ndarray]


def older_runtime() -> Path:
    """Its interpreter. Raises model_zoo.packages.Unavailable where it can't be installed."""
    return environment("tflite-runtime", REQUIREMENTS)


def run_files(python: Path | str, folder: Path, files: Mapping[str, tuple[bytes, Arrays]]) -> dict[str, Arrays | str]:
    """Run .tflite files once each, one thread: their outputs as they are stored, by the names of the signature.

    files: bytes and inputs (by the signature's names) of each. What the interpreter says of a file that it refuses
    stands in the place of outputs; so does the fact that it crashed.
    """
    folder.mkdir(parents=True)
    for number, (content, inputs) in enumerate(files.values()):
        (folder / f"{number}.tflite").write_bytes(content)
        np.savez(folder / f"{number}-inputs.npz", **{f"_{name}": value for name, value in inputs.items()})
    while waiting := _without_result(folder, len(files)):
        done = subprocess.run([str(python), str(_SCRIPT), str(folder)], capture_output=True, text=True, check=False)
        after = _without_result(folder, len(files))
        if after:  # it runs them in order, so the first one is what it died of
            said = " ".join(done.stderr.split())[-300:]
            assert done.returncode < 0 or after != waiting, said
            (folder / f"{after[0]}-refusal.txt").write_text(f"it died ({done.returncode}): {said}", encoding="utf-8")
    return {name: _result(folder, number) for number, name in enumerate(files)}


def _without_result(folder: Path, count: int) -> list[int]:
    return [n for n in range(count) if not any((folder / f"{n}-{what}").exists() for what in _RESULTS)]


_RESULTS = ("outputs.npz", "refusal.txt")


def _result(folder: Path, number: int) -> Arrays | str:
    refusal = folder / f"{number}-refusal.txt"
    if refusal.exists():
        return refusal.read_text(encoding="utf-8")
    with np.load(folder / f"{number}-outputs.npz") as stored:
        return {key[1:]: stored[key] for key in stored.files}
