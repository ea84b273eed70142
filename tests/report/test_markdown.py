"""The Markdown and JSON reports."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from edgec.errors import UsageError
from edgec.report import render_html, render_json, render_markdown
from edgec.report.documents import read_report, rendering
from tests.report.examples import ALL, good, refused


def test_the_verdict_is_the_title():
    assert render_markdown(good()).splitlines()[0] == "# Holds: nanodet-plus-m holds on x86-64-vnni"


def test_a_refused_build_says_why_and_what_to_do():
    text = render_markdown(refused())
    assert "## Why there is no artifact" in text
    assert "confident decisions change" in text
    assert "--precision float" in text
    assert "/decoder/block.0/ffn/MatMul" in text


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_every_row_of_a_table_has_as_many_cells_as_its_title(example):
    tables, current = [], []
    for line in [*render_markdown(example()).splitlines(), ""]:
        if line.startswith("|"):
            current.append(line)
        elif current:
            tables.append(current)
            current = []
    assert tables
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_hostile_name_breaks_neither_table_nor_line():
    inputs = good()
    layer = {"node": "a|b\n# c <img src=x> `d`", "op": "Conv", "sqnr_db": 1.0, "cause": "[x](http://y)"}
    text = render_markdown(replace(inputs, quantize={**inputs.quantize, "worst_layers": [layer]}))
    (line,) = [line for line in text.splitlines() if "src=x" in line]
    assert line.startswith("| a\\|b \\# c \\<img src=x\\> \\`d\\` | Conv |")
    assert "\\[x\\](http" in line


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_json_holds_every_document_and_gives_the_same_report_again(example, tmp_path):
    inputs = example()
    text = render_json(inputs)
    document = json.loads(text)
    assert document["schema"] == 1
    assert {item.name for item in fields(inputs)} <= document.keys()
    assert document["build"] == json.loads(json.dumps(inputs.build))
    assert document["parity"] == json.loads(json.dumps(inputs.parity))
    place = tmp_path / "x.report.json"
    place.write_text(text)
    again = read_report(place)
    assert render_html(again) == render_html(inputs)
    assert render_markdown(again) == render_markdown(inputs)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "lacks one of"),
        ('{"model": {}, "build": {}}', "lacks one of"),
        ('{"model": {}, "build": {}, "target": {}, "schema": 99}', "schema is 99"),
        ('{"model": {}, "build": {}, "target": {}, "schema": 1, "contact_sheet": "?"}', "base64"),
    ],
)
def test_what_is_no_report_is_an_error_that_says_so(text, why, tmp_path):
    place = tmp_path / "x.report.json"
    place.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_report(place)
    assert why in raised.value.why
    assert str(place) in raised.value.what


def test_a_report_that_lacks_something_inside_is_an_error_too(tmp_path):
    with pytest.raises(UsageError, match="not the report of a build"), rendering(tmp_path / "x.report.json"):
        render_html(replace(good(), build={"status": "ok"}))


def test_markdown_fits_a_comment_and_folds_what_few_read():
    nodes = [{"name": f"n{i}", "op": "Add", "reason": "kept in float on request"} for i in range(300)]
    inputs = good()
    text = render_markdown(replace(inputs, quantize={**inputs.quantize, "float_nodes": nodes}))
    assert len(text) < 65_536  # of GitHub's comments
    assert "and 290 more" in text
    shown = text[: text.index("<details>")]
    assert len(shown.splitlines()) < 50


def test_what_the_file_itself_takes_is_said_in_words():
    inputs = good()
    border = {"name": "image", "index_name": "image", "dtype": "int8", "permutation": [0, 2, 3, 1]}
    quantized = {**border, "scale": 0.5, "zero_point": -128}
    plain = {**border, "name": "x", "permutation": None, "scale": None, "zero_point": None}
    text = render_markdown(replace(inputs, lower={**inputs.lower, "options": {"inputs": [quantized, plain]}}))
    (row,) = [line for line in text.splitlines() if line.startswith("| Engine's inputs")]
    assert "image: int8, the model's dimensions in the order" in row
    assert "scale 0.5, zero point -128; x: int8 |" in row
    assert "index" not in row and "None" not in row
