"""What this machine can do at best, of times that are made up."""

from __future__ import annotations

import pytest

from edgec.inspection import peaks

QUIET = [0.001] * peaks._RUNS
BUSY = [0.004, *[0.008] * (peaks._RUNS - 1)]


@pytest.fixture
def timed(monkeypatch):
    """Peaks of a machine on which the three works take these times, round after round; and how many rounds it took."""

    def measured(*rounds):
        asked = iter([times for each in rounds for times in each])
        monkeypatch.setattr(peaks, "_product", lambda operator, weights: None)
        monkeypatch.setattr(peaks, "_times", lambda work, values: next(asked))
        found = peaks.measure()
        return found, len(rounds) - sum(1 for _ in asked) // 3

    return measured


def test_peaks_are_of_the_fastest_run(timed):
    found, rounds = timed([QUIET, [0.0009, *QUIET[1:]], [0.004] * peaks._RUNS])
    assert found == {"float32_gmacs": 134.22, "int8_gmacs": 149.13, "memory_gb_per_s": 33.55, "noisy": False}
    assert rounds == 1


def test_a_busy_moment_is_waited_for_to_pass(timed):
    found, rounds = timed([QUIET, QUIET, BUSY], [QUIET, QUIET, QUIET], [QUIET, QUIET, QUIET])
    assert (found["memory_gb_per_s"], found["noisy"], rounds) == (134.22, False, 2)


def test_a_machine_that_stays_busy_says_so_and_keeps_the_best_that_was_seen(timed):
    found, rounds = timed([BUSY, QUIET, BUSY], [QUIET, BUSY, BUSY], [BUSY, QUIET, BUSY])
    assert (found["float32_gmacs"], found["noisy"], rounds) == (134.22, True, 3)


def test_this_machine_has_peaks():
    found = peaks.measure()
    assert min(found["float32_gmacs"], found["int8_gmacs"], found["memory_gb_per_s"]) > 0
