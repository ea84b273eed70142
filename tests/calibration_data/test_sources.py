"""What may lie under --calib, and how it becomes samples."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgec.calibration_data.blocks import Wanted, blocks_of_file
from edgec.calibration_data.decoding import Decoder
from edgec.calibration_data.sources import open_source, random_source, spool
from edgec.errors import CalibrationDataError
from edgec.recipes import load_recipe
from edgec.runtime.preprocess import image_tensor
from tests.calibration_data.data import IMAGES, TOKENS, VOICE, contract, photo, photos

RNG = np.random.default_rng(0)
STATE = {"h_out": "h"}


def names(source) -> list[str]:
    return [sample.name for sample in source.read()]


def values(source, name: str = "x") -> np.ndarray:
    """All samples of one input, the first step of each."""
    return np.concatenate([sample.steps[0][name] for sample in source.read()])


class TestImages:
    def test_a_folder_is_read_in_natural_order_and_through_the_recipe(self, tmp_path):
        recipe = load_recipe("imagenet")
        source = open_source(photos(tmp_path, 12), IMAGES, recipe)
        assert names(source) == [f"img{i}.png" for i in range(12)]
        expected = image_tensor(recipe.to_json(), photo(10), (1, 3, 16, 16))
        assert np.array_equal(values(source)[10:11], expected)

    def test_folders_of_classes_are_read_too(self, tmp_path):
        photos(tmp_path / "dog", 2)
        photos(tmp_path / "cat" / "tabby", 1)
        source = open_source(tmp_path, IMAGES, load_recipe("yolo"))
        assert names(source) == ["cat/tabby/img0.png", "dog/img0.png", "dog/img1.png"]

    def test_what_is_no_sample_is_left_aside_and_said_so(self, tmp_path):
        photos(tmp_path, 1)
        for name in ("README.md", "Thumbs.db", ".DS_Store", ".hidden.png"):
            (tmp_path / name).write_bytes(b"x")
        source = open_source(tmp_path, IMAGES, load_recipe("yolo"))
        assert len(source) == 1
        assert "4 files: .DS_Store, .hidden.png, README.md, Thumbs.db" in source.notes[0]

    def test_links_are_followed_and_circles_end(self, tmp_path):
        photos(tmp_path / "real", 1)
        data = tmp_path / "data"
        data.mkdir()
        (data / "one.png").symlink_to(tmp_path / "real" / "img0.png")
        (data / "more").symlink_to(tmp_path / "real")
        (data / "again").symlink_to(data)
        assert names(open_source(data, IMAGES, load_recipe("yolo"))) == ["more/img0.png", "one.png"]

    def test_without_a_recipe_fitting_ones_are_proposed(self, tmp_path):
        with pytest.raises(CalibrationDataError) as caught:
            open_source(photos(tmp_path, 1), IMAGES)
        assert "imagenet" in caught.value.fix and "--preprocess" in caught.value.fix
        assert "1x3x16x16" in caught.value.why

    def test_a_recipe_that_can_not_fit_is_refused_before_anything_is_decoded(self, tmp_path):
        with pytest.raises(CalibrationDataError, match=r"(?s)'mnist' does not fit.*GRAY.*1x3x16x16"):
            open_source(photos(tmp_path, 1), IMAGES, load_recipe("mnist"))

    def test_a_recipe_of_another_dtype_is_refused(self, tmp_path):
        with pytest.raises(CalibrationDataError, match='dtype = "uint8"'):
            open_source(photos(tmp_path, 1), contract(("x", "uint8", (1, 16, 16, 3))), load_recipe("pixels"))

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "It is empty"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"\0\0\0\x18ftypheic" + b"\0" * 20, "HEIC"),
            (b"not an image at all", "It begins with"),
        ],
    )
    def test_a_file_that_only_claims_to_be_an_image_is_refused_early(self, tmp_path, content, why):
        (tmp_path / "photo.jpg").write_bytes(content)
        with pytest.raises(CalibrationDataError, match=rf"(?s)photo\.jpg is not an image.*{why}"):
            open_source(tmp_path, IMAGES, load_recipe("yolo"))

    def test_a_cut_image_is_named_when_it_is_decoded(self, tmp_path):
        photos(tmp_path, 2)
        whole = (tmp_path / "img1.png").read_bytes()
        (tmp_path / "img1.png").write_bytes(whole[: len(whole) // 2])
        source = open_source(tmp_path, IMAGES, load_recipe("yolo"))
        with pytest.raises(CalibrationDataError, match=r"img1\.png"):
            list(source.read())

    def test_one_image_is_a_set_of_one(self, tmp_path):
        photos(tmp_path, 1)
        assert len(open_source(tmp_path / "img0.png", IMAGES, load_recipe("yolo"))) == 1

    def test_rows_of_a_batch_are_stacked_in_order(self, tmp_path):
        recipe, batched = load_recipe("yolo"), contract(("x", "float32", (4, 3, 16, 16)))
        source = open_source(photos(tmp_path, 10), batched, recipe)
        single = open_source(tmp_path, IMAGES, recipe)
        assert len(source) == 2 and "the last 2 samples" in source.notes[0]
        assert np.array_equal(values(source), values(single)[:8])
        with pytest.raises(CalibrationDataError, match="too few samples for one batch"):
            open_source(tmp_path, contract(("x", "float32", (16, 3, 16, 16))), recipe)

    def test_an_input_without_a_batch_axis_is_not_taken_for_a_batch(self, tmp_path):
        source = open_source(photos(tmp_path, 3), contract(("x", "float32", (3, 16, 16))), load_recipe("yolo"))
        assert [sample.steps[0]["x"].shape for sample in source.read()] == [(3, 16, 16)] * 3

    def test_arrays_of_pixels_go_through_the_recipe(self, tmp_path):
        recipe = load_recipe("imagenet")
        np.save(tmp_path / "set.npy", np.stack([photo(0), photo(1)]))
        np.save(tmp_path / "single.npy", photo(2))
        source = open_source(tmp_path, IMAGES, recipe)
        assert names(source) == ["set.npy[0]", "set.npy[1]", "single.npy"]
        expected = [image_tensor(recipe.to_json(), photo(i), (1, 3, 16, 16)) for i in range(3)]
        assert np.array_equal(values(source), np.concatenate(expected))

    def test_planar_pixels_are_refused_with_the_transposition(self, tmp_path):
        np.save(tmp_path / "chw.npy", photo(0).transpose(2, 0, 1))
        with pytest.raises(CalibrationDataError, match=r"x\.transpose\(1, 2, 0\)"):
            open_source(tmp_path, IMAGES, load_recipe("imagenet"))

    def test_ready_arrays_with_a_recipe_for_images_are_refused(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 16), np.float32))
        with pytest.raises(CalibrationDataError, match="leave --preprocess out"):
            open_source(tmp_path, IMAGES, load_recipe("imagenet"))


class TestArrays:
    @pytest.mark.parametrize(
        ("shape", "count"),
        [((1, 3, 16, 16), 1), ((3, 16, 16), 1), ((5, 3, 16, 16), 5), ((5, 1, 3, 16, 16), 5)],
    )
    def test_the_sample_axis_and_the_batch_axis_are_told_apart(self, tmp_path, shape, count):
        data = RNG.standard_normal(shape).astype(np.float32)
        np.save(tmp_path / "x.npy", data)
        source = open_source(tmp_path / "x.npy", IMAGES)
        assert len(source) == count
        assert np.array_equal(values(source), data.reshape(count, 3, 16, 16))

    def test_gray_images_may_lack_their_channel_axis(self, tmp_path):
        data = RNG.random((7, 28, 28), np.float32)
        np.save(tmp_path / "mnist.npy", data)
        for shape in ((1, 1, 28, 28), (1, 28, 28, 1)):
            source = open_source(tmp_path / "mnist.npy", contract(("x", "float32", shape)))
            assert np.array_equal(values(source).reshape(7, 28, 28), data)

    def test_whole_batches_and_rows_both_fill_a_batch(self, tmp_path):
        data = RNG.random((8, 10), np.float32)
        batched = contract(("x", "float32", (4, 10)))
        np.save(tmp_path / "rows.npy", data)
        np.save(tmp_path / "batches.npy", data.reshape(2, 4, 10))
        for name in ("rows.npy", "batches.npy"):
            source = open_source(tmp_path / name, batched)
            assert len(source) == 2 and np.array_equal(values(source), data)
        with pytest.raises(CalibrationDataError, match="whole batches, others single"):
            open_source(tmp_path, batched)

    def test_npz_keys_are_the_names_of_inputs(self, tmp_path):
        ids = RNG.integers(0, 99, (6, 8))
        np.savez(tmp_path / "set.npz", ids=ids, mask=np.ones_like(ids), label=np.zeros(6))
        source = open_source(tmp_path / "set.npz", TOKENS)
        assert np.array_equal(values(source, "ids"), ids)
        assert source.notes == ("arrays called 'label' are left aside: no input has that name",)

    def test_a_missing_key_gets_the_closest_one(self, tmp_path):
        np.savez(tmp_path / "set.npz", ids=np.zeros((1, 8), int), masks=np.zeros((1, 8), int))
        with pytest.raises(CalibrationDataError, match="Did you mean 'masks'"):
            open_source(tmp_path / "set.npz", TOKENS)

    def test_a_single_array_of_any_name_goes_to_the_only_input(self, tmp_path):
        np.savez(tmp_path / "set.npz", RNG.random((2, 3, 16, 16)))
        source = open_source(tmp_path / "set.npz", IMAGES)
        assert len(source) == 2
        assert source.notes == ("arrays called 'arr_0' are taken for the input 'x': no others are there",)

    def test_a_folder_a_sample_with_a_file_an_input(self, tmp_path):
        odd = contract(("a/b:0", "float32", (1, 4)), ("c", "float32", (1, 2)))
        for number in range(11):
            folder = tmp_path / f"s{number}"
            folder.mkdir()
            np.save(folder / "a_b_0.npy", np.full((1, 4), number, np.float32))
            np.save(folder / "c.npy", np.full((1, 2), -number, np.float32))
        source = open_source(tmp_path, odd)
        assert names(source)[9:] == ["s9", "s10"]
        assert values(source, "a/b:0")[10, 0] == 10 and values(source, "c")[10, 0] == -10
        (tmp_path / "s3" / "c.npy").unlink()
        with pytest.raises(CalibrationDataError, match="sample s3 has no file for the input 'c'"):
            open_source(tmp_path, odd)

    def test_one_file_an_input_with_all_samples(self, tmp_path):
        np.save(tmp_path / "ids.npy", RNG.integers(0, 9, (5, 8)))
        np.save(tmp_path / "mask.npy", np.ones((5, 8), np.int64))
        assert len(open_source(tmp_path, TOKENS)) == 5
        np.save(tmp_path / "mask.npy", np.ones((4, 8), np.int64))
        with pytest.raises(CalibrationDataError, match=r"(?s)different numbers of samples.*ids: 5; mask: 4"):
            open_source(tmp_path, TOKENS)

    def test_several_inputs_need_names(self, tmp_path):
        np.save(tmp_path / "data.npy", np.zeros((5, 8), np.int64))
        with pytest.raises(CalibrationDataError, match="does not say which file is for which input"):
            open_source(tmp_path, TOKENS)
        with pytest.raises(CalibrationDataError, match="brings one input, the model has 2"):
            open_source(tmp_path / "data.npy", TOKENS)

    def test_images_and_arrays_side_by_side_are_ambiguous(self, tmp_path):
        photos(tmp_path, 1)
        np.save(tmp_path / "x.npy", np.zeros((3, 16, 16), np.float32))
        with pytest.raises(CalibrationDataError, match="1 images and 1 arrays"):
            open_source(tmp_path, IMAGES, load_recipe("yolo"))

    def test_a_recipe_for_arrays_scales_them(self, tmp_path):
        path = tmp_path / "pcm.toml"
        path.write_text('title = "t"\napplies_to = "arrays"\n[normalize]\nscale = 0.5\nmean = [1]\n')
        np.save(tmp_path / "x.npy", np.array([[2, 4], [6, 8]], np.int16))
        source = open_source(tmp_path / "x.npy", contract(("x", "float32", (1, 2))), load_recipe(path))
        assert values(source).tolist() == [[0, 1], [2, 3]]

    def test_a_set_larger_than_memory_is_mapped(self, tmp_path):
        sparse = tmp_path / "big.npy"
        with sparse.open("wb") as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 24, 3, 16, 16)}
            )
            stream.truncate(stream.tell() + (1 << 24) * 3 * 16 * 16 * 4)
        (block,) = blocks_of_file(sparse, "big", Wanted.by(IMAGES, None, {}), [])  # hashing 48 GiB is not for a test
        assert block.count == 1 << 24
        assert Decoder(IMAGES, None).steps(block, block.count - 1)[0]["x"].shape == (1, 3, 16, 16)


class TestSequences:
    def test_a_leading_axis_is_time_and_single_numbers_are_shared(self, tmp_path):
        audio = RNG.standard_normal((7, 32)).astype(np.float32)
        np.savez(tmp_path / "speech.npz", audio=audio, rate=np.int64(16000))
        (sample,) = open_source(tmp_path / "speech.npz", VOICE, state=STATE).read()
        assert [step["audio"].shape for step in sample.steps] == [(1, 32)] * 7
        assert np.array_equal(np.concatenate([step["audio"] for step in sample.steps]), audio)
        assert {int(step["rate"]) for step in sample.steps} == {16000}
        assert "h" not in sample.steps[0]

    def test_a_sample_axis_may_stand_before_time(self, tmp_path):
        np.savez(tmp_path / "s.npz", audio=np.zeros((3, 7, 1, 32), np.float32), rate=np.int64(1))
        source = open_source(tmp_path / "s.npz", VOICE, state=STATE)
        assert [len(sample.steps) for sample in source.read()] == [7, 7, 7]

    def test_a_state_in_the_file_is_left_aside_and_said_so(self, tmp_path):
        np.savez(tmp_path / "s.npz", audio=np.zeros((7, 32)), rate=np.int64(1), h=np.zeros((2, 1, 4)))
        assert "starts from zeros" in open_source(tmp_path / "s.npz", VOICE, state=STATE).notes[0]

    def test_inputs_must_have_the_same_number_of_steps(self, tmp_path):
        two = contract(("a", "float32", (1, 4)), ("b", "float32", (1, 4)), ("h", "float32", (1, 4)))
        np.savez(tmp_path / "s.npz", a=np.zeros((7, 4)), b=np.zeros((6, 4)))
        with pytest.raises(CalibrationDataError, match=r"a: 1 samples, 7 steps; b: 1 samples, 6 steps"):
            open_source(tmp_path / "s.npz", two, state=STATE)

    def test_a_model_of_states_only_is_refused(self, tmp_path):
        with pytest.raises(CalibrationDataError, match="Check --state"):
            open_source(tmp_path, contract(("h", "float32", (1, 4))), state=STATE)


class TestSelectionAndIdentity:
    def test_max_samples_are_spread_evenly(self, tmp_path):
        source = open_source(photos(tmp_path, 12), IMAGES, load_recipe("yolo"), max_samples=4)
        assert names(source) == ["img0.png", "img3.png", "img6.png", "img9.png"]
        np.save(tmp_path / "all.npy", np.arange(100, dtype=np.float32)[:, None])
        source = open_source(tmp_path / "all.npy", contract(("x", "float32", (1, 1))), max_samples=5)
        assert values(source).ravel().tolist() == [0, 20, 40, 60, 80]

    def test_more_than_there_are_changes_nothing(self, tmp_path):
        recipe = load_recipe("yolo")
        source = open_source(photos(tmp_path, 3), IMAGES, recipe, max_samples=50)
        assert len(source) == 3 and source.digest == open_source(tmp_path, IMAGES, recipe).digest

    def test_the_digest_is_that_of_the_content_wherever_it_lies(self, tmp_path):
        recipe = load_recipe("yolo")
        here = open_source(photos(tmp_path / "a", 3), IMAGES, recipe)
        there = open_source(photos(tmp_path / "b", 3), IMAGES, recipe)
        assert here.digest == there.digest

    def test_the_digest_covers_bytes_names_order_recipe_and_selection(self, tmp_path):
        recipe = load_recipe("yolo")
        photos(tmp_path, 3)
        digests = {open_source(tmp_path, IMAGES, recipe).digest}
        digests.add(open_source(tmp_path, IMAGES, load_recipe("imagenet")).digest)
        digests.add(open_source(tmp_path, IMAGES, recipe, max_samples=2).digest)
        Image.fromarray(photo(77)).save(tmp_path / "img1.png")
        digests.add(open_source(tmp_path, IMAGES, recipe).digest)
        (tmp_path / "img1.png").rename(tmp_path / "img9.png")
        digests.add(open_source(tmp_path, IMAGES, recipe).digest)
        assert len(digests) == 5

    def test_indices_choose_and_order_samples(self, tmp_path):
        source = open_source(photos(tmp_path, 5), IMAGES, load_recipe("yolo"))
        assert [sample.name for sample in source.read([4, 0, 0])] == ["img4.png", "img0.png", "img0.png"]
        with pytest.raises(IndexError):
            list(source.read([5]))

    def test_a_source_survives_pickling(self, tmp_path):
        source = open_source(photos(tmp_path, 3), IMAGES, load_recipe("imagenet"), max_samples=2)
        copy = pickle.loads(pickle.dumps(source))
        assert copy.digest == source.digest and np.array_equal(values(copy), values(source))

    def test_a_file_that_changes_after_hashing_is_refused(self, tmp_path):
        source = open_source(photos(tmp_path, 2), IMAGES, load_recipe("yolo"))
        Image.fromarray(photo(9)).save(tmp_path / "img1.png")
        os.utime(tmp_path / "img1.png", ns=(1, 1))
        with pytest.raises(CalibrationDataError, match=r"img1\.png has changed"):
            list(source.read())

    def test_listing_and_hashing_do_not_load_numpy(self, tmp_path):
        photos(tmp_path / "photos", 2)
        np.savez(tmp_path / "ids.npz", ids=np.zeros((2, 8), int), mask=np.zeros((2, 8), int))
        program = (
            "import sys\n"
            "from pathlib import Path\n"
            "from edgec.calibration_data.sources import open_source\n"
            "from edgec.contract import Contract, TensorSpec as T\n"
            "from edgec.recipes import load_recipe\n"
            "x = Contract((T('x', 'float32', (1, 3, 16, 16)),), ())\n"
            "t = Contract((T('ids', 'int64', (1, 8)), T('mask', 'int64', (1, 8))), ())\n"
            "print(len(open_source(Path('photos'), x, load_recipe('yolo'))), len(open_source(Path('ids.npz'), t)))\n"
            "print(sorted({'numpy', 'PIL', 'onnx'} & set(sys.modules)))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == "2 2\n[]\n"


class TestRefusals:
    def test_nothing_there(self, tmp_path):
        photos(tmp_path / "photos", 1)
        with pytest.raises(CalibrationDataError, match="Did you mean 'photos'"):
            open_source(tmp_path / "photo", IMAGES)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(CalibrationDataError, match=r"(?s)no samples.*It is empty"):
            open_source(tmp_path, IMAGES)

    def test_a_folder_of_other_things(self, tmp_path):
        for name in ("a.heic", "b.heic", "c.pdf"):
            (tmp_path / name).touch()
        with pytest.raises(CalibrationDataError, match=r"It holds 2 \.heic, 1 \.pdf"):
            open_source(tmp_path, IMAGES)

    def test_an_archive(self, tmp_path):
        (tmp_path / "data.zip").touch()
        with pytest.raises(CalibrationDataError, match="Unpack archives first"):
            open_source(tmp_path / "data.zip", IMAGES)

    def test_a_link_to_nowhere(self, tmp_path):
        photos(tmp_path, 1)
        (tmp_path / "lost.png").symlink_to("/nowhere/lost.png")
        with pytest.raises(CalibrationDataError, match=r"(?s)lost\.png is a link.*/nowhere"):
            open_source(tmp_path, IMAGES, load_recipe("yolo"))

    @pytest.mark.parametrize("recipe", [None, load_recipe("yolo")])
    @pytest.mark.parametrize(("shape", "dtype"), [((0, 3, 16, 16), "float32"), ((0, 16, 16, 3), "uint8")])
    def test_an_array_of_nothing(self, tmp_path, recipe, shape, dtype):
        np.save(tmp_path / "x.npy", np.zeros(shape, dtype))
        with pytest.raises(CalibrationDataError, match=r"(?s)x\.npy holds no samples.*0x"):
            open_source(tmp_path / "x.npy", IMAGES, recipe)

    def test_a_device_is_no_data(self):
        with pytest.raises(CalibrationDataError, match="/dev/null is not a folder or file of data"):
            open_source(Path(os.devnull), IMAGES)

    def test_a_named_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(CalibrationDataError, match="no samples"):
            open_source(tmp_path, IMAGES, load_recipe("yolo"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path):
        photos(tmp_path, 1)
        (tmp_path / "img0.png").chmod(0)
        with pytest.raises(CalibrationDataError, match="Permission denied"):
            open_source(tmp_path, IMAGES, load_recipe("yolo"))

    def test_an_error_of_the_system_is_passed_on_in_plain_words(self, tmp_path, monkeypatch):
        photos(tmp_path, 1)
        recipe = load_recipe("yolo")

        def denied(self, *args, **kwargs):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(CalibrationDataError, match=r"(?s)img0\.png can't be read.*Permission denied"):
            open_source(tmp_path, IMAGES, recipe)


class TestSpool:
    @pytest.mark.parametrize(
        "items",
        [
            lambda ids, mask: [(i, m) for i, m in zip(ids, mask, strict=True)],
            lambda ids, mask: [{"mask": m[None], "ids": i[None]} for i, m in zip(ids, mask, strict=True)],
            lambda ids, mask: [{"ids": ids, "mask": mask}],
        ],
    )
    def test_tuples_dicts_and_batches(self, tmp_path, items):
        ids, mask = RNG.integers(0, 99, (4, 8)), RNG.integers(0, 2, (4, 8)).astype(bool)
        source = pickle.loads(pickle.dumps(spool(iter(items(ids, mask)), TOKENS, tmp_path / "spool")))
        assert len(source) == 4
        assert np.array_equal(values(source, "ids"), ids) and np.array_equal(values(source, "mask"), mask)

    def test_any_name_of_an_input_can_be_stored(self, tmp_path):
        odd = contract(("file", "float32", (1, 2)), ("../up:0", "float32", (1, 2)))
        source = spool([(np.ones((1, 2)), np.zeros((1, 2)))], odd, tmp_path / "spool")
        assert values(source, "../up:0").tolist() == [[0, 0]]
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["000000.npz", "spool"]

    def test_at_most_so_many_are_used_spread_over_all(self, tmp_path):
        samples = [np.full((3, 16, 16), number) for number in range(10)]
        source = spool(samples, IMAGES, tmp_path / "spool", max_samples=5)
        assert [sample.name for sample in source.read()] == [f"sample {number}" for number in (0, 2, 4, 6, 8)]

    def test_one_array_with_a_leading_sample_axis_is_its_samples(self, tmp_path):
        data = RNG.random((5, 3, 16, 16), np.float32)
        source = spool(data, IMAGES, tmp_path / "spool")
        assert len(source) == 5 and np.array_equal(values(source), data)

    def test_what_no_input_takes_is_left_aside_and_said_so(self, tmp_path):
        items = [{"x": np.zeros((3, 16, 16)), "label": 7}] * 2
        source = spool(items, IMAGES, tmp_path / "spool")
        assert source.notes == ("what samples hold as 'label' is left aside: no input has that name",)

    def test_errors_name_the_sample_not_where_it_was_spooled_to(self, tmp_path):
        with pytest.raises(CalibrationDataError) as caught:
            spool([1, 2], IMAGES, tmp_path / "spool")
        assert "sample 0" in caught.value.why
        assert str(tmp_path) not in f"{caught.value.what}{caught.value.why}{caught.value.fix}"

    def test_equal_samples_have_equal_digests(self, tmp_path):
        samples = [RNG.random((3, 16, 16)) for _ in range(3)]
        digests = [spool(samples, IMAGES, tmp_path / name).digest for name in ("a", "b")]
        digests.append(spool(samples[::-1], IMAGES, tmp_path / "c").digest)
        assert digests[0] == digests[1] != digests[2]

    def test_sequences(self, tmp_path):
        items = [{"audio": np.zeros((steps, 32), np.float32), "rate": np.int64(8000)} for steps in (3, 5)]
        source = spool(items, VOICE, tmp_path / "spool", STATE)
        assert [len(sample.steps) for sample in source.read()] == [3, 5]

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (np.zeros((3, 8, 8)), "Sample 1 does not fit.*1x3x16x16"),
            (np.full((3, 16, 16), np.nan), "Sample 1 does not fit.*not finite"),
            (np.zeros((3, 16, 16), np.uint8), "Sample 1 does not fit.*raw pixels"),
            ({"y": np.zeros((3, 16, 16))}, "Sample 1 has nothing for the input 'x'"),
            ((np.zeros(1), np.zeros(1)), "Sample 1 is a tuple of 2"),
            ("photo.png", "Sample 1 does not hold numbers"),
            (None, "Sample 1 does not hold numbers"),
        ],
    )
    def test_what_does_not_fit_stops_at_once(self, tmp_path, item, message):
        taken = []

        def samples():
            for number, value in enumerate((np.ones((3, 16, 16)), item, np.ones((3, 16, 16)))):
                taken.append(number)
                yield value

        with pytest.raises(CalibrationDataError, match=f"(?s){message}"):
            spool(samples(), IMAGES, tmp_path / "spool")
        assert taken == [0, 1]

    def test_an_empty_iterable(self, tmp_path):
        with pytest.raises(CalibrationDataError, match="is empty"):
            spool(iter(()), IMAGES, tmp_path / "spool")


class TestRandom:
    def test_the_same_seed_gives_the_same_numbers_whatever_is_read(self):
        source = random_source(TOKENS, 5, seed=3)
        everything = list(source.read())
        (third,) = source.read([3])
        assert np.array_equal(third.steps[0]["ids"], everything[3].steps[0]["ids"])
        assert source.digest == random_source(TOKENS, 5, 3).digest != random_source(TOKENS, 5, 4).digest

    def test_numbers_have_the_dtype_of_the_input_and_states_are_left_out(self):
        (sample,) = random_source(VOICE, 1, 0, STATE).read()
        assert {name: (str(a.dtype), a.shape) for name, a in sample.steps[0].items()} == {
            "audio": ("float32", (1, 32)),
            "rate": ("int64", ()),
        }
