"""The best of several candidates: by an objective, under limits, with different numbers of threads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.candidates.candidate import Candidate
from edgec.candidates.choice import keep
from edgec.candidates.figures import known_columns, times_of
from edgec.candidates.objectives import OBJECTIVES, Limits
from edgec.errors import LimitNotMet, ParityGateError


def candidate(milliseconds=1.0, size=100_000, sqnr=30.0, *, baseline=10.0, threads=1, watts=None, **changes):
    outputs = [{"sqnr_db": sqnr, "kind": "classes", "degenerate": None}]
    latency = {
        "artifact": milliseconds and {"p50": milliseconds},
        "baseline": {"p50": baseline},
        "ratio_of_medians": milliseconds and milliseconds / baseline,
    }
    parity = {"runner": "native", "total": {"outputs": outputs}}
    fields = {"backend": "tvm", "precision": "int8", "artifact_bytes": size, "latency": latency, "error": None}
    return Candidate(**{**fields, "parity": parity, "threads": threads, "watts": watts, **changes})


REFUSED = candidate(error=ParityGateError("It differs too much", "", ""))
CANDIDATES = st.builds(
    candidate,
    milliseconds=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    size=st.sampled_from([50_000, 100_000, 200_000]),
    sqnr=st.sampled_from([20.0, 30.0, 120.0]),
    threads=st.sampled_from([1, 2]),
    watts=st.sampled_from([5.0, 10.0]),
)


@pytest.mark.parametrize(
    ("objective", "best", "said"),
    [
        ("latency", 0, "2.00 times as fast"),
        ("size", 1, "smallest: the next one is 2.00 times as large"),
        ("accuracy", 2, "most accurate: SQNR 60 dB"),
        ("energy", 3, "least energy: the next one takes 1.67 times as much"),
    ],
)
def test_each_objective_has_its_best(objective, best, said):
    candidates = [
        candidate(1.0, 409_600, 30.0, watts=10.0),
        candidate(4.0, 102_400, 30.0, watts=10.0),
        candidate(4.0, 409_600, 60.0, watts=10.0),
        candidate(2.0, 204_800, 30.0, watts=3.0),
    ]
    choice = keep(candidates, objective)
    assert choice.kept == best
    assert said in choice.why


def test_of_equally_accurate_ones_the_fastest_is_kept():
    choice = keep([candidate(4.0, sqnr=50.02), candidate(1.0, sqnr=50.0), candidate(0.5, sqnr=20.0)], "accuracy")
    assert choice.kept == 1


def test_the_users_own_measure_is_what_accuracy_means_where_there_is_one():
    def measured(value, sqnr):
        metric = {"name": "top1", "original": 0.9, "reference": value, "artifact": value}
        return candidate(sqnr=sqnr, parity={"runner": "native", "metric": metric, "total": {"outputs": []}})

    choice = keep([measured(0.88, 60.0), measured(0.89, 20.0)], "accuracy")
    assert choice.kept == 1
    assert "top1 0.89" in choice.why


@given(st.lists(CANDIDATES, min_size=1, max_size=8), st.sampled_from(OBJECTIVES))
def test_what_is_kept_is_the_best_of_those_within_the_limits(candidates, objective):
    limits = Limits(milliseconds=2.0, bytes=150_000)
    choice = keep(candidates, objective, limits)
    fitting = [each for each in candidates if limits.excess(each.milliseconds, each.artifact_bytes) <= 1]
    kept = candidates[choice.kept]
    assert (choice.error is None) == bool(fitting)
    if not fitting:
        nearest = min(limits.excess(each.milliseconds, each.artifact_bytes) for each in candidates)
        assert limits.excess(kept.milliseconds, kept.artifact_bytes) == nearest
        return
    figures = {
        "latency": lambda each: each.milliseconds,
        "size": lambda each: each.artifact_bytes,
        "accuracy": lambda each: -each.accuracy.value,
        "energy": lambda each: each.watts * each.milliseconds,
    }
    assert figures[objective](kept) == min(map(figures[objective], fitting))


@given(st.lists(CANDIDATES, min_size=1, max_size=8), st.sampled_from(OBJECTIVES))
def test_what_is_kept_without_limits_is_as_good_as_something_on_the_front(candidates, objective):
    choice = keep(candidates, objective)
    kept = candidates[choice.kept]
    on_front = [candidates[number] for number in choice.front]
    assert choice.front
    if objective == "size":
        assert kept.artifact_bytes == min(each.artifact_bytes for each in on_front)
    elif objective == "accuracy":
        assert kept.accuracy == max((each.accuracy for each in on_front), key=lambda found: found.value)
    elif objective == "latency":
        assert kept.milliseconds == min(each.milliseconds for each in on_front)
    else:
        assert kept.watts * kept.milliseconds == min(each.watts * each.milliseconds for each in on_front)


def test_limits_that_nothing_keeps_are_an_error_that_names_the_closest():
    slow, large = candidate(3.0, 90_000), candidate(1.0, 400_000, backend="openvino", threads=2)
    choice = keep([REFUSED, slow, large], "latency", Limits(milliseconds=2.0, bytes=100_000))
    assert isinstance(choice.error, LimitNotMet) and choice.error.exit_code == 7
    assert choice.kept == 1, "1.5 times too slow is closer than 4 times too large"
    assert choice.error.why.index("tvm int8, 1 thread") < choice.error.why.index("openvino int8, 2 threads")
    assert "3 ms" in choice.error.why and "400 KB" in choice.error.why
    assert "--max-latency 3.15ms" in choice.error.fix
    assert [item["status"] for item in choice.to_json()["candidates"]] == ["refused", "over", "over"]
    assert [each["bytes"] for each in choice.error.details["closest"]] == [90_000, 400_000]


def test_what_the_closest_needs_is_enough_for_it():
    tight = Limits(milliseconds=1.0)
    assert keep([candidate(3.0)], "latency", tight).error is not None
    assert keep([candidate(3.0)], "latency", Limits(milliseconds=3.15)).error is None


def test_a_limit_on_a_time_that_was_not_measured_is_not_kept():
    assert "not measured" in keep([candidate(None)], "latency", Limits(milliseconds=5.0)).error.why


def test_times_with_different_threads_are_compared_as_the_machine_was_on_the_whole():
    """While the second was measured, the machine was at half its speed: its own milliseconds would mislead."""
    candidates = [
        candidate(5.0, baseline=10.0, threads=1),
        candidate(8.0, baseline=20.0, threads=1),
        candidate(4.5, baseline=6.0, threads=2),
        candidate(4.2, baseline=6.0, threads=2),
    ]
    times = times_of(candidates, range(4))
    assert times == {0: 0.5 * 15.0, 1: 0.4 * 15.0, 2: 0.75 * 6.0, 3: pytest.approx(0.7 * 6.0)}


def test_a_figure_that_one_lacks_judges_nobody():
    assert known_columns([candidate(), candidate(None)], range(2)) == ["size", "accuracy"]
    assert known_columns([candidate(watts=1.0), candidate(watts=2.0)], range(2)) == [
        *("latency", "size", "accuracy", "energy")
    ]


def test_what_was_not_tried_is_neither_kept_nor_on_the_front():
    left_out = candidate(0.1, 10, 120.0, not_tried="its weights alone take 2 MB")
    choice = keep([candidate(), left_out])
    assert (choice.kept, choice.front) == (0, (0,))
    assert choice.to_json()["candidates"][1]["not_tried"] == "its weights alone take 2 MB"
    assert choice.to_json()["candidates"][1]["status"] == "not tried"


@pytest.mark.parametrize(("high", "chance"), [(0.14, False), (0.21, True)])
def test_a_lead_that_chance_explains_is_called_so(high, chance):
    def measured(ratio, interval):
        latency = {"artifact": {"p50": 1.0}, "baseline": {"p50": 10.0}}
        return candidate(latency={**latency, "ratio_of_medians": ratio, "ratio_interval": interval})

    choice = keep([measured(0.22, [0.2, 0.25]), measured(0.12, [0.1, high])])
    assert choice.kept == 1
    assert ("may be chance" in choice.why) == chance


@pytest.mark.parametrize(("low", "kept"), [(0.09, 0), (0.115, 1)])
def test_more_threads_are_kept_only_where_they_are_faster_beyond_chance(low, kept):
    candidates = [candidate(1.2, threads=1), candidate(1.0, threads=2)]
    for each, interval in zip(candidates, ([low, 0.125], [0.095, 0.11]), strict=True):
        each.latency["ratio_interval"] = interval
    choice = keep(candidates)
    assert choice.kept == kept
    assert ("fewest threads" in choice.why) == (kept == 0)


def test_a_search_is_proposed_where_there_was_none():
    limits = Limits(milliseconds=0.5)
    with_others = keep([candidate(), candidate(None, not_tried="its weights alone take more")], limits=limits)
    assert "--search" in keep([candidate()], limits=limits).error.fix
    assert "--search" not in with_others.error.fix
