"""The diagnosis speaks when something is wrong, and is silent when nothing is."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgec import resources
from edgec.calibration_data.channel_statistics import ChannelStatistics, Histogram
from edgec.calibration_data.diagnosis import InputDiagnosis
from edgec.calibration_data.model_hints import PixelRange
from edgec.errors import CalibrationDataError
from edgec.recipes import load_recipe
from edgec.runtime.preprocess import image_tensor
from tests.calibration_data.data import TOKENS, contract
from tests.calibration_data.scenes import scene, text_line

SHAPE = (1, 3, 48, 64)
IMAGES = contract(("x", "float32", SHAPE))


def diagnosed(tensors, given_contract=IMAGES, recipe=None, **options):
    diagnosis = InputDiagnosis(given_contract, recipe, **options)
    for tensor in tensors:
        diagnosis.add(tensor if isinstance(tensor, dict) else {"x": tensor})
    return diagnosis.finish()


def tensors(recipe: str, shape=SHAPE, count: int = 24, picture=scene) -> list[np.ndarray]:
    return [image_tensor(load_recipe(recipe).to_json(), picture(seed), shape) for seed in range(count)]


@pytest.mark.parametrize("value", [1e30, -2e6])
def test_an_absurd_magnitude_is_a_warning(value):
    noise = np.random.default_rng(0).normal(size=(20, 1, 4))
    noise[3, 0, 1] = value
    vectors = contract(("x", "float32", (1, 4)))
    assert any("absurd magnitude" in text for text in diagnosed(noise, vectors)["warnings"])
    noise[3, 0, 1] = 9e5
    assert diagnosed(noise, vectors)["warnings"] == []


def test_random_numbers_are_never_too_few():
    noise = np.random.default_rng(0).normal(size=(3, 1, 4))
    vectors = contract(("x", "float32", (1, 4)))
    assert any("Only 3 samples" in text for text in diagnosed(noise, vectors)["warnings"])
    assert diagnosed(noise, vectors, synthetic=True)["warnings"] == []


finite = arrays.arrays(
    np.float64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e6, 1e6)
)


class TestStatistics:
    @given(finite, st.integers(1, 5))
    @settings(max_examples=60, deadline=None)
    def test_a_single_pass_equals_numpy_over_everything(self, values, parts):
        statistics = ChannelStatistics(values.shape[1])
        for part in np.array_split(values, parts):
            statistics.add(part)
        assert np.array_equal(statistics.minimum, values.min(axis=0))
        assert np.array_equal(statistics.maximum, values.max(axis=0))
        assert np.allclose(statistics.mean, values.mean(axis=0), rtol=1e-9, atol=1e-6)
        assert np.allclose(statistics.deviation, values.std(axis=0), rtol=1e-6, atol=1e-4)

    @given(st.lists(arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e9, 1e9, width=32)), min_size=1))
    @settings(max_examples=60, deadline=None)
    def test_a_histogram_that_grew_equals_one_that_knew_the_range(self, parts):
        histogram = Histogram()
        for part in parts:
            histogram.add(part)
        document = histogram.to_json()
        values = np.concatenate(parts)
        assert sum(document["counts"]) == values.size
        if values.any():
            edges = np.linspace(document["low"], document["high"], len(document["counts"]) + 1)
            width = edges[1] - edges[0]
            places = np.floor(values / width) - round(document["low"] / width)
            assert np.array_equal(
                np.bincount(places.astype(int), minlength=len(document["counts"])), document["counts"]
            )

    def test_channels_are_told_apart_in_both_layouts(self):
        for shape, axis in (((1, 3, 48, 64), 1), ((1, 48, 64, 3), 3)):
            document = diagnosed(tensors("imagenet", shape), contract(("x", "float32", shape)))["inputs"][0]
            everything = np.concatenate(tensors("imagenet", shape))
            others = tuple(i for i in range(4) if i != axis)
            assert document["layout"] == ("NCHW" if axis == 1 else "NHWC")
            assert np.allclose([c["mean"] for c in document["channels"]], everything.mean(others, float), atol=1e-6)
            assert np.allclose([c["std"] for c in document["channels"]], everything.std(others, float), atol=1e-6)

    def test_features_of_a_table_are_channels(self):
        rows = np.random.default_rng(0).standard_normal((50, 1, 4)).astype(np.float32)
        document = diagnosed(rows, contract(("x", "float32", (1, 4))))["inputs"][0]
        assert np.allclose([c["min"] for c in document["channels"]], rows.min(axis=(0, 1)))

    def test_the_result_is_json_without_nan(self):
        document = diagnosed(tensors("imagenet"))
        assert json.loads(json.dumps(document, allow_nan=False)) == document

    def test_memory_does_not_grow_with_the_samples(self):
        rng = np.random.default_rng(0)
        diagnosis = InputDiagnosis(IMAGES)
        sizes = []
        tracemalloc.start()
        for _ in range(4):
            for _ in range(50):
                diagnosis.add({"x": rng.standard_normal(SHAPE, np.float32)})
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert sizes[-1] - sizes[0] < 150 * 1000  # bytes: a digest each, where a sample has 36,864


class TestSilence:
    @pytest.mark.parametrize("name", sorted(resources.declared("calibration")))
    def test_built_in_recipes_raise_no_suspicion(self, name):
        recipe = load_recipe(name)
        height, width = recipe.made_for or (48, 64)
        shape = (1, recipe.channels, height, width)
        picture = text_line if name in ("ppocr-cls", "ppocr-rec") else scene
        found = diagnosed(tensors(name, shape, picture=picture), contract(("x", "float32", shape)), recipe.to_json())
        assert found["warnings"] == []

    @pytest.mark.parametrize("name", ["imagenet", "efficientnet-lite", "yolo", "scale-0-1", "scale-minus1-1"])
    @pytest.mark.parametrize("shape", [(1, 3, 48, 64), (1, 48, 64, 3)])
    def test_the_same_tensors_saved_as_arrays_raise_none_either(self, name, shape):
        assert diagnosed(tensors(name, shape), contract(("x", "float32", shape)))["warnings"] == []

    def test_text_pages_as_arrays(self):
        assert diagnosed(tensors("scale-0-1", picture=text_line))["warnings"] == []

    def test_gray_pictures_in_three_channels(self):
        for shape in ((1, 3, 48, 64), (1, 48, 64, 3)):
            gray = [
                image_tensor(load_recipe("scale-0-1").to_json(), np.repeat(scene(i)[:, :, 1:2], 3, axis=2), shape)
                for i in range(24)
            ]
            assert diagnosed(gray, contract(("x", "float32", shape)))["warnings"] == []

    def test_token_ids_with_a_mask_of_ones(self):
        rng = np.random.default_rng(0)
        feeds = [{"ids": rng.integers(0, 30000, (1, 8)), "mask": np.ones((1, 8), np.int64)} for _ in range(20)]
        assert diagnosed(feeds, TOKENS)["warnings"] == []

    def test_a_model_that_scales_pixels_itself_may_have_them(self):
        hint = {"x": PixelRange(0, 255, "the model divides it by 255")}
        assert diagnosed(tensors("pixels"), pixel_ranges=hint)["warnings"] == []

    def test_states_and_silent_steps_of_a_recurrent_model(self):
        voice = contract(("x", "float32", (1, 32)), ("h", "float32", (1, 4)))
        rng = np.random.default_rng(0)
        steps = [rng.standard_normal((1, 32)) * (i % 16 != 0) for i in range(48)]
        found = diagnosed([{"x": step.astype(np.float32)} for step in steps], voice)
        assert found["warnings"] == [] and [entry["name"] for entry in found["inputs"]] == ["x"]


def only_warning(found) -> str:
    (warning,) = found["warnings"]
    return warning


class TestSuspicion:
    def test_raw_pixels(self):
        assert "raw pixels" in only_warning(diagnosed(tensors("pixels")))

    def test_pixels_scaled_for_a_model_that_scales_them_itself(self):
        hint = {"x": PixelRange(0, 255, "the model divides it by 255 (node 'scale')")}
        warning = only_warning(diagnosed(tensors("scale-0-1"), pixel_ranges=hint))
        assert "divides it by 255 (node 'scale')" in warning and "scaled twice" in warning

    def test_pixels_for_a_model_that_wants_0_to_1(self):
        hint = {"x": PixelRange(0, 1, "the model subtracts about 0.45")}
        assert "seems to want about 0 to 1" in only_warning(diagnosed(tensors("pixels"), pixel_ranges=hint))

    def test_pictures_stored_on_another_scale(self):
        recipe = load_recipe("digits").to_json()
        levels = np.random.default_rng(0).integers(0, 17, (24, 8, 8), dtype=np.uint8)
        small = [image_tensor(recipe, picture, (1, 1, 8, 8)) for picture in levels]
        digits = contract(("x", "float32", (1, 1, 8, 8)))
        assert "lie between 0.0 and 16.0, on a scale of 0 to 255" in only_warning(diagnosed(small, digits, recipe))
        scaled = [image_tensor(recipe, picture * 15, (1, 1, 8, 8)) for picture in levels]
        assert diagnosed(scaled, digits, recipe)["warnings"] == []

    def test_arrays_scaled_before_their_recipe(self, tmp_path):
        path = tmp_path / "scale.toml"
        path.write_text('title = "t"\napplies_to = "arrays"\n[normalize]\nscale = 0.00392156862745098\n')
        recipe = load_recipe(path).to_json()
        ready = [tensor / 255 for tensor in tensors("scale-0-1")]
        assert "bring them to 0..255" in only_warning(diagnosed(ready, recipe=recipe))
        assert diagnosed(tensors("scale-0-1"), recipe=recipe)["warnings"] == []

    @pytest.mark.parametrize(("shape", "axis"), [((1, 3, 48, 64), 1), ((1, 48, 64, 3), 3)])
    def test_bgr_for_rgb(self, shape, axis):
        swapped = [np.flip(tensor, axis) for tensor in tensors("scale-0-1", shape, count=40)]
        assert "BGR" in only_warning(diagnosed(swapped, contract(("x", "float32", shape))))

    @pytest.mark.parametrize(("shape", "wrong"), [((1, 3, 48, 64), (1, 48, 64, 3)), ((1, 48, 64, 3), (1, 3, 48, 64))])
    def test_reshaped_where_it_should_have_been_transposed(self, shape, wrong):
        reshaped = [tensor.reshape(shape) for tensor in tensors("imagenet", wrong)]
        warning = only_warning(diagnosed(reshaped, contract(("x", "float32", shape))))
        assert "should have been transposed" in warning and ("NHWC" in warning) == (wrong[-1] == 3)

    def test_too_few_samples(self):
        assert only_warning(diagnosed(tensors("imagenet", count=15))).startswith("Only 15 samples")

    def test_copies(self):
        found = diagnosed(tensors("imagenet") + tensors("imagenet", count=6))
        assert found["duplicates"] == 6 and "6 of 30 samples are copies" in only_warning(found)

    def test_blank_pictures(self):
        blank = [np.full(SHAPE, i / 9, np.float32) for i in range(9)]
        found = diagnosed(tensors("imagenet") + blank)
        assert "9 of 33 samples are constant" in only_warning(found)
        assert found["inputs"][0]["constant_samples"] == 9

    def test_a_channel_that_never_changes(self):
        filled = tensors("imagenet")
        for tensor in filled:
            tensor[:, 2] = 0
        assert "channel 2 never changes" in only_warning(diagnosed(filled))

    def test_one_of_several_inputs_is_constant(self):
        two = contract(("x", "float32", SHAPE), ("y", "float32", (1, 100)))
        feeds = [{"x": tensor, "y": np.zeros((1, 100), np.float32)} for tensor in tensors("imagenet")]
        assert only_warning(diagnosed(feeds, two)).startswith("Input 'y': it is constant")


class TestRefusal:
    def test_constant_data(self):
        with pytest.raises(CalibrationDataError, match="constant"):
            diagnosed([np.full(SHAPE, i, np.float32) for i in range(20)])

    def test_a_single_blank_sample(self):
        with pytest.raises(CalibrationDataError, match="constant"):
            diagnosed([np.zeros(SHAPE, np.float32)])

    def test_an_input_of_one_element_that_never_changes(self):
        one = contract(("x", "float32", (1, 1)))
        with pytest.raises(CalibrationDataError, match="constant"):
            diagnosed([np.ones((1, 1), np.float32)] * 20, one)
        assert diagnosed([np.full((1, 1), i, np.float32) for i in range(20)], one)["warnings"] == []

    def test_values_that_are_not_finite(self):
        broken = tensors("imagenet", count=1)[0]
        broken[0, 0, 0, 0] = np.nan
        with pytest.raises(CalibrationDataError, match="not finite"):
            diagnosed([broken])

    def test_no_samples(self):
        with pytest.raises(CalibrationDataError, match="no samples"):
            diagnosed([])
