"""Lists of files: CSV with a column an input, and plain text with paths in the order of the inputs."""

from pathlib import Path

import numpy as np
import pytest

from edgec.calibration_data.file_lists import read_list
from edgec.calibration_data.sources import open_source
from edgec.errors import CalibrationDataError
from edgec.recipes import load_recipe
from tests.calibration_data.data import IMAGES, contract, photos


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a.npy", "b.npy", "c.npy", "with space.npy"):
        (tmp_path / name).touch()
    return tmp_path


def listed(folder: Path, name: str, text: str, inputs: list[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    (folder / name).write_text(text, encoding="utf-8")
    samples, notes = read_list(folder / name, inputs)
    return [tuple(file.name for file in sample.files) for sample in samples], notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "y,x\nb.npy,a.npy\nc.npy,b.npy\n"),
        ("l.csv", "\ufeffx;y\r\na.npy;b.npy\r\n\r\nb.npy;c.npy\r\n"),
        ("l.tsv", "x\ty\na.npy\tb.npy\nb.npy\tc.npy\n"),
        ("l.csv", "a.npy,b.npy\nb.npy,c.npy\n"),
        ("dataset.txt", "# two inputs\na.npy b.npy\n\nb.npy  c.npy\n"),
    ],
)
def test_a_line_names_a_file_for_each_input(folder, name, text):
    assert listed(folder, name, text, ["x", "y"]) == ([("a.npy", "b.npy"), ("b.npy", "c.npy")], [])


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("l.csv", "image,label\na.npy,3\nb.npy,4\n", "column label"),
        ("l.csv", "a.npy,3\nb.npy,4\n", "column 2"),
        ("l.txt", "a.npy 3\nb.npy 4\n", "what follows the first path"),
    ],
)
def test_labels_are_left_aside_and_said_so(folder, name, text, note):
    samples, notes = listed(folder, name, text, ["x"])
    assert samples == [("a.npy",), ("b.npy",)]
    assert len(notes) == 1 and note in notes[0]


def test_a_path_that_climbs_is_shown_as_where_it_lies(folder, monkeypatch):
    (folder / "lists" / "deep").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "lists" / "deep")
    monkeypatch.chdir(folder)
    for name in ("lists/l.txt", "link/l.csv"):  # a link is followed before the way up
        Path(name).write_text(f"{'../' * (1 if name.startswith('lists') else 2)}a.npy\n")
        samples, _ = read_list(Path(name), ["x"])
        assert samples[0].files == (folder.resolve() / "a.npy",)


def test_paths_may_have_spaces(folder):
    assert listed(folder, "l.txt", "with space.npy\n", ["x"])[0] == [("with space.npy",)]
    assert listed(folder, "l.txt", '"with space.npy" a.npy\n', ["x", "y"])[0] == [("with space.npy", "a.npy")]
    assert listed(folder, "l.csv", "path\nwith space.npy\n", ["x"])[0] == [("with space.npy",)]


@pytest.mark.parametrize(
    ("name", "text", "line", "why"),
    [
        ("l.csv", "x,z\na.npy,b.npy\n", 1, "no column for the input 'y'"),
        ("l.csv", "x,y\na.npy,b.npy\na.npy\n", 3, "has 1 columns"),
        ("l.csv", "x,y\na.npy,lost.npy\n", 2, "names 'lost.npy', which is not a file"),
        ("l.csv", "x,y\na.npy,\n", 2, "leaves a path empty"),
        ("l.csv", "0.5,1.5\n2.5,3.5\n", 1, "holds numbers, not paths"),
        ("l.txt", "a.npy b.npy\na.npy\n", 2, "names 1 files"),
        ("l.txt", "a.npy 'b.npy\n", 1, "can't be understood"),
        ("l.txt", "a.npy .\n", 1, "which is not a file"),
    ],
)
def test_mistakes_are_named_with_their_line(folder, name, text, line, why):
    with pytest.raises(CalibrationDataError) as caught:
        listed(folder, name, text, ["x", "y"])
    assert f"{name}, line {line}, " in caught.value.what and why in caught.value.what


def test_a_list_of_nothing(folder):
    with pytest.raises(CalibrationDataError, match="names no files"):
        listed(folder, "l.txt", "# nothing yet\n", ["x"])


def test_a_file_that_is_no_text(folder):
    (folder / "l.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationDataError, match="not text in UTF-8"):
        read_list(folder / "l.txt", ["x"])


def test_images_and_arrays_meet_in_a_list(tmp_path):
    detector = contract(("image", "float32", (1, 3, 16, 16)), ("size", "float32", (1, 2)))
    photos(tmp_path, 2)
    np.save(tmp_path / "s.npy", np.array([24, 32], np.float32))
    (tmp_path / "l.csv").write_text("image,size\nimg1.png,s.npy\nimg0.png,s.npy\n")
    source = open_source(tmp_path / "l.csv", detector, load_recipe("yolo"))
    (first, second) = source.read()
    assert first.name == "l.csv:2" and first.steps[0]["size"].tolist() == [[24, 32]]
    assert not np.array_equal(first.steps[0]["image"], second.steps[0]["image"])


def test_the_order_of_a_list_is_kept(tmp_path):
    photos(tmp_path, 3)
    digests = set()
    for order in ("0 1 2", "2 1 0"):
        (tmp_path / "l.txt").write_text("".join(f"img{i}.png\n" for i in order.split()))
        digests.add(open_source(tmp_path / "l.txt", IMAGES, load_recipe("yolo")).digest)
    assert len(digests) == 2


def test_a_listed_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.pdf").touch()
    (tmp_path / "l.txt").write_text("a.pdf\n")
    with pytest.raises(CalibrationDataError, match="neither an image nor an array"):
        open_source(tmp_path / "l.txt", IMAGES)
