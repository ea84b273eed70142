"""What the reports say of a model's part on an Edge TPU."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest

from edgec.backends.edgetpu.mapping import predict
from edgec.report import ReportInputs, render_html, render_markdown
from tests.backends.edgetpu.test_mapping import chain
from tests.report.examples import good


def _mapped(*operators: str) -> ReportInputs:
    """A report on a chain of operators between two convolutions."""
    inputs = good()
    facts = {"label": "uncompiled", "predicted": predict(chain(*operators)).to_json()}
    return replace(inputs, lower={**(inputs.lower or {}), "facts": {"edgetpu": facts}})


@pytest.mark.parametrize("render", [render_markdown, render_html])
def test_every_report_says_what_maps_whether_the_weights_fit_and_what_would_map_more(render):
    text = html.unescape(render(_mapped("LEAKY_RELU", "RELU"))).replace("\\", "")
    assert "On the Edge TPU: uncompiled" in text
    assert "1 of 4 operations with 50 % of the multiplications" in text
    assert predict(chain("LEAKY_RELU", "RELU")).memory.sentence[1:] in text
    assert "Operation not supported" in text
    assert "What would map more" in text


def test_a_model_that_is_mapped_whole_gets_no_advice():
    text = render_markdown(_mapped("RELU"))
    assert "On the Edge TPU" in text
    assert "What would map more" not in text


def test_a_payload_for_other_devices_has_no_such_section():
    assert "Edge TPU" not in render_markdown(good())
