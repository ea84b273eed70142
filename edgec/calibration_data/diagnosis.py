"""What the model really saw: statistics of the very tensors that it was given, and what is suspicious about them.

Wrong preprocessing does not stop a calibration: it ruins it. The checks here look for the mistakes that people make:
pixels that were not scaled, or scaled twice; BGR for RGB; a reshape where a transpose was meant; one sample many times.
A check only speaks when the evidence is strong, because a warning that is usually wrong is not read.

Memory does not grow with the number of samples, but for a digest each (about 100 bytes) to find duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgec.calibration_data.channel_statistics import ChannelStatistics, Histogram
from edgec.calibration_data.image_checks import ImageChecks
from edgec.calibration_data.model_hints import PixelRange
from edgec.contract import Contract, TensorSpec
from edgec.errors import CalibrationDataError
from edgec.runtime.layouts import find_layout, height_and_width
from edgec.samples import Feeds

FEW_SAMPLES = 16
"""Below this many samples a range is mostly luck."""

ABSURD = 1e6
"""Inputs beyond this were hardly meant: eight bits would hold nothing of the values that were."""

_MANY = 0.1  # the share of samples from which a finding about them is worth a warning
_NARROW = 0.15  # an image set that uses less of the 256 levels than this was probably stored on another scale
_MOST_CHANNELS = 64


class InputDiagnosis:
    """Statistics and warnings over the samples of a calibration, in one pass.

    An input that no sample brings (the state of a recurrent model) is not judged; repeated steps are normal then.

    recipe: as CalibrationRecipe.to_json() gives it, or None for arrays that were taken as they are.
    pixel_ranges: what the model itself says about the range of its inputs (edgec.calibration_data.model_hints).
    synthetic: the samples are random numbers, so their number is not worth a warning.
    """

    def __init__(
        self,
        contract: Contract,
        recipe: Mapping[str, Any] | None = None,
        *,
        pixel_ranges: Mapping[str, PixelRange] | None = None,
        synthetic: bool = False,
    ) -> None:
        self._synthetic = synthetic
        self._all = [_Input(spec, recipe, (pixel_ranges or {}).get(spec.name)) for spec in contract.inputs]
        self._samples = 0
        self._seen: set[bytes] = set()
        self._duplicates = 0

    def add(self, feeds: Feeds) -> None:
        """Take one step of a sample into account, without states.

        Raises CalibrationDataError for values that are not finite.
        """
        digest = hashlib.blake2b(digest_size=16)
        for entry in self._all:
            if entry.spec.name in feeds:
                tensor = np.ascontiguousarray(feeds[entry.spec.name])
                digest.update(tensor.tobytes())
                entry.add(tensor)
        self._samples += 1
        if digest.digest() in self._seen:
            self._duplicates += 1
        self._seen.add(digest.digest())

    def finish(self) -> dict[str, Any]:
        """{"samples", "duplicates", "inputs": [statistics of each input], "warnings": [sentences]}, ready for JSON.

        Raises CalibrationDataError when there were no samples, or when no input ever varied.
        """
        if not self._samples:
            raise CalibrationDataError(
                "There are no samples to calibrate on", "None were given.", "Give data: --calib."
            )
        inputs = [entry for entry in self._all if entry.samples]
        varying = [entry for entry in inputs if entry.varies]
        if not varying and (self._samples > 1 or any(entry.spec_size > 1 for entry in inputs)):
            values = ", ".join(f"{entry.spec.name!r}: {entry.total.minimum[0]:g}" for entry in inputs)
            raise CalibrationDataError(
                "The calibration data is constant",
                f"All elements of all inputs are the same within every sample (first values: {values}).",
                "Check how the data is prepared: blank images, a scale of 0, numbers cut to whole ones.",
            )
        warnings = self._general_warnings(recurrent=len(inputs) < len(self._all))
        for entry in inputs:
            warnings += entry.warnings(others_vary=any(other is not entry for other in varying))
        return {
            "samples": self._samples,
            "duplicates": self._duplicates,
            "inputs": [entry.to_json() for entry in inputs],
            "warnings": warnings,
        }

    def _general_warnings(self, recurrent: bool) -> list[str]:
        warnings = []
        if self._samples < FEW_SAMPLES and not self._synthetic:
            warnings.append(
                f"Only {self._samples} sample{'s' if self._samples != 1 else ''} to calibrate on: ranges may be too "
                "narrow for other data. 100 to 500 that are typical of the later use are better."
            )
        if self._samples > 1 and not recurrent and self._duplicates >= max(1, _MANY * self._samples):
            warnings.append(
                f"{self._duplicates} of {self._samples} samples are copies of others: they add nothing to the ranges."
            )
        return warnings


class _Input:
    """One input over all samples."""

    def __init__(self, spec: TensorSpec, recipe: Mapping[str, Any] | None, hint: PixelRange | None) -> None:
        self.spec = spec
        self.spec_size = int(np.prod(spec.shape))
        self._recipe = _applying(recipe, spec)
        self._hint = hint
        self.layout = image_layout(spec, recipe)
        self.total = ChannelStatistics(1)
        self._histogram = Histogram()
        self._axis: int | None = None
        if self.layout is not None and "C" in self.layout:
            self._axis = self.layout.index("C")
        elif self.layout is None and len(spec.shape) == 2 and 1 < spec.shape[-1] <= _MOST_CHANNELS:
            self._axis = -1
        self._channels = None if self._axis is None else ChannelStatistics(spec.shape[self._axis])
        self._constant = 0
        self.samples = 0
        self._fractions = False
        decoded = self._recipe is not None and self._recipe["applies_to"] == "images"
        self._image = None if self.layout is None or decoded else ImageChecks(spec, self.layout)

    @property
    def varies(self) -> bool:
        """Whether elements differ within a sample; for inputs of one element, between samples."""
        if self.spec_size == 1:
            return bool(self.total.minimum[0] != self.total.maximum[0])
        return self._constant < self.samples

    def add(self, tensor: np.ndarray) -> None:
        values = tensor.astype(np.float64).reshape(-1)
        if not np.isfinite(values).all():
            raise CalibrationDataError(
                f"A sample holds values that are not finite for the input {self.spec.name!r}",
                f"{int((~np.isfinite(values)).sum())} of {values.size} are NaN or infinite.",
                "Find out where they come from in the preparation of the data.",
            )
        self.samples += 1
        self.total.add(values[:, None])
        self._histogram.add(values)
        if self._channels is not None and self._axis is not None:
            channels = np.moveaxis(values.reshape(tensor.shape), self._axis, -1)
            self._channels.add(channels.reshape(-1, self._channels.mean.size))
        self._constant += bool(values.size and values.min() == values.max())
        self._fractions = self._fractions or bool((values != np.rint(values)).any())
        if self._image is not None:
            self._image.add(values.reshape(tensor.shape))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.spec.name,
            "dtype": self.spec.dtype,
            "shape": list(self.spec.shape),
            "layout": self.layout,
            **self.total.to_json()[0],
            "channels": None if self._channels is None else self._channels.to_json(),
            "constant_samples": self._constant,
            "histogram": self._histogram.to_json(),
        }

    def warnings(self, others_vary: bool) -> list[str]:
        if self.spec.dtype.startswith("float") and self.spec_size > 1:
            found = [*self._range_warnings(), *self._constant_warnings(others_vary)]
        else:
            found = []
        if self._image is not None:
            found += self._image.warnings()
        return [f"Input {self.spec.name!r}: {text}" for text in found]

    def _constant_warnings(self, others_vary: bool) -> list[str]:
        if self._constant == self.samples and others_vary:
            return ["it is constant within every sample, so its range is not learned from real data."]
        found = []
        if self._constant >= max(1, _MANY * self.samples):
            found.append(f"{self._constant} of {self.samples} samples are constant (blank).")
        if self._channels is not None and self._constant < self.samples:
            dead = np.flatnonzero(self._channels.minimum == self._channels.maximum)
            if dead.size:
                listed = ", ".join(map(str, dead[:8])) + (", ..." if dead.size > 8 else "")
                found.append(f"channel {listed} never changes, while others do. Is it filled in?")
        return found

    def _range_warnings(self) -> list[str]:
        low, high = float(self.total.minimum[0]), float(self.total.maximum[0])
        seen = f"it was given values from {low:.4g} to {high:.4g}"
        hint, recipe = self._hint, self._recipe
        if max(abs(low), abs(high)) > ABSURD:
            return [
                f"{seen}: an absurd magnitude for a network. Look for a missing scale, raw counters, or fill values "
                "that stand for missing data."
            ]
        if hint is not None and hint.high >= 64 and max(abs(low), abs(high)) <= 4:
            return [
                f"{seen}, but {hint.reason}, so it seems to want 0 to 255. It may be scaled twice: try a recipe that "
                "leaves pixels as they are (--preprocess pixels)."
            ]
        if hint is not None and hint.high <= 4 and high > 16:
            return [f"{seen}, but {hint.reason}, so it seems to want about {hint.low:g} to {hint.high:g}."]
        if recipe is not None:
            return self._stored_scale_warnings(recipe)
        pixels = self.layout is not None and low >= 0 and 32 < high <= 255
        if pixels and (hint is None or hint.high < 64):
            kind = "values" if self._fractions else "whole values"
            return [
                f"{seen}, all {kind} on the scale of raw pixels. Most networks want 0..1 or normalized values; if this "
                "one does, scale the arrays, or give images and a recipe (--preprocess)."
            ]
        return []

    def _stored_scale_warnings(self, recipe: Mapping[str, Any]) -> list[str]:
        """Pixels that use only a small part of 0..255: files stored on another scale, or arrays scaled before."""
        rule = recipe["normalize"]
        if recipe["applies_to"] == "arrays" and not 1 / 300 < rule["scale"] < 1 / 200:
            return []  # not pixels
        statistics = self._channels or self.total
        mean, std = np.asarray(rule["mean"]), np.asarray(rule["std"])
        lows, highs = ((bound * std + mean) / rule["scale"] for bound in (statistics.minimum, statistics.maximum))
        low, high = float(np.min(np.minimum(lows, highs))), float(np.max(np.maximum(lows, highs)))
        if high - low >= _NARROW * 255 or self._constant == self.samples:
            return []
        return [
            f"before normalization its values lie between {low:.1f} and {high:.1f}, on a scale of 0 to 255. "
            "If they are stored on another scale (0..1, 0..16), bring them to 0..255, or change the recipe's scale."
        ]


def image_layout(spec: TensorSpec, recipe: Mapping[str, Any] | None) -> str | None:
    """The layout of an input that holds images (1 or 3 channels, at least 8x8), else None."""
    if spec.dtype not in ("float32", "float16", "float64", "uint8", "int8"):
        return None
    if recipe is not None and recipe["applies_to"] == "images":
        layout = find_layout(recipe["layout"], 1 if recipe["color"] == "GRAY" else 3, spec.shape)
    elif len(spec.shape) == 4:
        layout = find_layout("auto", 3, spec.shape) or find_layout("auto", 1, spec.shape)
    else:
        return None
    return layout if layout is not None and min(height_and_width(layout, spec.shape)) >= 8 else None


def _applying(recipe: Mapping[str, Any] | None, spec: TensorSpec) -> Mapping[str, Any] | None:
    """The recipe, where it made this input."""
    if recipe is None:
        return None
    if recipe["applies_to"] == "images":
        return recipe if image_layout(spec, recipe) is not None else None
    return recipe if spec.dtype.startswith("float") else None
