"""What `run` makes of files: the shapes that calibration takes, and nothing that is doubtful without a word."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgec.calibration_data.fitting import find_arrangement
from edgec.contract import TensorSpec as ContractSpec
from edgec.runtime.errors import InputError
from edgec.runtime.given import feeds_of
from edgec.runtime.model import TensorSpec
from edgec.runtime.preprocess import image_tensor
from tests.bundle.artifacts import RECIPE as BUNDLED

RECIPE = {**BUNDLED, "steps": [{"op": "resize", "interpolation": "bilinear"}]}
RNG = np.random.default_rng(0)


def spec(*shape: int, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def feeds(given, *inputs, recipe=None, sequence=False):
    return feeds_of([str(each) for each in given], inputs, recipe, [], sequence=sequence)


@pytest.fixture
def save(tmp_path):
    """A function that saves one array, or several by name, and returns the path."""

    def save(name, *arrays, **named):
        (np.savez if name.endswith(".npz") else np.save)(tmp_path / name, *arrays, **named)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("whole", "shape", "sequence"),
    [
        ((1, 1, 8, 8), (1, 1, 8, 8), False),
        ((1, 1, 8, 8), (1, 8, 8), False),
        ((1, 1, 8, 8), (8, 8), False),
        ((1, 1, 8, 8), (5, 1, 8, 8), False),
        ((1, 1, 8, 8), (5, 8, 8), False),
        ((1, 1, 8, 8), (5, 1, 1, 8, 8), False),
        ((1, 8, 8, 1), (5, 8, 8), False),
        ((1, 10), (10,), False),
        ((4, 10), (3, 4, 10), False),
        ((), (4,), False),
        ((1,), (4,), False),
        ((1, 10), (7, 10), True),
        ((1, 10), (7, 1, 10), True),
    ],
)
def test_shapes_are_taken_as_calibration_takes_them(save, whole, shape, sequence):
    array = RNG.normal(size=shape).astype(np.float32)
    arrangement = find_arrangement(shape, ContractSpec("x", "float32", whole), 1, sequence)
    runs = feeds([save("a.npy", array)], spec(*whole), sequence=sequence)
    assert len(runs) == (arrangement.samples or arrangement.steps or 1)
    assert np.array_equal(np.stack([run["x"] for run in runs]), array.reshape(len(runs), *whole))


@pytest.mark.parametrize("shape", [(8, 8, 2), (64,), (0, 1, 8, 8), (2, 5, 1, 1, 8, 8), (8, 4, 16)])
def test_no_other_shape_is_bent_to_fit(save, shape):
    with pytest.raises(InputError, match="x".join(map(str, shape))):
        feeds([save("a.npy", np.zeros(shape))], spec(1, 1, 8, 8))


@pytest.mark.parametrize("shape", [(20, 24, 3), (2, 20, 24, 3)])
def test_pixels_go_through_the_recipe(save, shape):
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    runs = feeds([save("a.npy", pixels)], spec(1, 3, 16, 16), recipe=RECIPE)
    expected = [image_tensor(RECIPE, each, (1, 3, 16, 16)) for each in pixels.reshape(-1, 20, 24, 3)]
    assert np.array_equal([run["x"] for run in runs], expected)


def test_gray_pixels_need_no_channel(save):
    pixels = RNG.integers(0, 256, (20, 24), dtype=np.uint8)
    recipe = {**RECIPE, "color": "GRAY"}
    (run,) = feeds([save("a.npy", pixels)], spec(1, 1, 8, 8), recipe=recipe)
    assert np.array_equal(run["x"], image_tensor(recipe, pixels, (1, 1, 8, 8)))


def test_planar_pixels_are_refused_with_the_transposition(save):
    with pytest.raises(InputError) as caught:
        feeds([save("a.npy", np.zeros((1, 3, 16, 16), np.uint8))], spec(1, 3, 16, 16), recipe=RECIPE)
    assert "x.transpose(0, 2, 3, 1)" in caught.value.fix


def test_floats_are_ready_for_the_model_whatever_the_recipe(save):
    array = RNG.normal(size=(3, 16, 16)).astype(np.float32)
    (run,) = feeds([save("a.npy", array)], spec(1, 3, 16, 16), recipe=RECIPE)
    assert np.array_equal(run["x"], array[None])


def test_a_recipe_for_arrays_sees_each_sample_by_itself(save):
    recipe = {"applies_to": "arrays", "layout": "auto", "dtype": "float32"}
    recipe["normalize"] = {"scale": 1.0, "mean": [1.0, 2.0], "std": [1.0]}
    runs = feeds([save("a.npy", np.full((5, 2, 3), 4.0))], spec(1, 2, 3), recipe=recipe)
    assert [run["x"].tolist() for run in runs] == [[[[3.0] * 3, [2.0] * 3]]] * 5


def test_one_image_for_a_batch_says_how_many_are_wanted(tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"(?s)a\.png holds 1 image\b.*takes 4 at once.*4 x height x width x 3"):
        feeds([tmp_path / "a.png"], spec(4, 3, 16, 16), recipe=RECIPE)


def test_pixels_fill_batches_in_order(save):
    pixels = RNG.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    runs = feeds([save("a.npy", pixels)], spec(4, 3, 16, 16), recipe=RECIPE)
    expected = [image_tensor(RECIPE, each, (1, 3, 16, 16)) for each in pixels]
    assert len(runs) == 2
    assert np.array_equal(np.concatenate([run["x"] for run in runs]), np.concatenate(expected))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_what_is_not_finite_is_named_with_its_index(save, name, value):
    array = np.zeros((2, 4))
    array[1, 3] = value
    with pytest.raises(InputError, match=rf"(?s){name}.*not finite.*index \[1, 3\]; 1 of 8"):
        feeds([save(name, array)], spec(1, 4))


def test_an_input_given_twice_is_refused(save):
    right, other = save("right.npz", x=np.ones((1, 4))), save("f.npy", np.zeros((1, 4)))
    with pytest.raises(InputError, match=r"(?s)'x' is given twice.*right\.npz.*f\.npy"):
        feeds([right, f"x={other}"], spec(1, 4))
    with pytest.raises(InputError, match="'a' is given twice"):
        feeds([f"a={other}", f"a={other}", f"b={other}"], spec(1, 4, name="a"), spec(1, 4, name="b"))


def test_an_archive_with_other_names_is_refused_and_one_array_alone_is_remarked(save):
    notes: list[str] = []
    (run,) = feeds_of([str(save("a.npz", foo=np.ones((1, 4))))], [spec(1, 4)], None, notes)
    assert run["x"].tolist() == [[1.0] * 4]
    assert len(notes) == 1 and "'foo', is taken for the input 'x'" in notes[0]
    with pytest.raises(InputError, match="'foo'"):
        feeds([save("b.npz", x=np.ones((1, 4)), foo=np.ones((1, 4)))], spec(1, 4))
    with pytest.raises(InputError, match="'foo'"):
        feeds([save("c.npz", foo=np.ones((1, 4)))], spec(1, 4, name="a"), spec(1, 4, name="b"))


def test_an_archive_may_be_given_for_one_input(save):
    both = save("both.npz", a=np.zeros((1, 4)), b=np.ones((1, 4)))
    (run,) = feeds([f"b={both}", f"a={both}"], spec(1, 4, name="a"), spec(1, 4, name="b"))
    assert (run["a"].sum(), run["b"].sum()) == (0, 4)


def test_an_archive_of_objects_is_refused_not_unpickled(save):
    with pytest.raises(InputError, match="can't be read"):
        feeds([save("a.npz", x=np.array([{}], dtype=object))], spec(1, 4))


def test_a_single_number_holds_for_all_samples(save):
    files = [save("x.npy", np.zeros((3, 4))), save("rate.npy", np.int64(8000))]
    runs = feeds(files, spec(1, 4), spec(name="rate", dtype="int64"))
    assert [int(run["rate"]) for run in runs] == [8000] * 3


def test_other_counts_have_to_agree(save):
    files = [save("a.npy", np.zeros((3, 4))), save("b.npy", np.zeros((2, 4)))]
    with pytest.raises(InputError, match=r"(?s)different numbers of samples.*a: 3; b: 2"):
        feeds(files, spec(1, 4, name="a"), spec(1, 4, name="b"))


def test_a_path_that_leads_nowhere_is_to_be_checked(tmp_path):
    for name in ("none.npy", "none.png", "none.npz"):
        with pytest.raises(InputError) as caught:
            feeds([tmp_path / name], spec(1, 4))
        assert name in caught.value.what and "Check the path" in caught.value.fix
