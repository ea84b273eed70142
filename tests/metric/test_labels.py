"""What a file of labels may hold, and how it finds its samples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgec.errors import CalibrationDataError
from edgec.metric.labels import labels_for, match, read_labels
from edgec.metric.request import MetricRequest
from edgec.samples import Row

NAMES = ["cat/1.png", "cat/2.png", "dog/3.png"]
ROWS = [Row(name, position) for position, name in enumerate(NAMES)]


def labels(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def matched(path, rows=ROWS, total=3):
    return match(read_labels(path), rows, total)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("l.json", "[4, 5, 6]", [4, 5, 6]),
        ("l.json", '{"dog/3.png": 6, "cat/1.png": 4, "cat/2.png": 5}', [4, 5, 6]),
        ("l.json", '{"3": [6, 1], "1": "x", "2": null}', ["x", None, [6, 1]]),
        ("l.csv", "name,label\ncat/1,4\ncat/2,5\ndog/3,6\n", [4, 5, 6]),
        ("l.csv", "1.png;4\n2.png;5\n3.png;6", [4, 5, 6]),
        ("l.csv", "class,width,filename\na,9,1.png\nb,9,2.png\nc,9,3.png\n", ["a", "b", "c"]),
        ("l.csv", "text,sample\n1.5,1.png\n2,2.png\n3,3.png\n", [1.5, 2.0, 3.0]),
        ("l.csv", "label\n4\n5\n6\n", [4, 5, 6]),
        ("l.tsv", "1\tone, two\n2\tb\n3\tc\n", ["one, two", "b", "c"]),
        ("l.txt", "4\n5\n6\n", [4, 5, 6]),
        ("l.txt", "a line\r\n\r\nlast", ["a line", "", "last"]),
    ],
)
def test_every_format(tmp_path, name, content, found):
    assert matched(labels(tmp_path, name, content)) == found


def test_arrays_are_labels_along_their_first_axis(tmp_path):
    masks = np.arange(12).reshape(3, 2, 2)
    np.save(tmp_path / "l.npy", masks)
    np.savez(tmp_path / "l.npz", images=np.zeros(3), labels=masks)
    np.savez(
        tmp_path / "named.npz", **{name.split("/")[1].removesuffix(".png"): masks[i] for i, name in enumerate(NAMES)}
    )
    for file in ("l.npy", "l.npz", "named.npz"):
        assert np.array_equal(matched(tmp_path / file), masks)


def test_labels_without_names_are_for_all_samples_of_the_data_used_or_not(tmp_path):
    path = labels(tmp_path, "l.txt", "\n".join(map(str, range(10))))
    assert matched(path, [Row("a", 2), Row("b", 7)], total=10) == [2, 7]
    with pytest.raises(CalibrationDataError, match="10 labels, and there are 3 samples"):
        matched(path)


def test_samples_without_a_label_are_named(tmp_path):
    path = labels(tmp_path, "l.json", '{"cat/1.png": 4, "cat/2.pgn": 5, "dgo/3.png": 6}')
    with pytest.raises(CalibrationDataError, match="no label for 2 of 3 samples") as caught:
        matched(path)
    assert "It lacks: cat/2.png, dog/3.png. Did you mean 'cat/2.pgn'?" in caught.value.why


def test_names_that_fit_two_samples_are_not_guessed(tmp_path):
    path = labels(tmp_path, "l.json", '{"1.png": 4}')
    with pytest.raises(CalibrationDataError, match="which sample is which"):
        matched(path, [Row("cat/1.png", 0), Row("dog/1.png", 1)], total=2)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.json", "{", "not JSON"),
        ("l.json", '"text"', "neither a list nor an object"),
        ("l.json", '{"a": 1, "a": 2}', "'a' stands in it twice"),
        ("l.json", "{}", "no labels"),
        ("l.csv", "a,1\nb,2\na,3\n", "'a' stands in it twice"),
        ("l.csv", "a,1,2\nb,2,3\n", "which are names and labels is not clear"),
        ("l.csv", "a,1\nb\n", "Line 2 has 1 columns"),
        ("l.csv", "", "no labels"),
        ("l.txt", "", "no labels"),
        ("l.txt", b"\xff\xfe\x00", "not text in UTF-8"),
        ("l.npy", b"no array", "can't be read as labels"),
    ],
)
def test_what_can_not_be_read_is_told(tmp_path, name, content, told):
    with pytest.raises(CalibrationDataError) as caught:
        read_labels(labels(tmp_path, name, content))
    assert told in str(caught.value)


def test_arrays_that_hold_python_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "l.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(CalibrationDataError, match="can't be read as labels"):
        read_labels(tmp_path / "l.npy")


class Batches:
    """Two samples of two rows each."""

    digest = ""
    all_rows = 4

    def __len__(self):
        return 2

    def rows_of(self, index):
        return tuple(Row(f"{'ab'[index]}/{row}.png", row) for row in (2 * index, 2 * index + 1))


@pytest.fixture
def metric(tmp_path):
    path = tmp_path / "quality.py"
    path.write_text("def m(outputs, labels): return 1.0\n")
    return f"{path}:m"


def test_a_batch_gets_a_list_of_labels(tmp_path, metric):
    path = labels(tmp_path, "l.json", "[4, 5, 6, 7]")
    assert labels_for(MetricRequest.of(metric, path), Batches(), [1]) == [[6, 7]]


def test_the_folder_can_be_the_label(metric):
    assert labels_for(MetricRequest.of(metric, "folders"), Batches(), [0, 1]) == [["a", "a"], ["b", "b"]]


def test_no_labels_are_none(metric):
    assert labels_for(MetricRequest.of(metric), Batches(), [0]) is None


def test_labels_that_change_meanwhile_are_noticed(tmp_path, metric):
    path = labels(tmp_path, "l.json", "[4, 5, 6, 7]")
    request = MetricRequest.of(metric, path)
    path.write_text(json.dumps([1, 2, 3, 4]))
    with pytest.raises(CalibrationDataError, match="has changed"):
        labels_for(request, Batches(), [0])


@pytest.mark.parametrize(("name", "told"), [("no.csv", "no file of labels"), ("l.xml", "not a file of labels")])
def test_a_file_that_can_not_be_labels_is_told_before_any_work(tmp_path, metric, name, told):
    (tmp_path / "l.xml").write_text("<labels/>")
    with pytest.raises(CalibrationDataError, match=told):
        MetricRequest.of(metric, tmp_path / name)


def test_the_request_depends_on_the_content_of_the_labels(tmp_path, metric):
    path = labels(tmp_path, "l.json", "[1]")
    first = MetricRequest.of(metric, path).digest
    assert MetricRequest.of(metric, path).digest == first
    path.write_text("[2]")
    assert MetricRequest.of(metric, path).digest != first
    assert MetricRequest.of(metric, path, max_drop=0.1).digest != MetricRequest.of(metric, path).digest
