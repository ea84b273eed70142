"""The contact sheet shows what the model saw."""

import io

import numpy as np
import pytest
from PIL import Image

from edgec.calibration_data.contact_sheet import MAX_BYTES, ContactSheet
from edgec.recipes import load_recipe
from edgec.runtime.preprocess import image_tensor
from tests.calibration_data.data import TOKENS, contract

RED = np.full((40, 40, 3), (220, 30, 10), np.uint8)


def sheet_of(tensors, shape, recipe=None) -> Image.Image:
    sheet = ContactSheet(contract(("x", "float32", shape)), recipe)
    for tensor in tensors:
        sheet.add({"x": tensor})
    return Image.open(io.BytesIO(sheet.png())).convert("RGB")


def center(picture: Image.Image) -> tuple[int, ...]:
    return picture.getpixel((picture.width // 2, picture.height // 2))


@pytest.mark.parametrize("name", ["imagenet", "efficientnet-lite", "yolo", "ppocr-det", "pixels"])
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 32, 32, 3)])
def test_colors_come_back_from_the_tensor(name, shape):
    recipe = load_recipe(name).to_json()
    assert center(sheet_of([image_tensor(recipe, RED, shape)], shape, recipe)) == (220, 30, 10)


@pytest.mark.parametrize("name", ["scale-0-1", "scale-minus1-1", "pixels"])
def test_without_a_recipe_the_usual_ranges_are_recognized(name):
    shape = (1, 3, 32, 32)
    picture = RED.copy()
    picture[:2] = 0
    picture[-2:] = 255
    tensor = image_tensor(load_recipe(name).to_json(), picture, shape)
    assert np.abs(np.subtract(center(sheet_of([tensor], shape)), (220, 30, 10))).max() <= 1


def test_swapped_colors_are_seen():
    shape = (1, 3, 32, 32)
    tensor = image_tensor(load_recipe("scale-0-1").to_json(), RED, shape)[:, ::-1]
    assert center(sheet_of([tensor], shape)) == (10, 30, 220)


def test_other_ranges_are_stretched_and_gray_stays_gray():
    tensor = np.linspace(-3, 5, 28 * 28, dtype=np.float32).reshape(1, 1, 28, 28)
    pixels = np.asarray(sheet_of([tensor], (1, 1, 28, 28)))
    assert np.ptp(pixels[4:-4, 4:-4]) == 255 and (np.ptp(pixels, axis=2) == 0).all()


def test_the_first_sixteen_are_shown_in_rows_of_four():
    shape = (1, 1, 10, 20)
    tensors = [np.full(shape, i / 16, np.float32) for i in range(17)]
    tensors[0][..., 0] = 1
    picture = sheet_of(tensors, shape)
    assert picture.size == (4 * 164 + 4, 4 * 84 + 4)
    assert picture.getpixel((4 + 3 * 164 + 80, 4 + 3 * 84 + 40)) == (239, 239, 239)


def test_noise_stays_below_the_limit():
    rng = np.random.default_rng(0)
    sheet = ContactSheet(contract(("x", "float32", (1, 3, 160, 160))))
    for _ in range(16):
        sheet.add({"x": rng.random((1, 3, 160, 160), np.float32)})
    assert len(sheet.png()) < MAX_BYTES


def test_equal_samples_give_equal_bytes():
    shape = (1, 3, 32, 32)
    recipe = load_recipe("imagenet").to_json()
    sheets = []
    for _ in range(2):
        sheet = ContactSheet(contract(("x", "float32", shape)), recipe)
        sheet.add({"x": image_tensor(recipe, RED, shape)})
        sheets.append(sheet.png())
    assert sheets[0] == sheets[1]


def test_of_a_batch_the_first_image_is_shown():
    shape = (2, 3, 16, 16)
    tensor = np.stack([np.full((3, 16, 16), 200, np.float32), np.full((3, 16, 16), 5, np.float32)])
    assert center(sheet_of([tensor], shape)) == (200, 200, 200)


def test_what_is_no_image_has_no_sheet():
    sheet = ContactSheet(TOKENS)
    sheet.add({"ids": np.zeros((1, 8), np.int64), "mask": np.zeros((1, 8), np.int64)})
    assert sheet.png() is None
    assert ContactSheet(contract(("x", "float32", (1, 3, 32, 32)))).png() is None
