"""Looking into a .tflite file while LiteRT runs it: its tensors, by the names that they have in the ONNX model.

A tensor is called as in the model, or NAME/nhwc or the like where its dimensions are in another order; inputs and
outputs keep their names, and the engine's options tell their order. Integers are given as the real numbers that they
stand for, by the tensor's own scale and zero point.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.inspection import Wanted, Watched
from edgec.ir.passes.layout.orders import Order, identity, inverse, order_name, permuted
from edgec.runtime.engines.tflite import TFLiteEngine, borders

CAVEAT = (
    "LiteRT was asked to keep every tensor, so it hands XNNPACK one operator at a time: these are the kernels of the "
    "artifact. A layer that is said to be in another one has no tensor of its own in the payload."
)
AS_SHIPPED = True
AT_ONCE = 4096


@dataclass(frozen=True)
class _Place:
    """Where a tensor of the model is in the file. order: dimension i there is dimension order[i] of `shape`."""

    index: int
    shape: tuple[int, ...]
    order: Order
    scale: float | None
    zero_point: int

    def read(self, stored: np.ndarray) -> np.ndarray:
        """As float32 (or truth values as they are), in the model's order."""
        value = stored
        if self.scale is not None:
            value = (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return np.ascontiguousarray(value.reshape(permuted(self.shape, self.order)).transpose(inverse(self.order)))


class _Values(Mapping[str, np.ndarray]):
    """Values that are read when they are asked for: only some of them are in float at a time."""

    def __init__(self, interpreter: Any, places: Mapping[str, _Place]) -> None:
        self._interpreter, self._places = interpreter, places

    def __getitem__(self, name: str) -> np.ndarray:
        place = self._places[name]
        return place.read(self._interpreter.get_tensor(place.index))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def watch(folder: Path, options: Mapping[str, Any], wanted: Sequence[Wanted]) -> Watched:
    """Load the file in `folder` so that it keeps all its tensors."""
    from ai_edge_litert.interpreter import Interpreter

    (file,) = folder.glob("*.tflite")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors.*")
        interpreter = Interpreter(model_path=str(file), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    tensors = {str(item["name"]): item for item in interpreter.get_tensor_details() if item["name"]}
    border = {item["name"]: item for side in ("inputs", "outputs") for item in options[side]}
    places = {item.name: place for item in wanted if (place := _place(item, tensors, border)) is not None}
    inputs = borders(options["inputs"], interpreter.get_input_details())
    engine = TFLiteEngine(interpreter, inputs, borders(options["outputs"], interpreter.get_output_details()), "")

    def run(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        engine.run(feeds)
        return _Values(interpreter, places)

    steps = {name: place.scale for name, place in places.items() if place.scale is not None}
    return Watched(tuple(places), run, steps)


def _place(wanted: Wanted, tensors: Mapping[str, Any], border: Mapping[str, Any]) -> _Place | None:
    """Where the tensor is; None when the file has none of that name that could hold it."""
    rank = len(wanted.shape)
    on_border = border.get(wanted.name)
    if on_border is not None:
        names = [(on_border["index_name"], tuple(on_border["permutation"] or identity(rank)))]
    else:
        orders = permutations(range(rank)) if rank <= _RANKS else iter([identity(rank)])
        names = [(wanted.name, identity(rank))]
        names += [(f"{wanted.name}/{order_name(order)}", order) for order in orders if order != identity(rank)]
        if rank == 3:  # a sequence, as an image of one row
            names += [(f"{wanted.name}/nlc", (0, 2, 1)), (f"{wanted.name}/nhwc", (0, 2, 1))]
    for name, order in names:
        found = tensors.get(name)
        if found is None or not _holds(tuple(found["shape"]), permuted(wanted.shape, order)):
            continue
        scales, points = (found["quantization_parameters"][key] for key in ("scales", "zero_points"))
        if len(scales) > 1 or (len(scales) == 0 and (wanted.integers or found["dtype"] != np.float32)):
            continue
        if len(scales) == 0:
            return _Place(int(found["index"]), wanted.shape, order, None, 0)
        return _Place(int(found["index"]), wanted.shape, order, float(scales[0]), int(points[0]))
    return None


_RANKS = 5  # of tensors that are looked for in every order


def _holds(stored: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape is stored, a sequence perhaps as an image of one row."""
    return stored == shape or (len(shape) == 3 and stored == (shape[0], 1, *shape[1:]))
