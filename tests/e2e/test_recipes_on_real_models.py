"""The built-in recipes are the preprocessing that the models were trained with.

model_zoo writes each model's published preprocessing a second time, in numpy and Pillow, from the model's own sources.
Both must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from model_zoo import digits, efficientnet_lite0, mtcnn, ppocr
from model_zoo.photos import SCIKIT_IMAGE
from PIL import Image

from edgec.recipes import load_recipe
from edgec.runtime.preprocess import image_tensor

pytestmark = pytest.mark.network


def test_efficientnet_lite(fetched: Callable) -> None:
    recipe = load_recipe("efficientnet-lite").to_json()
    folder = fetched(lambda: efficientnet_lite0.unpack(SCIKIT_IMAGE)) / "skimage" / "data"
    for name in ("astronaut.png", "rocket.jpg", "coffee.png"):
        photo = np.asarray(Image.open(folder / name).convert("RGB"))
        np.testing.assert_array_equal(
            image_tensor(recipe, folder / name, (1, 3, 224, 224)), efficientnet_lite0.preprocess(photo)
        )


@pytest.mark.parametrize(("name", "shape"), [("ppocr-cls", ppocr.ORIENTATION), ("ppocr-rec", ppocr.RECOGNITION)])
def test_lines_of_text(name: str, shape: tuple[int, ...], fetched: Callable) -> None:
    recipe = load_recipe(name).to_json()
    for line in fetched(lambda: ppocr.lines(seed=7, count=12)):
        np.testing.assert_allclose(
            image_tensor(recipe, np.asarray(line.picture), shape), ppocr.preprocess(line.picture, shape), atol=1e-6
        )


def test_pages_of_text(fetched: Callable) -> None:
    recipe = load_recipe("ppocr-det").to_json()
    (page,) = fetched(lambda: ppocr.pages(seed=7, count=1, width=480, height=320))
    np.testing.assert_allclose(
        image_tensor(recipe, np.asarray(page.picture), ppocr.DETECTION),
        ppocr.preprocess(page.picture, ppocr.DETECTION),
        atol=1e-6,
    )


@pytest.mark.parametrize(("case", "recipe", "size"), [(digits, "digits", 8), (mtcnn, "face48", 48)])
def test_pictures_of_the_right_size_are_only_scaled(case, recipe: str, size: int, fetched: Callable) -> None:  # type: ignore[no-untyped-def]
    picture = sorted(fetched(case.case).calibration.iterdir())[0]
    channels = 1 if recipe == "digits" else 3
    tensor = image_tensor(load_recipe(recipe).to_json(), picture, (1, channels, size, size))
    pixels = np.asarray(Image.open(picture), np.float32)
    expected = pixels / 255 if recipe == "digits" else (pixels - 127.5) / 128
    np.testing.assert_allclose(tensor, np.broadcast_to(expected, tensor.shape), atol=1e-6)
