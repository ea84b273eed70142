"""The verdict in words: what it must say of random data, of missing proof, of integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgec.parity.gates import judge
from edgec.parity.metrics import compare
from edgec.report import evidence, render_html, render_markdown, story
from tests.report.examples import good, nothing_proven, refused
from tests.report.test_html import Page


def both(inputs):
    return Page(render_html(inputs)).text, render_markdown(inputs).replace("\\", "")


def with_calibration(inputs, **calibration):
    return replace(inputs, build={**inputs.build, "calibration": {"sha256": "0" * 64, **calibration}})


def with_outputs(inputs, original, candidate, **options):
    section = {"outputs": [item.to_json() for item in compare(original, candidate, **options)]}
    parity = {**inputs.parity, "quantization": section, "lowering": section, "total": section}
    return replace(inputs, parity=parity)


def test_random_numbers_are_in_the_headline():
    inputs = with_calibration(good(), source="random", kind="random", samples=16)
    for text in both(inputs):
        assert "Holds, on random numbers only" in text
        assert "holds on x86-64-vnni" not in text
        assert "Random numbers stood in for data" in text
        assert "8 samples for calibration, 8 held out, from random numbers" in text
    assert story.headline(inputs).tone == "doubtful"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"source": "photos/", "kind": "files", "samples": 64},
            "32 samples for calibration, 32 held out, from photos/",
        ),
        ({"source": "arrays", "kind": "arrays", "samples": 8}, "4 samples for calibration, 4 held out, from arrays"),
        ({"source": "a.npy", "kind": "files", "samples": 1}, "1 sample for calibration, none held out, from a.npy"),
    ],
)
def test_the_source_of_the_samples_and_their_split_are_named(given, words):
    for text in both(with_calibration(good(), **given)):
        assert words in text
        assert "random numbers" not in text


def test_a_float_build_only_compares_on_samples():
    inputs = replace(good(), quantize=None, inputs=None)
    inputs = with_calibration(inputs, source="photos/", kind="files", samples=64)
    assert "32 samples to compare on, from photos/" in both(inputs)[0]


@pytest.mark.parametrize("count", [1, 8])
def test_missing_proof_is_not_called_a_loss(count):
    for text in both(nothing_proven(count)):
        assert "Nothing proven" in text
        assert "too much" not in text
        assert ("says nothing on this data" in text) == (count > 1)
        assert ("there is a single sample" in text) == (count == 1)
        assert "--keep-float" not in text
        assert ("at least 4 samples, better 64" in text) == (count == 1)
        assert ("on which it finds something" in text) == (count > 1)


def test_a_loss_is_not_called_missing_proof():
    assert story.headline(refused()).word == "Refused"


def test_integers_are_equal_or_not():
    labels = [{"labels": np.arange(100).reshape(1, 100) + step} for step in range(4)]
    changed = [{"labels": np.where(step["labels"] == step["labels"].min(), 0, step["labels"])} for step in labels]
    inputs = with_outputs(good(), labels, changed, steps={"labels": 1.0})
    (row,) = evidence.output_rows(inputs)
    assert row.quantization == row.lowering == row.total
    assert row.total.endswith("% equal")
    assert row.decisions == row.channels == "–"
    assert not row.worst_channels
    assert evidence.levels_figure(inputs) is None
    sentence = story.headline(inputs).lead[0]
    assert "dB" not in sentence
    assert "of their integers are equal" in sentence


def test_decisions_and_levels_have_cells_of_their_own():
    rng = np.random.default_rng(0)
    original = [{"embedding": rng.normal(size=(1, 32))} for _ in range(8)]
    close = [{"embedding": step["embedding"] + rng.normal(0, 0.001, (1, 32))} for step in original]
    (row,) = evidence.output_rows(with_outputs(good(), original, close, steps={"embedding": 0.05}))
    assert row.decisions == "–"
    assert "cosine" in row.total_detail
    assert row.lowering.endswith("LSB")
    assert row.lowering_detail.endswith("against the reference")
    (row,) = evidence.output_rows(with_outputs(good(), original, original))
    assert row.lowering == "nothing"
    assert row.total == "exact"
    detections, logits = evidence.output_rows(good())
    assert logits.decisions.endswith("change")
    assert "LSB" in detections.lowering


def test_a_weak_layer_comes_with_its_cause_and_what_helps():
    layer = {"node": "conv0", "op": "Conv", "sqnr_db": 12.0, "cause": "few bits left", "remedy": "Try --force rescale."}
    inputs = good()
    page = render_html(replace(inputs, quantize={**inputs.quantize, "worst_layers": [layer]}))
    assert "few bits left" in page
    assert "Try <code>--force rescale</code>." in page


def test_nothing_is_advised_against_a_layer_that_does_no_harm():
    layer = {"node": "conv0", "op": "Conv", "sqnr_db": 96.0, "cause": "few bits left", "remedy": "Try --force rescale."}
    inputs = good()
    page = render_html(replace(inputs, quantize={**inputs.quantize, "worst_layers": [layer]}))
    assert "few bits left" in page
    assert "rescale</code>" not in page


def test_what_is_to_be_typed_is_set_as_code_with_its_names():
    inputs = refused()
    fix = "--keep-float NODE leaves a layer out.\nTo see why: edgec diagnose my.onnx --gate sqnr=90"
    page = render_html(replace(inputs, build={**inputs.build, "error": {**inputs.build["error"], "fix": fix}}))
    assert "<code>--keep-float NODE</code> leaves" in page
    assert "<code>edgec diagnose my.onnx --gate sqnr=90</code>" in page


def test_one_layer_is_not_called_two():
    inputs = refused()
    error = inputs.build["error"]
    details = {**error["details"], "worst_layers": error["details"]["worst_layers"][:1]}
    one = replace(inputs, build={**inputs.build, "error": {**error, "details": details}})
    for text in both(one):
        assert "the worst layer in float" in text
        assert "two worst" not in text
    assert all("the two worst layers in float" in text for text in both(inputs))


def test_the_title_is_the_artifacts_name():
    inputs = good()
    for text in both(replace(inputs, model={**inputs.model, "name": "seeing-eye"})):
        assert "seeing-eye holds on x86-64-vnni" in text
        assert "nanodet-plus-m holds" not in text


def test_slower_is_called_slower():
    inputs = good()
    slow = Page(render_html(replace(inputs, latency={**inputs.latency, "ratio_of_medians": 1.92}))).text
    assert "slower: 0.52×" in slow
    assert "0.52× as fast" not in slow


def test_a_failing_gate_of_the_example_is_the_real_one():
    failures = nothing_proven(1).build["error"]["details"]["failures"]
    single = [{"y": np.arange(4.0)[None]}]
    assert failures == list(judge(compare(single, single)).failures)
