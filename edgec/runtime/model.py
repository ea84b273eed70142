"""A model that runs: an artifact's payload in its engine, and the checks on what goes in."""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .device import check_device
from .engine_packages import numbers, packages_for, pip_install
from .engines import Engine, open_engine
from .errors import EngineMissing, InputError
from .layouts import by_x
from .loading import Refusal, Source

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `dtype` is numpy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {by_x(self.shape)}"


@dataclass(frozen=True, repr=False)
class Model:
    """An artifact, ready to run.

    state: output name to input name, for a recurrent model: what one step hands to the next.
    bundle: what it was loaded from.
    source: where that was found, for a model that `edgec.runtime.load` found.
    fallbacks: what was to be loaded rather, and why it was not.
    """

    manifest: Mapping[str, Any]
    engine: Engine
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: Mapping[str, str]
    bundle: Bundle
    source: Source | None = None
    fallbacks: tuple[Refusal, ...] = ()

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, each)) for each in (self.inputs, self.outputs))
        what = " ".join(self.manifest[key] for key in ("precision", "name"))
        return f"<edgec model: {what} for {self.manifest['target']}; {takes} -> {gives}>"

    @classmethod
    def load(cls, path: str | os.PathLike[str] | Bundle, threads: int | None = None) -> Model:
        """See `edgec.runtime.load`; `path` may also be a bundle that is open."""
        bundle = path if isinstance(path, Bundle) else Bundle.open(Path(path))
        manifest = bundle.manifest
        for text in (*check_device(manifest), *check_engine(manifest["engine"])):
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        needed = manifest["engine"]
        chosen = manifest["threads"] if threads is None else threads
        engine = open_engine(needed["name"], bundle.payload(), needed["options"], chosen)
        inputs, outputs = specs(manifest["inputs"]), specs(manifest["outputs"])
        return cls(manifest, engine, inputs, outputs, dict(manifest["state"]), bundle)

    def outdated(self) -> bool:
        """Whether another file is now where this model was asked for: a new version was switched in, or the artifact
        was replaced. Costs one look at the file system; `edgec.runtime.load` of the same path loads what is there."""
        return self.source is not None and self.source.changed()

    def run(self, feeds: Feeds | np.ndarray) -> dict[str, np.ndarray]:
        """Run once. A bare array is taken as the model's only input; a state that is not given starts as zeros.

        Arrays of another dtype are converted where no kind of number is lost (float64 to float32, int32 to int64).
        Raises InputError for anything that does not fit the contract.
        """
        outputs = self.engine.run(self.complete(feeds))
        return {spec.name: outputs[spec.name] for spec in self.outputs}

    def run_sequence(
        self, steps: Iterable[Feeds | np.ndarray], run: Callable[[Feeds], dict[str, np.ndarray]] | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """Run the steps of one sequence in order, each with the state that the one before left. run: instead of the
        model's own."""
        carried: dict[str, np.ndarray] = {}
        for step in steps:
            outputs = (run or self.run)({**carried, **self._named(step)})
            carried = {into: outputs[source] for source, into in self.state.items()}
            yield outputs

    @property
    def free_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the caller gives: all but the state."""
        return tuple(spec for spec in self.inputs if spec.name not in self.state.values())

    def _named(self, feeds: Feeds | np.ndarray) -> Feeds:
        if isinstance(feeds, Mapping):
            return feeds
        if len(self.free_inputs) != 1:
            raise InputError(
                "One array was given to a model with several inputs",
                f"It takes {'; '.join(map(str, self.free_inputs))}.",
                "Give a dictionary: input name to array.",
            )
        return {self.free_inputs[0].name: feeds}

    def complete(self, feeds: Feeds | np.ndarray) -> dict[str, np.ndarray]:
        """All inputs by name, as the engine takes them: what `run` makes of its argument. Raises InputError."""
        named = self._named(feeds)
        complete = {}
        for spec in self.inputs:
            if spec.name in named:
                complete[spec.name] = fitted(spec, named[spec.name])
            elif spec.name in self.state.values():
                complete[spec.name] = np.zeros(spec.shape, spec.dtype)
            else:
                raise InputError(
                    f"Input {spec.name!r} was not given",
                    f"The model takes {'; '.join(map(str, self.free_inputs))}.",
                    "Give all of them.",
                )
        if unknown := [name for name in named if name not in complete]:
            raise InputError(
                f"The model has no input {unknown[0]!r}",
                f"It takes {'; '.join(map(str, self.inputs))}.",
                "Use those names.",
            )
        return complete


def specs(items: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs, as the manifest lists them."""
    return tuple(TensorSpec(item["name"], item["dtype"], tuple(item["shape"])) for item in items)


def fitted(spec: TensorSpec, value: Any) -> np.ndarray:
    """`value` as the array that an input takes. Raises InputError when shape or kind of number differ."""
    array = np.asarray(value)
    if array.shape == spec.shape and array.dtype == spec.numpy_dtype:
        return array
    if array.shape != spec.shape:
        raise InputError(
            f"Input {spec.name!r} was given the shape {by_x(array.shape)}",
            f"The model takes {spec}; shapes are fixed when an artifact is built.",
            "Give an array of that shape, or build the artifact with another --shape.",
        )
    if not np.can_cast(array.dtype, spec.numpy_dtype, "same_kind"):
        raise InputError(
            f"Input {spec.name!r} was given {array.dtype}",
            f"The model takes {spec}; a conversion would lose what the numbers mean.",
            f"Convert it yourself: array.astype({spec.dtype!r}).",
        )
    return array.astype(spec.numpy_dtype)


def check_engine(needed: Mapping[str, Any]) -> list[str]:
    """Whether the engine's package, or another one that does as well, is there; returns a warning when it is older
    than the artifact wants.

    Raises EngineMissing when none is installed.
    """
    least = packages_for(needed)
    if not least:
        return []  # the payload is its own engine
    for distribution, minimum in least.items():
        try:
            installed = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        if numbers(installed) < numbers(minimum):
            install = pip_install(distribution, minimum)
            return [f"{distribution} {installed} is older than {minimum}, which the artifact was made with. {install}"]
        return []
    choices = " or ".join(f"{name} {minimum}" for name, minimum in least.items())
    raise EngineMissing(
        f"The engine {needed['name']} is not installed",
        f"The artifact runs in {choices} or later, and this Python has none.",
        f"Install it: {pip_install(*next(iter(least.items())))}",
    )
