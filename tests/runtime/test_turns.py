"""Turns, streams and what they count. Times themselves are the machine's business."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edgec.runtime.bench import single_stream
from edgec.runtime.turns import Query, Turn, in_turns


def side(calls, name, milliseconds=1.0, lives=1 << 30):
    """A side that writes down when it had a turn, and how long that was."""
    count = 0

    def turn(queries):
        nonlocal count
        count += 1
        if count > lives:
            return None
        calls.append((name, queries))
        return Turn(np.full(queries, milliseconds), 0.0, queries * milliseconds / 1e3, None)

    return turn


def measured(calls, sides):
    """The names in the order of their turns, without the warm-up."""
    return "".join(name for name, _ in calls)[-sides:]


def test_who_begins_a_round_alternates_and_six_rounds_are_the_least():
    calls = []
    found = [index for index, _ in in_turns([side(calls, "a"), side(calls, "b"), side(calls, "c")], 1e-9)]
    assert found == [0, 1, 2, 2, 1, 0] * 3
    assert measured(calls, 18) == "abccba" * 3


def test_turns_of_all_sides_take_about_as_long():
    calls = []
    list(in_turns([side(calls, "a", 1.0), side(calls, "b", 5.0)], 1e-9))
    assert dict(calls[-2:]) == {"a": 10, "b": 2}


def test_a_turn_has_two_queries_at_least_and_is_bounded():
    calls = []
    list(in_turns([side(calls, "slow", 5000.0), side(calls, "quick", 1e-6)], 1e-9))
    assert dict(calls[-2:]) == {"slow": 2, "quick": 2000}


def test_a_side_that_ends_is_left_out():
    calls = []
    found = [index for index, _ in in_turns([side(calls, "a"), side(calls, "b", lives=4)], 1e-9)]
    assert found.count(0) == 6
    assert found.count(1) < 6


def test_a_side_that_can_not_even_warm_up_has_no_turn():
    assert [index for index, _ in in_turns([side([], "a", lives=0), side([], "b")], 1e-9)] == [1] * 6


def test_a_turn_does_not_count_its_first_query():
    fed = []
    turn = Query(fed.append, [{"x": 1}]).turn(5)
    assert len(fed) == 6
    assert len(turn.milliseconds) == 5


def test_a_query_of_a_batch_takes_its_feeds_in_rotation():
    fed = []
    query = Query(fed.append, ["a", "b", "c"], batch=2)
    query()
    query()
    assert fed == ["a", "b", "c", "a"]


def test_a_turn_tells_wall_time_processor_time_and_memory():
    turn = Query(lambda feeds: time.sleep(0.002), [{}]).turn(5)
    assert (turn.milliseconds >= 2).all()
    assert turn.seconds >= 0.01
    assert turn.cpu_milliseconds < turn.seconds * 1e3
    assert turn.resident > 1 << 20


def test_a_stream_lasts_as_long_and_has_as_many_queries_as_asked():
    query = Query(lambda feeds: None, [{}])
    assert len(query.stream(0.0, 5000).milliseconds) == 5000
    slow = Query(lambda feeds: time.sleep(0.001), [{}]).stream(0.05, 3)
    assert slow.seconds >= 0.05
    assert len(slow.milliseconds) >= 3


def test_a_stream_that_is_interrupted_keeps_what_it_has():
    def run(feeds):
        done.append(1)
        if len(done) == 10:
            raise KeyboardInterrupt

    done = []
    assert len(Query(run, [{}]).stream(60, 1024).milliseconds) == 9


@pytest.mark.parametrize(
    ("queries", "seconds", "reason"),
    [(1024, 60.0, ""), (1023, 60.0, "1023 of 1024 queries"), (2000, 59.0, "59.0 of 60 s")],
)
def test_a_stream_is_valid_with_its_least_queries_and_time(queries, seconds, reason):
    found = single_stream(Turn(np.ones(queries), 0.0, seconds, None))
    assert (found["valid"], found["invalid_because"]) == (not reason, reason)


def test_the_headline_of_a_stream_is_a_latency_that_was_measured():
    times = np.random.default_rng(0).permutation(np.arange(1, 11, dtype=float))
    assert single_stream(Turn(times, 0.0, 1.0, None))["p90_ms"] == 10  # LoadGen's index is floor(0.9 n)
