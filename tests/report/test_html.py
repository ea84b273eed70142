"""The HTML report: what a reader sees first, and what it must never do."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edgec.report import render_html
from tests.report.examples import ALL, failed, good, not_executed, refused

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that elements nest, and collects text, tags, ids and references."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []
        self.labels, self.described = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[key] for key in ("src", "href", "action") if key in values]
        self.labels += [values[key] for key in ("aria-label", "alt") if key in values]
        assert not any(key.startswith("on") for key in values)
        if tag == "img":
            assert values.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("title", "desc"):
            self.described.append(data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_the_page_is_well_formed_and_stands_alone(example):
    text = render_html(example())
    page = Page(text)
    assert "script" not in page.tags
    places = [link.removeprefix("#") for link in page.links if link.startswith("#")]
    assert len(places) > 3
    assert set(places) <= set(page.ids)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not re.search(r"https?:|//cdn|url\(|@import", text)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("h1") == 1
    assert page.tags.count("svg") == len(re.findall(r'role="img"|aria-hidden="true"><circle', text))


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_equal_builds_have_equal_reports(example):
    inputs = example()
    assert render_html(inputs) == render_html(inputs)


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_every_figure_says_in_words_what_it_shows(example):
    text = render_html(example())
    found = re.findall(r'<svg class="figure" role="img"[^>]*><title>([^<]+)</title><desc>([^<]+)</desc>', text)
    assert len(found) == text.count('class="figure"') > 0
    assert all(len(described) > 15 for _, described in found)


def test_the_verdict_comes_first_with_speed_and_size():
    text = Page(render_html(good())).text
    first = text[text.index("Holds") : text.index("Does it still say the same?")]
    assert "nanodet-plus-m holds on x86-64-vnni" in first
    assert "of 21 confident decisions, none changed" in first
    assert "3× smaller" in first
    assert "2.6× as fast" in first


def test_all_evidence_is_there():
    inputs = good()
    text = Page(render_html(inputs)).text
    for output in ("detections", "logits"):
        assert output in text
    for layer in inputs.quantize["worst_layers"]:
        assert layer["node"] in text
        assert layer["cause"] in text
    for node in inputs.quantize["float_nodes"]:
        assert node["reason"] in text
    for stage in inputs.build["stages"]:
        assert stage["name"] in text
    assert inputs.model["sha256"] in text
    assert inputs.build["artifact"]["sha256"] in text
    assert "minmax" in text
    assert "mse (taken)" in text
    assert "opset 11 was converted to 17" in text


def test_a_build_that_is_right_and_over_a_limit_goes_wrong_nowhere():
    done = good()
    error = {"kind": "LimitNotMet", "exit_code": 7, "what": "Too slow", "why": "5 ms", "fix": "Ask less", "details": {}}
    page = render_html(replace(done, build={**done.build, "status": "refused", "artifact": None, "error": error}))
    assert "Why there is no artifact" in page
    assert "Where it goes wrong" not in page
    assert "Where it goes wrong" in render_html(refused())


def test_a_refused_build_says_why_where_and_what_to_do():
    inputs = refused()
    text = Page(render_html(inputs)).text
    start = text[: text.index("Does it still say the same?")]
    assert "was not shipped" in start
    assert "confident decisions change" in start
    for layer in inputs.quantize["worst_layers"]:
        assert layer["node"] in start
        assert layer["cause"] in start
    assert "--precision float" in start
    assert "--keep-float /decoder/block.0/ffn/MatMul" in start
    assert "selftest" not in text


def test_a_failed_build_says_what_is_missing():
    text = Page(render_html(failed())).text
    assert "could not be built" in text
    assert "The package openvino is not installed." in text
    assert "pip install 'edgec[openvino]'" in text


def test_what_was_not_executed_is_not_praised():
    text = Page(render_html(not_executed())).text
    assert "Not executed" in text
    assert "holds on" not in text
    assert "as fast" not in text


def test_a_noisy_measurement_says_so():
    inputs = good()
    assert "busy" not in render_html(inputs)
    assert "busy" in render_html(replace(inputs, latency={**inputs.latency, "noisy": True}))


HOSTILE = '</style><script>alert(1)</script>" onload="x" \u202e\x07{{ 7*7 }}'


def test_hostile_names_stay_text():
    inputs = good()
    outputs = [{**inputs.parity["total"]["outputs"][0], "name": HOSTILE}]
    section = {"outputs": outputs}
    parity = {**inputs.parity, "quantization": section, "lowering": section, "total": section}
    layer = {"node": HOSTILE, "op": HOSTILE, "sqnr_db": 1.0, "cause": HOSTILE}
    quantize = {
        **inputs.quantize,
        "worst_layers": [layer],
        "float_nodes": [{"name": HOSTILE, "op": HOSTILE, "reason": HOSTILE}],
        "clipped": [HOSTILE],
    }
    error = {"what": HOSTILE, "why": HOSTILE, "fix": HOSTILE, "details": {"worst_layers": [layer]}}
    hostile = replace(
        inputs,
        model={**inputs.model, "path": HOSTILE},
        parity=parity,
        quantize=quantize,
        build={**inputs.build, "status": "failed", "error": error, "target": HOSTILE, "backend": HOSTILE},
        simplify={**inputs.simplify, "ops": {HOSTILE: 3}},
        lower={**inputs.lower, "facts": {HOSTILE: {HOSTILE: HOSTILE}}},
        inputs={**inputs.inputs, "inputs": [{**inputs.inputs["inputs"][0], "name": HOSTILE}], "warnings": [HOSTILE]},
        recipe={"name": HOSTILE},
    )
    text = render_html(hostile)
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "{{ 7*7 }}" in page.text
    assert any("alert(1)" in text for text in page.described)


def test_rendering_needs_neither_numpy_nor_native_libraries():
    code = (
        "import sys, edgec.report; print([m for m in ('numpy', 'onnx', 'onnxruntime', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_facts_about_a_payload_are_told_as_people_read_them():
    inputs = good()
    facts = {
        "int8_mac_fraction_declared": 1.0,
        "int8_mac_fraction_executed": 0.5,
        "int8_primitives": 54,
        "weight_bytes": 4698054,
        "minimum_runtime": "1.14.0",
        "kernels": {"Conv": 3},
    }
    page = render_html(replace(inputs, lower={**inputs.lower, "facts": facts}))
    for term, value in (
        ("Multiply-accumulates meant for INT8", "100 %"),
        ("Multiply-accumulates computed in INT8", "50 %"),
        ("Products computed in INT8", "54"),
        ("Weights", "4.7 MB"),
        ("Oldest runtime", "that of TensorFlow 1.14.0"),
        ("Kernels", "Conv 3"),
    ):
        assert f"<dt>{term}</dt><dd>{value}</dd>" in page
