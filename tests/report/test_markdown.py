"""The Markdown and JSON reports."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgec.report import render_json, render_markdown
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
def test_json_holds_every_document(example):
    inputs = example()
    document = json.loads(render_json(inputs))
    assert document["schema"] == 1
    assert document["build"] == json.loads(json.dumps(inputs.build))
    assert document["parity"] == json.loads(json.dumps(inputs.parity))
    assert "contact_sheet" not in document


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
