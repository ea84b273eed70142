"""A recipe's arithmetic and geometry, against independent computations."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgec.recipes import load_recipe
from edgec.runtime import preprocess
from edgec.runtime.errors import InputError
from edgec.runtime.layouts import LAYOUTS, find_layout
from edgec.runtime.preprocess import array_tensor, image_tensor, read_image

PLAIN = {
    "applies_to": "images",
    "color": "RGB",
    "layout": "auto",
    "dtype": "float32",
    "steps": [],
    "normalize": {"scale": 1.0, "mean": [0.0], "std": [1.0]},
}
LETTERBOX = {"op": "letterbox", "interpolation": "bilinear", "fill": 114.0, "align": "center"}


def a_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth color noise, uint8 [height, width, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    packed = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(packed, kind, **options)
    return packed.getvalue()


sizes = st.integers(1, 40)
photos = st.tuples(sizes, sizes, st.integers(0, 99)).map(lambda args: a_photo(*args))


class TestLayouts:
    @pytest.mark.parametrize(
        ("shape", "channels", "layout"),
        [
            ((1, 3, 224, 224), 3, "NCHW"),
            ((1, 224, 224, 3), 3, "NHWC"),
            ((8, 1, 28, 28), 1, "NCHW"),
            ((1, 28, 28, 1), 1, "NHWC"),
            ((3, 64, 64), 3, "CHW"),
            ((64, 64, 3), 3, "HWC"),
            ((28, 28), 1, "HW"),
            ((1, 4, 64, 64), 3, None),
            ((1, 10), 3, None),
            ((), 1, None),
        ],
    )
    def test_auto_reads_the_channel_axis_off_the_shape(self, shape, channels, layout):
        assert find_layout("auto", channels, shape) == layout

    def test_a_stated_layout_must_fit(self):
        assert find_layout("NHWC", 3, (1, 3, 8, 8)) is None
        assert find_layout("NHW", 1, (1, 8, 8)) == "NHW"

    @given(photos, st.sampled_from([name for name in LAYOUTS if "C" in name]))
    @settings(max_examples=40, deadline=None)
    def test_every_layout_holds_the_same_pixels(self, photo, layout):
        height, width = photo.shape[:2]
        size = {"N": 1, "C": 3, "H": height, "W": width}
        tensor = image_tensor({**PLAIN, "layout": layout}, photo, [size[axis] for axis in layout])
        back = tensor.reshape([size[axis] for axis in layout.lstrip("N")])
        back = back.transpose([layout.lstrip("N").index(axis) for axis in "HWC"])
        assert np.array_equal(back, photo)


class TestNormalization:
    @given(
        photos,
        st.floats(0.001, 2),
        st.tuples(*[st.floats(-200, 200)] * 3),
        st.tuples(*[st.floats(0.1, 200)] * 3),
    )
    @settings(max_examples=40, deadline=None)
    def test_it_can_be_undone(self, photo, scale, mean, std):
        recipe = {**PLAIN, "normalize": {"scale": scale, "mean": list(mean), "std": list(std)}}
        tensor = image_tensor(recipe, photo, (1, 3, *photo.shape[:2]))
        assert tensor.dtype == np.float32
        undone = (tensor[0].transpose(1, 2, 0).astype(float) * std + mean) / scale
        assert np.allclose(undone, photo, atol=1e-3 * max(1, 1 / scale) * max(1, max(map(abs, mean)) / 100))

    def test_it_is_the_nearest_float_to_the_formula(self):
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        recipe = {**PLAIN, "color": "GRAY", "normalize": {"scale": 1 / 255, "mean": [0.485], "std": [0.229]}}
        expected = np.float32((np.arange(256) / 255 - 0.485) / 0.229)
        assert np.allclose(image_tensor(recipe, ramp, (1, 1, 16, 16)).ravel(), expected, rtol=1.2e-7, atol=1e-7)

    def test_means_go_with_the_channels_that_the_model_sees(self):
        pixel = np.array([[[10, 20, 30]]], np.uint8)
        recipe = {**PLAIN, "color": "BGR", "normalize": {"scale": 1.0, "mean": [1.0, 2.0, 3.0], "std": [1.0]}}
        assert image_tensor(recipe, pixel, (1, 3, 1, 1)).ravel().tolist() == [29, 18, 7]

    def test_integer_dtypes_are_rounded_and_must_hold_every_level(self):
        pixels = np.array([[0, 128, 255]], np.uint8)
        gray = {**PLAIN, "color": "GRAY", "dtype": "int8"}
        shifted = {**gray, "normalize": {"scale": 1.0, "mean": [128.0], "std": [1.0]}}
        assert image_tensor(shifted, pixels, (1, 1, 1, 3)).ravel().tolist() == [-128, 0, 127]
        with pytest.raises(InputError, match="do not fit int8"):
            image_tensor(gray, pixels, (1, 1, 1, 3))

    def test_arrays_take_means_along_the_channel_axis(self):
        array = np.ones((2, 3, 4), np.float64)
        rule = {"scale": 10.0, "mean": [1.0, 2.0, 3.0], "std": [2.0]}
        recipe = {**PLAIN, "applies_to": "arrays", "normalize": rule}
        assert array_tensor(recipe, array)[0, :, 0].tolist() == [4.5, 4.0, 3.5]
        assert array_tensor({**recipe, "layout": "HWC"}, np.ones((2, 4, 3)))[0, 0].tolist() == [4.5, 4.0, 3.5]
        with pytest.raises(InputError, match="3 means or stds"):
            array_tensor(recipe, np.ones((3, 4)))


class TestGeometry:
    @given(photos)
    @settings(max_examples=30, deadline=None)
    def test_resizing_to_the_same_size_changes_nothing(self, photo):
        for method in ("nearest", "area", "bilinear", "bicubic", "lanczos"):
            recipe = {**PLAIN, "layout": "NHWC", "steps": [{"op": "resize", "interpolation": method}]}
            tensor = image_tensor(recipe, photo, (1, *photo.shape))
            assert np.array_equal(tensor[0], photo)

    @given(st.integers(1, 60), st.integers(1, 60))
    @settings(max_examples=60, deadline=None)
    def test_letterbox_keeps_the_aspect_ratio_and_surrounds_with_the_fill(self, height, width):
        white = np.full((height, width, 3), 255, np.uint8)
        tensor = image_tensor({**PLAIN, "steps": [LETTERBOX]}, white, (1, 3, 32, 48))[0, 0]
        assert set(np.unique(tensor)) <= {114, 255}
        inside = np.argwhere(tensor == 255)
        (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
        assert bottom - top == 32 or right - left == 48
        ratio = min(32 / height, 48 / width)
        assert abs((bottom - top) - height * ratio) <= 1 and abs((right - left) - width * ratio) <= 1
        assert abs(top - (32 - bottom)) <= 1 and abs(left - (48 - right)) <= 1

    def test_letterbox_can_start_in_the_corner(self):
        white = np.full((10, 20, 3), 255, np.uint8)
        tensor = image_tensor({**PLAIN, "steps": [{**LETTERBOX, "align": "start"}]}, white, (1, 3, 20, 20))[0, 0]
        assert (tensor[:10] == 255).all() and (tensor[10:] == 114).all()

    @given(st.integers(4, 60), st.integers(4, 400))
    @settings(max_examples=30, deadline=None)
    def test_text_lines_are_padded_with_exact_zeros_after_normalization(self, height, width):
        recipe = load_recipe("ppocr-rec").to_json()
        tensor = image_tensor(recipe, np.full((height, width, 3), 255, np.uint8), (1, 3, 48, 320))
        used = min(320, -(-48 * width // height))
        assert (tensor[..., :used] == 1).all() and (tensor[..., used:] == 0).all()

    def test_center_crop_of_a_fraction_is_square(self):
        photo = a_photo(40, 100)
        recipe = {**PLAIN, "steps": [{"op": "center_crop", "fraction": 0.5}]}
        assert np.array_equal(image_tensor(recipe, photo, (1, 20, 20, 3))[0], photo[10:30, 40:60])

    def test_a_crop_larger_than_the_image_is_refused(self):
        with pytest.raises(InputError, match="does not fit an image of 10x10"):
            image_tensor({**PLAIN, "steps": [{"op": "center_crop"}]}, a_photo(10, 10), (1, 3, 20, 20))

    def test_a_recipe_that_does_not_reach_the_models_size_is_refused(self):
        with pytest.raises(InputError, match="makes an image of 10x12"):
            image_tensor(PLAIN, a_photo(10, 12), (1, 3, 20, 20))

    def test_an_extreme_shape_can_not_exhaust_memory(self):
        recipe = {**PLAIN, "steps": [{"op": "resize_shorter", "size": 5000, "interpolation": "bilinear"}]}
        with pytest.raises(InputError, match="would make an image"):
            image_tensor(recipe, np.zeros((1, 60000, 3), np.uint8), (1, 3, 20, 20))

    def test_a_step_of_a_newer_version_is_refused(self):
        with pytest.raises(InputError, match="does not know"):
            image_tensor({**PLAIN, "steps": [{"op": "unwarp"}]}, a_photo(4, 4), (1, 3, 4, 4))


def torchvision_by_hand(picture: Image.Image) -> np.ndarray:
    """Resize(256), CenterCrop(224), ToTensor, Normalize, written from their documentation."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    other = int(256 * long / short)
    picture = picture.resize((256, other) if width <= height else (other, 256), Image.Resampling.BILINEAR)
    left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
    pixels = np.asarray(picture, np.float64)[top : top + 224, left : left + 224] / 255
    return ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)[None]


