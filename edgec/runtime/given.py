"""What the user gives to `run` on the command line, as feeds for the model.

Arrays may have the shapes that calibration takes (docs/artifact.md): only axes of one may be missing, and one more axis
in front holds several samples, or the steps of a recurrent model.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import preprocess
from .errors import InputError
from .layouts import by_x, find_layout
from .model import TensorSpec

_ARRAYS = (".npy", ".npz")


class _Given(NamedTuple):
    """What was given for one input. where: names it in errors. array: None for an image, which `path` holds."""

    where: str
    path: Path
    array: np.ndarray | None


def feeds_of(
    given: Sequence[str],
    inputs: Sequence[TensorSpec],
    recipe: Mapping[str, Any] | None,
    notes: list[str],
    *,
    sequence: bool = False,
) -> list[dict[str, np.ndarray]]:
    """The feeds of all runs that the user's arguments stand for.

    given: files: .npy, .npz with an array for each input, an image, each optionally as NAME=FILE. Files without a name
        go to the inputs in their order; for a model with one input, each of several files is a run or more.
    inputs: the inputs that the user has to give.
    recipe: how images become input tensors; None when the artifact has no preprocessing.
    notes: gets what the user should hear about how the files were understood.
    sequence: the model is recurrent: an axis in front is time.

    Raises InputError for what can't be read, does not fit, is not finite, is missing, or is given twice.
    """
    names = [spec.name for spec in inputs]
    if len(inputs) == 1 and not any(argument.lower().endswith(".npz") for argument in given):
        (spec,) = inputs
        files = [_split(argument, names)[1] for argument in given]
        return [{spec.name: each} for file in files for each in _tensors(spec, _read(file), recipe, sequence)]
    found = _by_input(given, inputs, notes)
    runs = {spec.name: _tensors(spec, found[spec.name], recipe, sequence) for spec in inputs}
    count = max(map(len, runs.values()), default=1)
    for spec in inputs:
        if len(runs[spec.name]) == 1 and math.prod(spec.shape) == 1:
            runs[spec.name] *= count  # a single number, such as a sampling rate, holds for all
    if any(len(each) != count for each in runs.values()):
        raise InputError(
            f"The inputs have different numbers of {'steps' if sequence else 'samples'}",
            "; ".join(f"{name}: {len(each)}" for name, each in runs.items()),
            "Give each input as many as the others.",
        )
    return [{name: each[index] for name, each in runs.items()} for index in range(count)]


def _by_input(given: Sequence[str], inputs: Sequence[TensorSpec], notes: list[str]) -> dict[str, _Given]:
    """What is given for each input; nothing is given twice."""
    names = [spec.name for spec in inputs]
    takes = f"The model takes {'; '.join(map(str, inputs))}."
    found: dict[str, _Given] = {}
    for argument in given:
        name, path = _split(argument, names)
        if path.suffix.lower() == ".npz":
            members = _archive(path, names, name, notes)
        else:
            name = next((each for each in names if each not in found), None) if name is None else name
            if name is None:
                raise InputError(
                    f"{argument} is one input too many", takes, "Give one file for each input, as NAME=FILE."
                )
            members = {name: _read(path)}
        for key, member in members.items():
            if key in found:
                raise InputError(
                    f"The input {key!r} is given twice",
                    f"Once by {found[key].where}, once by {member.where}.",
                    "Leave one of them out.",
                )
            found[key] = member
    if missing := [name for name in names if name not in found]:
        raise InputError(
            f"Nothing was given for the input {missing[0]!r}",
            takes,
            "Give a file for each: NAME=FILE, or one .npz with all of them by name.",
        )
    return found


def _split(argument: str, names: Sequence[str]) -> tuple[str | None, Path]:
    """The name and the file of NAME=FILE; only names of inputs count, for a path may hold the sign too."""
    for name in names:
        if argument.startswith(f"{name}="):
            return name, Path(argument[len(name) + 1 :])
    return None, Path(argument)


def _archive(path: Path, names: Sequence[str], name: str | None, notes: list[str]) -> dict[str, _Given]:
    """The arrays of an .npz for the inputs `names`; for the input `name` alone, where the user says so.

    An archive's names must be those of the inputs. Where one array stands against one input it is taken, and said so.
    """
    arrays = _loaded(path)
    wanted = list(names) if name is None else [name]
    if len(wanted) == len(arrays) == 1 and wanted[0] not in arrays:
        (key,) = arrays
        notes.append(f"{path}: its only array, {key!r}, is taken for the input {wanted[0]!r}")
        return {wanted[0]: _Given(f"{path}, array {key!r},", path, arrays[key])}
    unknown = sorted(set(arrays) - set(names))
    if (unknown and name is None) or not set(arrays) & set(wanted):
        raise InputError(
            f"{path} holds an array called {unknown[0]!r}" if unknown else f"{path} has no array for {wanted[0]!r}",
            f"It holds {', '.join(arrays) or 'no arrays'}; the model's inputs are {', '.join(names)}.",
            "Save the arrays under the names of the inputs, and nothing else.",
        )
    return {key: _Given(f"{path}, array {key!r},", path, arrays[key]) for key in wanted if key in arrays}


def _read(path: Path) -> _Given:
    """One .npy, or an image, which is decoded later."""
    if path.suffix.lower() in _ARRAYS:
        arrays = _loaded(path)
        if len(arrays) != 1:
            raise InputError(f"{path} holds {len(arrays)} arrays", "It is an .npz by its content.", "Call it .npz.")
        return _Given(str(path), path, next(iter(arrays.values())))
    _check_is_there(path)
    return _Given(str(path), path, None)


def _loaded(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; the one of an .npy under an empty name."""
    _check_is_there(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} can't be read",
            f"{type(error).__name__}: {error}",
            "Save arrays with numpy.save or numpy.savez; objects and pickles are not read.",
        ) from error


