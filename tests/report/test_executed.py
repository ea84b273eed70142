"""What a report says of where the artifact was executed: on an emulated core, on some of the samples."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.report import ReportInputs, evidence, render_html, render_markdown, story
from tests.report.examples import good
from tests.report.test_html import Page

WHERE = "qemu-aarch64 7.2.22 as cortex-a72, 8 samples; emulated: says nothing about speed"


def emulated(**changes) -> ReportInputs:
    """A build for an emulated device, on 8 of 24 samples."""
    done = good()
    part = {"outputs": [{**item, "sqnr_db": 11.0} for item in done.parity["quantization"]["outputs"]]}
    parity = {
        **done.parity,
        "runner": "qemu-aarch64:cortex-a72",
        "emulator": {"name": "qemu-aarch64", "version": "7.2.22", "core": "cortex-a72", "root": "ab" * 32},
        "not_executed": "",
        "engine_version": "2.3.0",
        "idle_accelerator": None,
        "executed_samples": 8,
        "quantization_executed": part,
        **changes,
    }
    return replace(done, parity=parity, build={**done.build, "parity": parity})


@pytest.mark.parametrize("render", [lambda inputs: Page(render_html(inputs)).text, render_markdown])
def test_both_reports_say_where_and_on_how_many(render):
    text = render(emulated()).replace("\\", "")
    assert WHERE in text
    assert "ran on 8 of 24 held-out samples as an emulated cortex-a72" in text
    assert "the shipped bytes were run on 8 of them" in text
    assert "2.3.0" in text
    assert "ab" * 32 in text


def test_all_samples_are_not_called_a_part():
    text = Page(render_html(emulated(executed_samples=24, quantization_executed=None))).text
    assert "ran on 24 held-out samples as an emulated cortex-a72" in text
    assert "of them" not in story.outputs_note(emulated(executed_samples=24))


def test_the_figure_compares_on_the_same_samples():
    assert "quantized 11.0 dB" in str(evidence.levels_figure(emulated()))
    assert "quantized 11.0 dB" not in str(evidence.levels_figure(emulated(quantization_executed=None)))


def test_a_chip_that_did_not_run_is_named():
    text = Page(render_html(emulated(idle_accelerator="Edge TPU"))).text
    assert "as an emulated cortex-a72, without the Edge TPU" in text
    assert f"{WHERE}; the Edge TPU did not run" in text


def test_a_metric_on_few_samples_stands_beside_its_reference():
    metric = {
        "name": "accuracy",
        "original": 0.92,
        "reference": 0.91,
        "artifact": None,
        "drop": 0.041,
        "max_drop": 0.05,
        "samples": 24,
        "executed": {"samples": 8, "original": 0.9, "reference": 0.875, "artifact": 0.844},
        "labels": None,
        "evaluation": "own",
    }
    assert story.measured(emulated(metric=metric)) == (
        "Your metric accuracy, on 24 samples: 0.92 for the original, 0.91 for its quantized reference. "
        "On the 8 samples that the artifact was executed on: 0.875 for the reference, 0.844 for it. "
        "It may fall by 0.05."
    )
