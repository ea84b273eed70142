"""What a search leaves out, it leaves out for certain."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgec.candidates.candidate import Candidate
from edgec.candidates.objectives import NO_LIMITS, Limits
from edgec.candidates.pruning import least_milliseconds, reason_among, reason_before
from edgec.spec import BuildSpec

ANALYSIS = {
    "totals": {"weight_bytes": {"float32": 4_000_000, "int8": 1_000_000}},
    "roofline": {"float32_gmacs": 10.0, "int8_gmacs": 40.0, "memory_gb_per_s": 10.0, "threads": 1},
    "layers": [{"operator": "Conv", "macs": 90_000_000}, {"operator": "Gemm", "macs": 10_000_000}],
}


def spec(precision, threads=1):
    return BuildSpec(Path("m.onnx"), precision=precision, threads=threads, search=(precision,))


def timed(threads, milliseconds, size=1000, sqnr=30.0, backend="tvm"):
    outputs = [{"sqnr_db": sqnr, "kind": "classes", "degenerate": None}]
    latency = {
        "artifact": {"p50": milliseconds},
        "baseline": {"p50": 10.0},
        "ratio_of_medians": milliseconds / 10.0,
    }
    parity = {"runner": "native", "total": {"outputs": outputs}}
    return Candidate(backend, "int8", size, latency, None, parity=parity, threads=threads)


def test_weights_alone_may_be_too_large():
    limits = Limits(bytes=1_500_000)
    assert reason_before(spec("int8"), ANALYSIS, limits) == ""
    assert "2 MB" in reason_before(spec("fp16"), ANALYSIS, limits)
    assert "4 MB" in reason_before(spec("float"), ANALYSIS, limits)


def test_the_peak_of_the_processor_bounds_the_time():
    assert least_milliseconds(ANALYSIS, "int8", 1) == pytest.approx(2.5)
    assert least_milliseconds(ANALYSIS, "int8", 2) == pytest.approx(1.25)
    assert least_milliseconds(ANALYSIS, "float", 1) == pytest.approx((90 / 2.25 + 10) / 10)


def test_what_the_peak_does_not_allow_is_not_tried():
    assert "no less than 5 ms" in reason_before(spec("float"), ANALYSIS, Limits(milliseconds=3.0))
    assert reason_before(spec("float"), ANALYSIS, Limits(milliseconds=4.5)) == "", "peaks may be measured too low"
    assert reason_before(spec("int8"), ANALYSIS, Limits(milliseconds=3.0)) == ""


@pytest.mark.parametrize("analysis", [None, {**ANALYSIS, "roofline": None}])
def test_nothing_is_left_out_for_its_time_where_no_roofline_is_known(analysis):
    assert reason_before(spec("float"), analysis, Limits(milliseconds=0.001)) == ""


def test_without_limits_everything_is_tried():
    assert all(reason_before(spec(each), ANALYSIS, NO_LIMITS) == "" for each in ("int8", "fp16", "float"))


def test_more_threads_are_tried_as_long_as_they_help():
    assert reason_among(2, [timed(1, 10.0)], [], NO_LIMITS) == ""
    assert reason_among(4, [timed(1, 10.0), timed(2, 6.0)], [], NO_LIMITS) == ""
    assert "no faster" in reason_among(4, [timed(1, 10.0), timed(2, 9.9)], [], NO_LIMITS)


def test_n_threads_are_at_most_n_times_as_fast():
    assert "too slow" in reason_among(2, [timed(1, 10.0)], [], Limits(milliseconds=3.0))
    assert reason_among(2, [timed(1, 10.0)], [], Limits(milliseconds=4.5)) == ""


def test_what_another_beats_even_then_is_not_tried():
    best = timed(1, 2.0, size=900, sqnr=30.0, backend="openvino")
    assert "openvino" in reason_among(2, [timed(1, 10.0)], [best], NO_LIMITS)
    for other in (
        timed(1, 4.5, size=900, backend="openvino"),
        timed(1, 2.0, size=1100, backend="openvino"),
        timed(1, 2.0, size=900, sqnr=29.0, backend="openvino"),
        replace(best, watts=10.0),
    ):
        assert reason_among(2, [timed(1, 10.0)], [other], NO_LIMITS) == ""


def test_what_failed_with_one_thread_is_not_tried_with_two():
    failed = Candidate("tvm", "int8", None, None, RuntimeError(), threads=1)
    assert "came to no figures" in reason_among(2, [failed], [], NO_LIMITS)
