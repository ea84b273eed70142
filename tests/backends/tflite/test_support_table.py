"""The page of what is supported is what the code makes of it."""

from __future__ import annotations

from pathlib import Path

from edgec.backends.tflite.support_table import examples, page
from edgec.ir import kinds

PAGE = Path(__file__).resolve().parents[3] / "docs" / "tflite-support.md"


def test_the_committed_page_is_what_is_generated():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "python -m edgec.backends.tflite.support_table > docs/tflite-support.md"
    )


def test_every_kind_has_a_line():
    there = {type(item.kind) for item in examples()} | {kinds.Cast, kinds.Quantize, kinds.Dequantize, kinds.Kind}
    every = {item for item in vars(kinds).values() if isinstance(item, type) and issubclass(item, kinds.Kind)}
    assert every <= there


def test_the_lines_say_what_is_known():
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in page().splitlines() if line.startswith("| ")}
    assert lines["Conv2D"] == "| Conv2D | CONV_2D | float32 | yes | yes |"
    assert lines["sigmoid"] == "| sigmoid | LOGISTIC | float32 | yes | yes |"
    assert lines["exp"] == "| exp | EXP | float32 | with --io int8 |  |"
    assert lines["sin"] == "| sin | SIN | float32 |  |  |"
    assert lines["bitwise_and"].split(" | ")[1] == "refused"
    assert "(int64)" in lines["arg_max"]