class TestBuiltInRecipes:
    @pytest.mark.parametrize("size", [(300, 401), (401, 300), (224, 224), (100, 90), (257, 1000)])
    def test_imagenet_is_what_torchvision_does(self, size):
        photo = a_photo(*size)
        tensor = image_tensor(load_recipe("imagenet").to_json(), photo, (1, 3, 224, 224))
        assert tensor.dtype == np.float32
        assert np.abs(tensor - torchvision_by_hand(Image.fromarray(photo))).max() < 1e-6

    def test_imagenet_keeps_its_proportion_for_other_sizes(self):
        photo = a_photo(342, 342)
        tensor = image_tensor(load_recipe("imagenet").to_json(), photo, (1, 3, 299, 299))
        back = tensor[0] * np.reshape([0.229, 0.224, 0.225], (3, 1, 1)) + np.reshape([0.485, 0.456, 0.406], (3, 1, 1))
        assert np.abs(back.transpose(1, 2, 0) * 255 - photo[22:321, 22:321]).max() < 1e-3

    @given(sizes, sizes, sizes, sizes)
    @settings(max_examples=60, deadline=None)
    def test_a_relative_size_always_covers_the_models_input(self, height, width, model_height, model_width):
        steps = [{"op": "resize_shorter", "relative": 1.0, "interpolation": "nearest"}, {"op": "center_crop"}]
        photo = np.full((height, width, 3), 7, np.uint8)
        assert (image_tensor({**PLAIN, "steps": steps}, photo, (1, 3, model_height, model_width)) == 7).all()

    def test_efficientnet_lite_crops_seven_eighths_and_resizes(self):
        photo = Image.fromarray(a_photo(320, 400))
        expected = photo.crop((60, 20, 340, 300)).resize((224, 224), Image.Resampling.BICUBIC)
        expected = (np.asarray(expected, np.float32).transpose(2, 0, 1)[None] - 127) / 128
        tensor = image_tensor(load_recipe("efficientnet-lite").to_json(), np.asarray(photo), (1, 3, 224, 224))
        assert np.array_equal(tensor, expected)

    def test_digits_take_pixels_to_0_1_in_both_layouts(self):
        image = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
        recipe = load_recipe("digits").to_json()
        for shape in ((1, 1, 8, 8), (1, 8, 8, 1)):
            tensor = image_tensor(recipe, image, shape)
            assert tensor.shape == shape
            assert np.allclose(tensor.ravel(), image.ravel() / 255, atol=1e-7)


