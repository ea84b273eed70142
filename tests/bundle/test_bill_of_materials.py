"""The bill of materials, on documents made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgec.bundle.bill_of_materials import Described, bill_of_materials

DESCRIBED = Described(
    name="net",
    target="rpi4",
    backend="tflite",
    precision="int8",
    contract={
        "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 3, 8, 8]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 10]}],
    },
    parity={
        "metric": {"name": "accuracy", "original": 0.97, "reference": 0.96, "artifact": None},
        "total": {"outputs": [{"name": "scores", "sqnr_db": 33.25, "max_abs": 0.5, "top1_agreement": None}]},
    },
    metadata={},
    engine=("ai-edge-litert", "2.3.0"),
)
MEMBERS = {"payload/model.tflite": "a" * 64}
MATERIALS = (("model", "b" * 64), ("external data: w.bin", "c" * 64), ("evaluation", "d" * 64), ("target", "e" * 64))
TOOLS = {"edgec": "0.1.0", "apache-tvm": "0.27.0.post1", "numpy": "2.4.6+local"}


def bill(**changes):
    document = bill_of_materials(replace(DESCRIBED, **changes), MEMBERS, MATERIALS, TOOLS)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    assert fault is None, fault
    return document


def card(document):
    return document["metadata"]["component"]["modelCard"]


def test_the_card_holds_what_was_measured():
    assert card(bill())["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.97", "slice": "original"},
        {"type": "accuracy", "value": "0.96", "slice": "reference"},
        {"type": "SQNR against the original model, dB", "value": "33.25", "slice": "output scores"},
        {"type": "largest absolute difference from the original model", "value": "0.5", "slice": "output scores"},
    ]


def test_what_went_in_is_a_component_and_the_target_is_none():
    refs = [component["bom-ref"] for component in bill()["components"]]
    assert refs == ["model", "external data: w.bin", "evaluation", "engine", "payload/model.tflite"]


def test_machine_code_has_no_engine():
    assert "engine" not in [component["bom-ref"] for component in bill(engine=("", ""))["components"]]


def test_tools_have_a_purl():
    tools = {tool["name"]: tool["purl"] for tool in bill()["metadata"]["tools"]["components"]}
    assert tools == {
        "edgec": "pkg:generic/edgec@0.1.0",
        "apache-tvm": "pkg:pypi/apache-tvm@0.27.0.post1",
        "numpy": "pkg:pypi/numpy@2.4.6%2Blocal",
    }


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "unknown: the model does not say"),
        ({"license": "  "}, "unknown: the model does not say"),
        ({"license": "apache-2.0", "author": "x"}, "apache-2.0"),
        ({"Licence": "see LICENSE.txt"}, "see LICENSE.txt"),
    ],
)
def test_the_licence_is_what_the_model_says(metadata, words):
    document = bill(metadata=metadata)
    assert document["metadata"]["component"]["licenses"] == [{"license": {"name": words}}]
    assert document["components"][0]["licenses"] == [{"license": {"name": words}}]


def test_a_task_is_told_only_where_the_model_does():
    assert "task" not in card(bill())["modelParameters"]
    assert card(bill(metadata={"task": "segmentation"}))["modelParameters"]["task"] == "segmentation"


def test_words_of_a_model_can_not_break_the_document():
    wild = "a\x00b\x1b[31m\ud800" + "x" * 10_000
    contract = {key: [{"name": wild, "dtype": "float32", "shape": []}] for key in ("inputs", "outputs")}
    document = bill(name=wild, metadata={"license": wild, "task": wild}, contract=contract)
    text = json.dumps(document, ensure_ascii=False)
    assert text.encode() and "\x1b" not in text and "\\u001b" not in text
    assert len(text) < 20_000


def test_the_serial_number_is_a_function_of_the_content():
    assert bill()["serialNumber"] == bill()["serialNumber"]
    assert bill()["serialNumber"].startswith("urn:uuid:")
    assert bill()["serialNumber"] != bill(precision="mixed")["serialNumber"]
