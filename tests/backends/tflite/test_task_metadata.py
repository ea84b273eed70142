"""TFLITE_METADATA, read back with flatbuffers' own reader."""

from __future__ import annotations

import flatbuffers.number_types as numbers
import numpy as np
import pytest
from flatbuffers import encode
from flatbuffers.table import Table

from edgec.backends.tflite.task_metadata import Image, TensorDescription, task_metadata
from edgec.recipes import load_recipe


def root(content):
    assert content[4:8] == b"M001"
    return Table(bytearray(content), encode.Get(numbers.UOffsetTFlags.packer_type, content, 0))


def field(table, slot):
    place = table.Offset(4 + 2 * slot)
    return None if place == 0 else place + table.Pos


def child(table, slot):
    return Table(table.Bytes, table.Indirect(field(table, slot)))


def text(table, slot):
    return table.String(field(table, slot)).decode()


def items(table, slot):
    place = field(table, slot) - table.Pos
    begin, count = table.Vector(place), table.VectorLen(place)
    return [Table(table.Bytes, table.Indirect(begin + 4 * i)) for i in range(count)]


def floats(table, slot):
    return table.GetVectorAsNumpy(numbers.Float32Flags, field(table, slot) - table.Pos)


PIXELS = Image("RGB", (127.5,), (127.5,))


def test_names_and_descriptions_are_there_in_order():
    content = task_metadata(
        "digits",
        "ten digits",
        [TensorDescription("image", "a digit"), TensorDescription("state", "of the last step")],
        [TensorDescription("scores", "one a digit")],
    )
    model = root(content)
    assert text(model, 0) == "digits" and text(model, 1) == "ten digits" and text(model, 7) == "1.0.0"
    (graph,) = items(model, 3)
    assert [text(item, 0) for item in items(graph, 2)] == ["image", "state"]
    assert [text(item, 1) for item in items(graph, 3)] == ["one a digit"]


def test_an_image_says_its_color_and_how_its_pixels_are_normalized():
    content = task_metadata("m", "", [TensorDescription("image", "", PIXELS)], [])
    (tensor,) = items(items(root(content), 3)[0], 2)
    content_table = child(tensor, 3)
    assert content_table.Get(numbers.Uint8Flags, field(content_table, 0)) == 2  # ImageProperties
    properties = child(content_table, 1)
    assert properties.Get(numbers.Uint8Flags, field(properties, 0)) == 1  # RGB
    (unit,) = items(tensor, 4)
    assert unit.Get(numbers.Uint8Flags, field(unit, 0)) == 1  # NormalizationOptions
    options = child(unit, 1)
    assert floats(options, 0) == pytest.approx([127.5]) and floats(options, 1) == pytest.approx([127.5])


@pytest.mark.parametrize("name", ["imagenet", "scale-0-1", "ppocr-cls"])
def test_normalization_of_a_recipe_is_the_same_formula_on_pixels(name):
    recipe = load_recipe(name)
    image = Image.from_recipe(recipe.to_json())
    pixels, how = np.arange(256, dtype=np.float64), recipe.normalize
    for mean, std, own_mean, own_std in zip(image.mean, image.std, how.mean, how.std, strict=True):
        np.testing.assert_allclose((pixels - mean) / std, (pixels * how.scale - own_mean) / own_std, atol=1e-5)


def test_equal_content_gives_equal_bytes():
    first, second = (task_metadata("m", "d", [TensorDescription("x", "", PIXELS)], []) for _ in range(2))
    assert first == second
