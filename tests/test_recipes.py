"""Recipes: what the built-in ones are, and what is said about wrong ones."""

from pathlib import Path

import numpy as np
import pytest

from edgec import resources
from edgec.contract import TensorSpec
from edgec.errors import UsageError
from edgec.recipes import Step, fitting_recipes, load_recipe
from edgec.runtime.preprocess import image_tensor

CROP_AND_NORMALIZE = """\
title = "mine"
color = "RGB"

[[step]]
op = "resize_shorter"
size = 40

[[step]]
op = "center_crop"
size = [32, 32]

[normalize]
scale = 0.5
mean = [1, 2, 3]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_recipe_is_read_as_it_is_written(tmp_path):
    recipe = load_recipe(written(tmp_path, CROP_AND_NORMALIZE))
    assert (recipe.name, recipe.title, recipe.color, recipe.layout, recipe.dtype) == (
        "mine",
        "mine",
        "RGB",
        "auto",
        "float32",
    )
    assert recipe.steps == (
        Step("resize_shorter", size=40, interpolation="bilinear"),
        Step("center_crop", size=(32, 32)),
    )
    assert recipe.normalize.mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("name", sorted(resources.declared("calibration")))
def test_every_built_in_recipe_makes_tensors_of_the_size_it_is_for(name):
    recipe = load_recipe(name)
    height, width = recipe.made_for or (96, 64)
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for shape in ((1, recipe.channels, height, width), (1, height, width, recipe.channels)):
        tensor = image_tensor(recipe.to_json(), photo, shape)
        assert (tensor.shape, tensor.dtype) == (shape, recipe.dtype)
        assert np.ptp(tensor) > 0


def test_the_digest_covers_the_numbers_and_not_the_names(tmp_path):
    original = load_recipe(written(tmp_path, CROP_AND_NORMALIZE)).digest
    assert load_recipe(written(tmp_path, CROP_AND_NORMALIZE.replace('"mine"', '"other words"'))).digest == original
    for old, new in (("0.5", "0.25"), ("40", "41"), ("RGB", "BGR"), ("[32, 32]", "[32, 31]")):
        assert load_recipe(written(tmp_path, CROP_AND_NORMALIZE.replace(old, new))).digest != original


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ('"RGB"', '"RBG"', 2, "Did you mean 'RGB'?"),
        ("size = 40", "sise = 40", 6, "Did you mean 'size'?"),
        ("size = 40", "size = 40\nrelative = 1.5", 5, "or two"),
        ("size = 40", "", 5, "no size"),
        ("size = [32, 32]", "size = [32]", 10, "size is [32]"),
        ("size = [32, 32]", "fraction = 1.5", 10, "fraction is 1.5"),
        ('"center_crop"', '"centre_crop"', 9, "Did you mean 'center_crop'?"),
        ('"center_crop"', '"resize"\ninterpolation = "cubic"', 10, "Did you mean 'bicubic'?"),
        ("scale = 0.5", "scale = 0", 13, "scale is 0"),
        ("scale = 0.5", "std = [1, 0, 1]", 13, "std is 0"),
        ("mean = [1, 2, 3]", "mean = [1, 2]", 14, "mean has 2 entries"),
        ("mean = [1, 2, 3]", "mean = [nan]", 14, "not a finite number"),
        ("mean = [1, 2, 3]", "means = [1]", 14, "Did you mean 'mean'?"),
        ('title = "mine"', 'title = "mine"\nlayout = "HW"', 2, "layout"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, old, new, line, why):
    with pytest.raises(UsageError) as caught:
        load_recipe(written(tmp_path, CROP_AND_NORMALIZE.replace(old, new)))
    assert why in str(caught.value)
    assert f"line {line}," in caught.value.what


def test_a_step_that_leaves_a_border_comes_last(tmp_path):
    text = 'title = "t"\n[[step]]\nop = "letterbox"\n[[step]]\nop = "resize"\n'
    with pytest.raises(UsageError, match=r"(?s)line 3.*must be the last step"):
        load_recipe(written(tmp_path, text))


def test_a_recipe_for_arrays_has_no_steps(tmp_path):
    text = 'title = "t"\napplies_to = "arrays"\n[[step]]\nop = "resize"\n'
    with pytest.raises(UsageError, match="Steps are for images"):
        load_recipe(written(tmp_path, text))


def test_an_unknown_name_gets_the_closest_known_one():
    with pytest.raises(UsageError, match="Did you mean 'imagenet'"):
        load_recipe("image-net")


def test_the_users_own_recipe_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "imagenet.toml").write_text('title = "ours"\n', encoding="utf-8")
    assert load_recipe("imagenet").title == "ours"


@pytest.mark.parametrize(
    ("shape", "first", "never"),
    [
        ((1, 3, 48, 192), "ppocr-cls", "mnist"),
        ((1, 28, 28, 1), "mnist", "imagenet"),
        ((1, 3, 224, 224), "efficientnet-lite", "face48"),
    ],
)
def test_recipes_are_proposed_by_the_shape_of_the_input(shape, first, never):
    proposed = fitting_recipes(TensorSpec("x", "float32", shape))
    assert proposed[0] == first
    assert never not in proposed


def test_nothing_is_proposed_for_what_is_no_image(tmp_path):
    assert fitting_recipes(TensorSpec("x", "float32", (1, 128))) == []
    assert fitting_recipes(TensorSpec("x", "int64", (1, 3, 224, 224))) == []
