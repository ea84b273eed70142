"""TFLITE_METADATA: what a person or a code generator needs to know to feed the model, in TensorFlow Lite's own format.

Android's code generator, ML Kit and the Task Library read it: names, what an input holds, how pixels are normalized:

    (pixel - mean) / std        pixels from 0 to 255

Tables and the order of their fields are those of
https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs (1.0.0).
It has no generated code in the packages that edgec uses, and needs five tables of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np

NAME = "TFLITE_METADATA"
"""The name of the buffer."""

_IDENTIFIER = b"M001"
_PARSER = "1.0.0"
_COLOR_SPACES = {"RGB": 1, "GRAY": 2}  # there is no value for BGR, so the description says it
_IMAGE_PROPERTIES = 2  # place in the union ContentProperties
_NORMALIZATION = 1  # place in the union ProcessUnitOptions


@dataclass(frozen=True)
class Image:
    """What an image input holds. color: "RGB", "BGR" or "GRAY"; mean and std as above, one value or one a channel."""

    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, object]) -> Image:
        """Of a preprocessing recipe (its JSON form), which normalizes (x * scale - mean) / std."""
        how = recipe["normalize"]
        assert isinstance(how, Mapping)
        scale = float(how["scale"])
        mean, std = (tuple(float(np.float32(item / scale)) for item in how[key]) for key in ("mean", "std"))
        return cls(str(recipe["color"]), mean, std)


@dataclass(frozen=True)
class TensorDescription:
    """An input or output of the file."""

    name: str
    description: str
    image: Image | None = None


def task_metadata(
    name: str, description: str, inputs: Sequence[TensorDescription], outputs: Sequence[TensorDescription]
) -> bytes:
    """The content of the buffer. Inputs and outputs in the order of the subgraph's."""
    builder = flatbuffers.Builder(1024)
    graph = _table(
        builder,
        {
            0: _offset(builder.CreateString("main")),
            2: _offset(_vector(builder, [_tensor(builder, item) for item in inputs])),
            3: _offset(_vector(builder, [_tensor(builder, item) for item in outputs])),
        },
    )
    model = _table(
        builder,
        {
            0: _offset(builder.CreateString(name)),
            1: _offset(builder.CreateString(description)),
            3: _offset(_vector(builder, [graph])),
            7: _offset(builder.CreateString(_PARSER)),
        },
    )
    builder.Finish(model, _IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, item: TensorDescription) -> int:
    fields = {0: _offset(builder.CreateString(item.name)), 1: _offset(builder.CreateString(item.description))}
    if item.image is not None:
        fields[3] = _offset(_content(builder, item.image))
        fields[4] = _offset(_vector(builder, [_normalization(builder, item.image)]))
    return _table(builder, fields)


def _content(builder: flatbuffers.Builder, image: Image) -> int:
    properties = _table(builder, {0: _byte(_COLOR_SPACES.get(image.color, 0))})
    return _table(builder, {0: _byte(_IMAGE_PROPERTIES), 1: _offset(properties)})


def _normalization(builder: flatbuffers.Builder, image: Image) -> int:
    mean, std = (builder.CreateNumpyVector(np.array(values, np.float32)) for values in (image.mean, image.std))
    options = _table(builder, {0: _offset(mean), 1: _offset(std)})
    return _table(builder, {0: _byte(_NORMALIZATION), 1: _offset(options)})


Field = Callable[[flatbuffers.Builder, int], None]


def _offset(to: int) -> Field:
    return lambda builder, slot: builder.PrependUOffsetTRelativeSlot(slot, to, 0)


def _byte(value: int) -> Field:
    return lambda builder, slot: builder.PrependByteSlot(slot, value, 0)


def _table(builder: flatbuffers.Builder, fields: Mapping[int, Field]) -> int:
    builder.StartObject(max(fields) + 1)
    for slot, write in fields.items():
        write(builder, slot)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
