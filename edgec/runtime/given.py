"""What the user gives to `run` on the command line, as feeds for the model."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import preprocess
from .errors import InputError
from .model import TensorSpec

_ARRAYS = (".npy", ".npz")


def feeds_of(
    given: Sequence[str], inputs: Sequence[TensorSpec], recipe: Mapping[str, Any] | None
) -> list[dict[str, np.ndarray]]:
    """The feeds of all steps that the user's arguments stand for.

    given: files: .npy, .npz with an array for each input, an image, each optionally as NAME=FILE. An array may have
        one more axis in front than the input: its steps. Files without a name go to the inputs in their order; for a
        model with one input, each of several files is a step.
    inputs: the inputs that the user has to give.
    recipe: how images become input tensors; None when the artifact has no preprocessing.

    Raises InputError for what can't be read, does not fit, or is missing.
    """
    if len(inputs) == 1 and not any(argument.lower().endswith(".npz") for argument in given):
        (spec,) = inputs
        return [
            {spec.name: step}
            for argument in given
            for step in _steps(spec, _tensor(_without_name(argument, spec.name), spec, recipe), argument)
        ]
    arrays = _by_input(given, inputs, recipe)
    steps = {spec.name: _steps(spec, arrays[spec.name], spec.name) for spec in inputs}
    counts = {len(each) for each in steps.values()}
    if len(counts) > 1:
        raise InputError(
            "The inputs have different numbers of steps",
            "; ".join(f"{name}: {len(each)}" for name, each in steps.items()),
            "Give each input as many steps as the others.",
        )
    return [{name: each[index] for name, each in steps.items()} for index in range(counts.pop())]


def _by_input(
    given: Sequence[str], inputs: Sequence[TensorSpec], recipe: Mapping[str, Any] | None
) -> dict[str, np.ndarray]:
    """One array for each input."""
    named = {spec.name: spec for spec in inputs}
    arrays: dict[str, np.ndarray] = {}
    for argument in given:
        if argument.lower().endswith(".npz"):
            arrays.update(_archive(Path(argument), named, recipe))
            continue
        name = next((name for name in named if argument.startswith(f"{name}=")), None)
        if name is None:
            name = next((name for name in named if name not in arrays), None)
        if name is None:
            raise InputError(
                f"{argument} is one input too many",
                f"The model takes {'; '.join(map(str, inputs))}.",
                "Give one file for each input, as NAME=FILE.",
            )
        arrays[name] = _tensor(_without_name(argument, name), named[name], recipe)
    if missing := [spec for spec in inputs if spec.name not in arrays]:
        raise InputError(
            f"Nothing was given for the input {missing[0].name!r}",
            f"The model takes {'; '.join(map(str, inputs))}.",
            "Give a file for each: NAME=FILE, or one .npz with all of them by name.",
        )
    return arrays


def _without_name(argument: str, name: str) -> Path:
    return Path(argument[len(name) + 1 :] if argument.startswith(f"{name}=") else argument)


def _archive(path: Path, named: Mapping[str, TensorSpec], recipe: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """The arrays of an .npz; its names must be those of the inputs, unless there is one of each."""
    with _loaded(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if len(arrays) == len(named) == 1:
        arrays = dict(zip(named, arrays.values()))
    if unknown := sorted(set(arrays) - set(named)):
        raise InputError(
            f"{path} holds an array called {unknown[0]!r}",
            f"The model's inputs are {', '.join(named)}.",
            "Save the arrays under the names of the inputs.",
        )
    return {name: _normalized(array, recipe) for name, array in arrays.items()}


def _tensor(path: Path, spec: TensorSpec, recipe: Mapping[str, Any] | None) -> np.ndarray:
    """One file as an array, which may have its steps in front."""
    if path.suffix.lower() in _ARRAYS:
        return _normalized(np.asarray(_loaded(path)), recipe)
    if recipe is None or recipe["applies_to"] != "images":
        raise InputError(
            f"{path} is not an array",
            "This artifact has no preprocessing for images, so it takes .npy and .npz files.",
            "Give an array, or build the artifact with --preprocess RECIPE.",
        )
    return preprocess.image_tensor(recipe, path, spec.shape)


def _normalized(array: np.ndarray, recipe: Mapping[str, Any] | None) -> np.ndarray:
    """Arrays are what the model takes, unless the artifact has a recipe for arrays."""
    if recipe is None or recipe["applies_to"] != "arrays":
        return array
    return preprocess.array_tensor(recipe, array)


def _loaded(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} can't be read",
            f"{type(error).__name__}: {error}",
            "Save arrays with numpy.save or numpy.savez; objects and pickles are not read.",
        ) from error


def _steps(spec: TensorSpec, array: np.ndarray, source: str) -> list[np.ndarray]:
    """The steps of an array: itself, or the elements along one more axis in front."""
    if array.shape == spec.shape:
        return [array]
    if array.ndim == len(spec.shape) + 1 and array.shape[1:] == spec.shape and len(array):
        return list(array)
    raise InputError(
        f"{source} has the shape {array.shape}",
        f"The model takes {spec}, or several of these along one more axis in front.",
        "Give an array of that shape.",
    )
