"""What is set side by side, and what is not."""

import csv
import io
from pathlib import Path

import pytest

from edgec.comparison import table
from edgec.comparison.document import compared
from edgec.comparison.subjects import Subject

BOARD = 'name = "board"\ntitle = "A board"\narch = "aarch64"\nbackends = ["tflite"]\nthreads = 4\n'


def subject(
    name, milliseconds=1.0, size=1000, sqnr=30.0, *, machine="A", model="m", target="host", baseline=10.0, **more
):
    outputs = [{"sqnr_db": sqnr, "kind": "classes", "degenerate": None, "top1_agreement": 0.96}]
    parity = {"runner": "native", "total": {"outputs": outputs}, **more.pop("parity", {})}
    manifest = {
        "name": name,
        "model_sha256": model,
        "target": target,
        "arch": "x86_64",
        "backend": "tvm",
        "precision": "int8",
        "threads": 0,
        **more,
    }
    latency = milliseconds and {
        "artifact": {"p50": milliseconds, "p95": 2 * milliseconds},
        "baseline": {"p50": baseline},
        "ratio_of_medians": milliseconds / baseline,
        "threads": 1,
        "machine": machine,
        "noisy": False,
        "note": "",
    }
    record = {"latency": latency, "lower": {"facts": {"int8_mac_fraction_executed": 0.81}}}
    return Subject(Path(f"{name}.edgec"), size, name, manifest, parity, record)


def fronts(document):
    return [row["front"] for row in document["rows"]]


def test_the_front_is_marked():
    document = compared([subject("a", 1.0, 100_000), subject("b", 2.0, 50_000), subject("c", 3.0, 150_000)])
    assert fronts(document) == [True, True, False]
    assert document["groups"] == [{"model_sha256": "m", "machine": "A", "judged_by": ["latency", "size", "accuracy"]}]


def test_times_of_different_machines_are_never_compared():
    document = compared([subject("fast", 1.0, machine="A"), subject("slow", 9.0, 90_000, machine="B")])
    assert fronts(document) == [True, True]
    assert any("2 machines (A; B)" in note and "not to be compared" in note for note in document["notes"])


def test_different_models_are_said_to_be_first_of_all():
    document = compared([subject("a", 1.0), subject("b", 9.0, 90_000, model="other")])
    assert "2 different models (a.edgec; b.edgec)" in document["notes"][0]
    assert fronts(document) == [True, True]


def test_what_has_no_time_is_judged_by_what_it_has():
    document = compared([subject("a"), subject("b", None, 100_000), subject("c", None, 200_000)])
    assert fronts(document) == [True, True, False]
    assert any("No time is known of b.edgec, c.edgec" in note for note in document["notes"])
    assert document["rows"][1]["latency_ms"] is None


def test_recorded_times_are_compared_as_ratios_to_the_original():
    """The machine was at a third of its speed while b was measured; b is the faster one."""
    document = compared([subject("a", 2.0, baseline=10.0), subject("b", 3.0, baseline=30.0)])
    assert fronts(document) == [False, True]
    assert any("--measure" in note for note in document["notes"])


def test_measured_times_are_compared_as_they_are():
    times = {"a.edgec": 2.0, "b.edgec": 3.0}
    measurements = {
        path: {"latency_ms": {"p50": ms, "p95": ms}, "threads": 1, "peak_bytes": 10**7, "noisy": path == "b.edgec"}
        for path, ms in times.items()
    }
    document = compared([subject("a", 2.0, baseline=10.0), subject("b", 3.0, baseline=30.0)], measurements)
    assert fronts(document) == [True, False]
    assert document["rows"][0]["peak_bytes"] == 10**7
    assert document["rows"][0]["latency_from"] == "measured"
    assert any("busy" in note and "b.edgec" in note and "a.edgec" not in note for note in document["notes"])


def test_measures_of_accuracy_are_not_mixed():
    metric = {"name": "top1", "original": 0.9, "reference": 0.88, "artifact": 0.89}
    document = compared([subject("a", parity={"metric": metric}), subject("b", 2.0, sqnr=90.0)])
    assert document["groups"][0]["judged_by"] == ["latency", "size"]
    assert fronts(document) == [True, False]
    assert document["rows"][0]["accuracy"]["measure"] == "top1"
    assert document["rows"][0]["sqnr_db"] == 30.0
    assert any("different ways" in note for note in document["notes"])


def test_cost_follows_from_the_figures_of_the_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets/board.toml").write_text(
        f'{BOARD}[cost]\nprice_per_hour = 3.6\ncurrency = "EUR"\nwatts_busy = 5\n'
    )
    document = compared([subject("a", 2.0, target="board"), subject("b", target="gone")])
    assert document["rows"][0]["cost"]["after"]["per_1000"] == pytest.approx(0.002)
    assert document["rows"][0]["cost"]["saved"] == 0.8
    assert document["rows"][1]["cost"] is None
    assert any(note.startswith("No cost for gone") and "--target FILE.toml" in note for note in document["notes"])


def test_files_of_targets_give_prices_too(tmp_path):
    path = tmp_path / "elsewhere.toml"
    path.write_text(f"{BOARD}[cost]\nwatts_busy = 5\n")
    document = compared([subject("a", 2.0, target="board"), subject("b", target="board")], None, {"board": str(path)})
    assert document["rows"][0]["cost"]["after"]["joules"] == pytest.approx(0.01)
    assert document["rows"][0]["cost"]["after"]["per_1000"] is None


def test_what_a_row_says_in_each_form():
    document = compared([subject("a|b", 1.25, 1_234_567), subject("c", None)])
    page = table.markdown(document)
    assert "| a\\|b ◆ |" in page and "1.23 MB" in page and "1.25 ms" in page and "81.0%" in page and "96.0%" in page
    first, second = csv.DictReader(io.StringIO(table.as_csv(document)))
    assert (first["bytes"], first["latency_p50_ms"], first["sqnr_db"]) == ("1234567", "1.25", "30.0")
    assert (second["latency_p50_ms"], second["cost_per_1000"], second["front"]) == ("", "", "true")


def test_names_are_neither_markup_nor_formulas():
    hostile = "=HYPERLINK(1)`<img>`\n[x](y)"
    document = compared([subject(hostile, target="@SUM(1)"), subject("-1.5", -1.5)])
    page = table.markdown(document)
    assert "\\<img\\>" in page and "\\[x\\](y)" in page
    assert len([line for line in page.splitlines() if line.startswith("|")]) == 4, "a row each"
    first, second = csv.DictReader(io.StringIO(table.as_csv(document)))
    assert (first["path"], first["target"]) == (f"'{hostile}.edgec", "'@SUM(1)")
    assert second["latency_p50_ms"] == "-1.5", "numbers stay numbers"


def test_names_have_as_many_folders_as_it_takes():
    rows = [{"path": path} for path in ("x/tvm/m.edgec", "x/ov/m.edgec")]
    assert table.names(rows) == ["tvm/m", "ov/m"]
    assert table.names([{"path": "x/a.edgec"}, {"path": "y/b.edgec"}]) == ["a", "b"]


def test_a_figure_that_nobody_has_is_not_shown():
    document = compared([subject("a"), subject("b")])
    assert "peak memory" not in {figure.title for figure in table.figures(document["rows"])}
