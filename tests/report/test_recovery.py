"""What the report says of recovery: which steps paid, what was rewritten, what INT8 costs."""

from dataclasses import replace

from edgec.report import recovery, render_html

from .examples import good, refused


def test_a_step_says_what_it_gained():
    found = {step.title: step for step in recovery.steps(good())}
    assert found["Weights rounded by GPTQ"].gain == "20.1 → 22.7 dB"
    assert (found["Channels rescaled"].outcome, found["Channels rescaled"].tone) == ("rejected", "no")
    assert found["16-bit activations"].gain == "–"


def test_rewrites_come_with_the_most_frequent_first():
    made = [
        {"pass": "gelu", "title": "GELU made whole", "count": 2, "into": [], "nodes": []},
        {"pass": "merge", "title": "Equal nodes merged", "count": 9, "into": [], "nodes": []},
    ]
    inputs = replace(
        good(), canonicalize={"rewrites": made, "nodes_before": 90, "nodes_after": 70, "max_abs_diff": 0.0}
    )
    assert [(row.title, row.count) for row in recovery.rewrites(inputs)] == [
        ("Equal nodes merged", 9),
        ("GELU made whole", 2),
    ]
    assert "Rewritten from 90 to 70 nodes" in render_html(inputs)


def test_a_build_without_int8_has_no_steps():
    assert recovery.steps(replace(good(), quantize=None)) == []


def test_a_refusal_shows_what_int8_costs():
    assert recovery.curve(refused())[0] == ("100 %", "9.1 dB")
    assert "Multiply-accumulates in INT8" in render_html(refused())