class TestReading:
    def test_the_cameras_orientation_is_applied(self):
        picture = Image.fromarray(a_photo(20, 30))
        exif = Image.Exif()
        exif[0x0112] = 6  # rotate by 90 degrees, clockwise
        turned = read_image(encoded(picture, "PNG", exif=exif), "RGB")
        assert turned.size == (20, 30)
        assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(picture), -1))

    def test_transparency_is_put_on_white(self):
        pixels = np.zeros((1, 2, 4), np.uint8)
        pixels[0, 0] = (200, 10, 10, 255)
        assert np.asarray(read_image(encoded(pixels), "RGB")).tolist() == [[[200, 10, 10], [255, 255, 255]]]

    def test_a_palette_is_resolved_with_its_transparent_color(self):
        picture = Image.new("P", (2, 1))
        picture.putpalette([255, 0, 0, 0, 255, 0])
        picture.putpixel((1, 0), 1)
        assert np.asarray(read_image(encoded(picture), "RGB")).tolist() == [[[255, 0, 0], [0, 255, 0]]]
        clear = encoded(picture, "PNG", transparency=1)
        assert np.asarray(read_image(clear, "RGB")).tolist() == [[[255, 0, 0], [255, 255, 255]]]

    def test_sixteen_bits_keep_their_upper_eight(self):
        wide = np.array([[0, 255, 256, 0x8000, 0xFFFF]], np.uint16)
        assert np.asarray(read_image(encoded(wide), "GRAY")).tolist() == [[0, 0, 1, 128, 255]]
        assert np.asarray(read_image(encoded(wide, "TIFF"), "RGB"))[0, 3].tolist() == [128, 128, 128]

    def test_cmyk_and_gray_become_rgb(self):
        assert np.asarray(read_image(encoded(Image.new("CMYK", (1, 1)), "TIFF"), "RGB")).tolist() == [[[255] * 3]]
        assert np.asarray(read_image(encoded(np.full((1, 1), 77, np.uint8)), "RGB")).tolist() == [[[77] * 3]]

    def test_color_becomes_gray_by_luma(self):
        red = np.array([[[255, 0, 0]]], np.uint8)
        assert np.asarray(read_image(encoded(red), "GRAY")).tolist() == [[76]]

    def test_an_animation_gives_its_first_frame(self):
        frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
        moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert np.asarray(read_image(moving, "RGB"))[0, 0].tolist() == [255, 0, 0]

    def test_a_small_file_that_claims_a_huge_image_is_refused(self):
        header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        chunks = b""
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
            chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        with pytest.raises(InputError, match="too large"):
            read_image(b"\x89PNG\r\n\x1a\n" + chunks, "RGB")

    def test_the_limit_holds_for_what_pillow_only_warns_about(self, monkeypatch):
        monkeypatch.setattr(preprocess, "MAX_PIXELS", 99)
        with pytest.raises(InputError, match="too large"):
            read_image(encoded(a_photo(10, 10)), "RGB")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
    def test_a_cut_file_is_refused_with_its_name(self, kind, tmp_path):
        whole = encoded(a_photo(64, 64), kind)
        path = tmp_path / "half.img"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"half\.img can't be decoded"):
            read_image(path, "RGB")

    @given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
    @settings(max_examples=100, deadline=None)
    def test_damage_is_an_input_error_and_nothing_else(self, noise, kind):
        image = bytearray(encoded(a_photo(16, 16), kind))
        image[len(image) // 3 : len(image) // 3 + len(noise)] = noise
        try:
            read_image(bytes(image), "RGB")
        except InputError as error:
            assert error.fix

    def test_postscript_is_not_read(self):
        with pytest.raises(InputError, match="can't be decoded"):
            read_image(encoded(a_photo(4, 4), "EPS"), "RGB")

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_pixels_of_unknown_range_are_refused(self, mode):
        with pytest.raises(InputError, match="pixels"):
            read_image(encoded(Image.new(mode, (4, 4)), "TIFF"), "GRAY")

    def test_float_arrays_are_not_images(self):
        with pytest.raises(InputError, match="float64 4x4x3 is not an image"):
            read_image(np.zeros((4, 4, 3)), "RGB")