def _check_is_there(path: Path) -> None:
    if not path.exists():
        raise InputError(
            f"There is no {path}",
            f"The system finds nothing at {Path.cwd() / path}.",
            "Check the path." + (" In NAME=FILE, the name has to be that of an input." if "=" in str(path) else ""),
        )


def _tensors(spec: TensorSpec, given: _Given, recipe: Mapping[str, Any] | None, sequence: bool) -> list[np.ndarray]:
    """What was given for one input, as the model takes it: one array of the input's shape for each run."""
    for_images = recipe is not None and recipe["applies_to"] == "images"
    array = given.array
    if array is None:
        if recipe is None or not for_images:
            raise InputError(
                f"{given.where} is not an array",
                "This artifact has no preprocessing for images, so it takes .npy and .npz files.",
                "Give an array, or build the artifact with --preprocess RECIPE.",
            )
        return _in_batches(spec, recipe, [preprocess.image_tensor(recipe, given.path, spec.shape)], given.where)
    if recipe is not None and for_images and _layout(recipe, spec) is not None and array.dtype == np.uint8:
        ready = spec.dtype == "uint8" and array.shape == spec.shape
        if not ready:
            pictures = _pictures(array, given.where)
            tensors = [preprocess.image_tensor(recipe, each, spec.shape) for each in pictures]
            return _in_batches(spec, recipe, tensors, given.where)
    _check_finite(array, given.where)
    runs = _runs(spec, array, given.where, sequence)
    if recipe is not None and not for_images and spec.dtype.startswith("float"):
        return [preprocess.array_tensor(recipe, each) for each in runs]
    return runs


def _layout(recipe: Mapping[str, Any], spec: TensorSpec) -> str | None:
    return find_layout(recipe["layout"], 1 if recipe["color"] == "GRAY" else 3, spec.shape)


def _pictures(array: np.ndarray, where: str) -> list[np.ndarray]:
    """The images in an array of pixels: H x W, H x W x C, N x H x W or N x H x W x C."""
    with_channels = array.ndim in (3, 4) and array.shape[-1] in (1, 3, 4)
    axes = array.ndim - with_channels
    channels_first = not with_channels and array.ndim in (3, 4) and array.shape[-3] in (1, 3, 4)
    if axes not in (2, 3) or channels_first or not array.size:
        raise InputError(
            f"{where} is not an array of images",
            f"It is uint8 of the shape {by_x(array.shape)}, so it would go through the artifact's recipe for images; "
            "those are height x width, or height x width x 3 in RGB order, with one more axis in front for several.",
            f"Transpose it: x.transpose({'1, 2, 0' if array.ndim == 3 else '0, 2, 3, 1'})."
            if channels_first
            else "Give image files, or arrays of that shape, or floats that are ready for the model.",
        )
    return [array] if axes == 2 else list(array)


def _in_batches(spec: TensorSpec, recipe: Mapping[str, Any], tensors: list[np.ndarray], where: str) -> list[np.ndarray]:
    """Tensors of one image each, as many together as the model takes at once."""
    batch = spec.shape[0] if (_layout(recipe, spec) or "").startswith("N") else 1
    if batch == 1:
        return tensors
    if len(tensors) % batch:
        raise InputError(
            f"{where} holds {len(tensors)} image{'s' if len(tensors) > 1 else ''}",
            f"The model takes {batch} at once: {spec}.",
            f"Give one uint8 array of {batch} images ({batch} x height x width x 3), or build the model with a batch "
            "of 1 (--shape NAME=1x...).",
        )
    return [np.concatenate(tensors[start : start + batch]) for start in range(0, len(tensors), batch)]


def _check_finite(array: np.ndarray, where: str) -> None:
    if array.dtype.kind not in "fc":
        return
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"{where} holds values that are not finite",
            f"The first is {array[first]} at index {list(first)}; {int(wrong.sum())} of {array.size} in all.",
            "Find out where NaN or infinity comes from. A model that is meant to take them can be run from Python.",
        )


def _runs(spec: TensorSpec, array: np.ndarray, where: str, sequence: bool) -> list[np.ndarray]:
    """An array as tensors of the input's shape: itself, or the elements along one more axis in front.

    The input's leading axis of one may be missing; where the model is not recurrent, so may other axes of one in a
    tensor of three axes and more.
    """
    whole = spec.shape
    forms = [whole, whole[1:]] if whole[:1] == (1,) else [whole]
    if array.shape in forms:
        return [array.reshape(whole)]
    if array.ndim and len(array) and array.shape[1:] in forms:
        return [np.asarray(each).reshape(whole) for each in array]
    if len(whole) >= 3 and whole[0] == 1 and not sequence:
        core = _without_ones(whole)
        if _without_ones(array.shape) == core:
            return [array.reshape(whole)]
        if array.ndim > 1 and len(array) and _without_ones(array.shape[1:]) == core:
            return [each.reshape(whole) for each in array]
    raise InputError(
        f"{where} has the shape {by_x(array.shape)}",
        f"The model takes {spec}, or several of these along one more axis in front.",
        "Give an array of that shape.",
    )


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
