"""The user's function: what it is given, and what is said when it does not keep its promise."""

from __future__ import annotations

import numpy as np
import pytest

from edgec import worker
from edgec.errors import UsageError
from edgec.metric import user_metric
from edgec.metric.source import find_function
from edgec.metric.user_metric import UserMetric

OUTPUTS = [{"y": np.arange(3.0)}, {"y": np.ones(3)}]


@pytest.fixture
def load(tmp_path):
    def loaded(text, function="m"):
        path = tmp_path / "quality.py"
        path.write_text(text)
        return UserMetric.load(find_function(f"{path}:{function}"))

    return loaded


def evaluate(metric, outputs=OUTPUTS, labels=(0, 1), names=("a", "b")):
    return metric.evaluate(outputs, list(labels), names)


def test_it_gets_outputs_labels_and_names_in_one_order(load):
    text = (
        "def m(outputs, labels, names):\n    return sum(o['y'][i] * len(n) for o, i, n in zip(outputs, labels, names))"
    )
    assert evaluate(load(text), labels=(2, 1), names=("a", "bcd")) == 5.0


def test_a_recurrent_model_gives_a_list_of_steps(load):
    metric = load("def m(outputs, labels): return sum(step['y'][0] for steps in outputs for step in steps)\n")
    assert evaluate(metric, [[{"y": np.array([1.0])}, {"y": np.array([2.0])}], [{"y": np.array([4.0])}]]) == 7


def test_without_labels_it_gets_none(load):
    assert load("def m(outputs, labels): return float(labels is None)\n").evaluate(OUTPUTS, None) == 1


def test_labels_that_were_forgotten_are_asked_for(load):
    with pytest.raises(UsageError) as caught:
        load("def m(outputs, labels): return float(len(list(zip(outputs, labels))))\n").evaluate(OUTPUTS, None)
    assert "add --labels" in caught.value.fix


@pytest.mark.parametrize(
    "value", ["1", "1.5", "__import__('numpy').float32(1.5)", "__import__('numpy').mean([1.0])", "-3.0"]
)
def test_any_finite_number_is_a_result(load, value):
    assert isinstance(evaluate(load(f"def m(outputs, labels): return {value}\n")), float)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("float('nan')", "gives nan on 2 samples"),
        ("float('-inf')", "gives -inf"),
        ("None", "It returned NoneType"),
        ("'0.9'", "It returned str: '0.9'"),
        ("True", "It returned bool"),
        ("(1.0, 2.0)", "It returned tuple"),
        ("__import__('numpy').ones(1)", "an array of shape [1]"),
    ],
)
def test_anything_else_is_refused(load, value, told):
    with pytest.raises(UsageError) as caught:
        evaluate(load(f"def m(outputs, labels): return {value}\n"))
    assert told in str(caught.value)


def test_an_error_is_told_with_the_users_own_line(load, tmp_path):
    text = "def inner(o):\n    return o['nope']\n\ndef m(outputs, labels):\n    return inner(outputs[0])\n"
    with pytest.raises(UsageError, match="failed with KeyError") as caught:
        evaluate(load(text))
    why = caught.value.why.splitlines()
    assert why == [
        f"{tmp_path}/quality.py, line 5, in m: return inner(outputs[0])",
        f"{tmp_path}/quality.py, line 2, in inner: return o['nope']",
        "KeyError: 'nope'",
    ]


def test_an_error_deep_in_a_library_names_both_lines(load):
    text = (
        "import numpy as np\ndef m(outputs, labels):\n    return np.concatenate([outputs[0]['y'], np.ones((2, 2))])\n"
    )
    with pytest.raises(UsageError) as caught:
        evaluate(load(text))
    assert "line 3, in m" in caught.value.why
    assert "ValueError" in caught.value.why


@pytest.mark.parametrize("how", ["raise SystemExit(3)", "import sys; sys.exit()", "assert False, 'no'"])
def test_leaving_is_no_result(load, how):
    with pytest.raises(UsageError, match="failed with"):
        evaluate(load(f"def m(outputs, labels):\n    {how}\n"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def m(outputs): return 1.0", "It is defined as m(outputs)"),
        ("def m(): return 1.0", "It is defined as m()"),
        ("def m(outputs, labels, other): return 1.0", "can't be called"),
        ("m = 3", "is int, not a function"),
        ("async def m(outputs, labels): return 1.0", "is a coroutine"),
        ("import nothing_of_that_name\ndef m(o, l): return 1.0", "ModuleNotFoundError"),
        ("raise SystemExit\ndef m(o, l): return 1.0", "can't be imported"),
        ("from math import *", "is NoneType"),
    ],
)
def test_what_is_no_metric_is_told_when_it_is_loaded(load, text, told):
    with pytest.raises(UsageError) as caught:
        load(text + "\n")
    assert told in str(caught.value)


def test_it_can_not_change_what_others_are_compared_with(load):
    metric = load("def m(outputs, labels):\n    labels.clear()\n    outputs[0]['y'][0] = 9\n    return 1.0\n")
    labels = [0, 1]
    with pytest.raises(UsageError) as caught:
        metric.evaluate(OUTPUTS, labels)
    assert "copy an array before changing it" in caught.value.fix
    assert OUTPUTS[0]["y"][0] == 0 and labels == [0, 1]


def evaluate_with_little_time(path):
    """In a worker, as a build does it: only a main thread can be interrupted."""
    user_metric.SECONDS = 0.2
    evaluate(UserMetric.load(find_function(f"{path}:m")))


def test_it_may_take_only_so_long(tmp_path):
    path = tmp_path / "endless.py"
    path.write_text(
        "def m(outputs, labels):\n    while True:\n        try:\n            sum(range(99))\n"
        "        except Exception:\n            pass\n"
    )
    with pytest.raises(UsageError, match="took more than"):
        worker.call(evaluate_with_little_time, {"path": path}, timeout=60)


def test_it_may_import_what_lies_beside_it(load, tmp_path):
    (tmp_path / "beside_the_metric.py").write_text("VALUE = 4.0\n")
    assert evaluate(load("import beside_the_metric\ndef m(o, l): return beside_the_metric.VALUE\n")) == 4


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    path = tmp_path / "quality.py"
    path.write_text("def m(o, l): return 1.0\n")
    source = find_function(f"{path}:m")
    path.write_text("def m(o, l): return 2.0\n")
    with pytest.raises(UsageError, match="has changed"):
        UserMetric.load(source)
