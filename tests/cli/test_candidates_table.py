"""The table of a search, and the words for a cost."""

import io

from rich.console import Console

from edgec.candidates.candidate import Candidate
from edgec.candidates.choice import keep
from edgec.candidates.objectives import Limits
from edgec.cli.candidates_table import is_search, print_candidates
from edgec.cli.summary import _cost
from edgec.errors import ParityGateError


def candidate(backend, milliseconds, threads, **changes):
    latency = {"artifact": {"p50": milliseconds}, "baseline": {"p50": 1.0}, "ratio_of_medians": milliseconds}
    outputs = [{"sqnr_db": 120.0, "kind": "classes", "degenerate": None}]
    fields = {"parity": {"runner": "native", "total": {"outputs": outputs}}, "watts": 5.0, "profile": "islands"}
    return Candidate(backend, "int8", 123_456, latency, None, threads=threads, **{**fields, **changes})


def shown(choice):
    console = Console(file=io.StringIO(), width=80)
    print_candidates(choice.to_json(), console)
    return console.file.getvalue()


def test_every_candidate_has_a_line_and_every_omission_a_reason():
    error = ParityGateError("INT8 changes the model's results too much", "", "")
    choice = keep(
        [
            candidate("openvino", 0.5, 1),
            candidate("tflite", 0.25, 2),
            candidate("tvm", 2.0, 1),
            candidate("tvm", 0.1, 4, not_tried="2 threads are no faster than 1"),
            Candidate("tvm", "int8", None, None, error, profile="strict", threads=1),
        ],
        limits=Limits(milliseconds=1.0),
    )
    assert is_search(choice.to_json())
    lines = shown(choice).splitlines()
    assert any(line.startswith("✓ tflite int8 islands ") and "0.25 ms" in line and "4.00x" in line for line in lines)
    assert any(line.startswith("> tvm int8 islands ") and "2 ms" in line for line in lines)
    assert any(line.startswith("✗ tvm int8 strict") for line in lines)
    assert any("left out: tvm int8 islands, 4 threads: 2 threads are no faster" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "refused: tvm int8 strict, 1 thread: INT8 changes" in " ".join(lines)


def test_a_choice_of_backends_is_no_search():
    assert not is_search(keep([candidate("tvm", 0.1, None, profile="")]).to_json())
    assert not is_search(None)


def test_a_cost_is_called_an_estimate():
    after = {"milliseconds": 2.0, "per_1000": 0.00125, "joules": 0.5}
    assert _cost({"after": after, "currency": "EUR", "saved": 0.6, "note": ""}) == (
        "0.00125 EUR for 1,000 inferences, 0.5 J for each, 60% less than the original (estimate)"
    )
    assert _cost({"after": None, "note": "No time was measured."}) == "No time was measured."
