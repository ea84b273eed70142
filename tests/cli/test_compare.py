"""`edgec compare` on real artifacts, and on what is none."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from edgec.benchmark import comparison
from edgec.cli.compare import command
from edgec.errors import INTERRUPTED, ArtifactError, UsageError


@pytest.fixture
def folder(built_digits, tmp_path):
    """Two builds of one model: the second's report is of another build."""
    made = built_digits.store.parent / "dist"
    for name in ("first", "second"):
        shutil.copytree(made, tmp_path / name)
    report = tmp_path / "second" / "digits_cnn-host.report.json"
    document = json.loads(report.read_text())
    document["build"]["artifact"]["sha256"] = "0" * 64
    report.write_text(json.dumps(document))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=True, standalone_mode=False)


def test_what_builds_recorded_is_shown_and_what_is_of_another_build_is_not_believed(folder):
    done = run(folder, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    first, second = document["rows"]
    assert first["latency_ms"]["p50"] > 0 and first["latency_from"] == "build" and first["machine"]
    assert second["latency_ms"] is None
    assert first["sqnr_db"] == second["sqnr_db"] > 20
    notes = " ".join(document["notes"])
    assert "is the report of another build" in notes
    assert "the same, byte for byte" in notes
    assert "[cost]" in notes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace('"schema": 1', '"schema": 0'), "another version of edgec"),
        (lambda text: "[" * 100_000, "can't be read as a report"),
        (lambda text: "[]", "can't be read as a report"),
        (lambda text: text[:-100], "can't be read as a report"),
    ],
    ids=["old", "deep", "a list", "cut"],
)
def test_a_report_that_can_not_be_understood_is_not_believed(folder, change, told):
    report = folder / "first" / "digits_cnn-host.report.json"
    assert change(report.read_text()) != report.read_text()
    report.write_text(change(report.read_text()))
    done = run(folder, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["rows"][0]["latency_ms"] is None
    assert any("first" in note and told in note for note in document["notes"])


def test_the_table_and_its_other_forms(folder):
    shown = run(folder).stdout
    assert "first/digits_cnn-host" in shown and "Pareto front" in shown and "SQNR" in shown
    assert run(folder, "--markdown").stdout.startswith("| |")
    assert run(folder, "--csv").stdout.startswith("path,target,")


def test_times_are_taken_anew_in_turns(folder):
    done = run(folder, "--measure", "--duration", "0.2", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert all(row["latency_from"] == "measured" and row["peak_bytes"] > 0 for row in rows)


def test_ctrl_c_while_measuring_shows_what_was_measured_and_says_so(folder, monkeypatch):
    whole = comparison.compare
    monkeypatch.setattr(comparison, "compare", lambda *asked, **how: replace(whole(*asked, **how), interrupted=True))
    done = run(folder, "--measure", "--duration", "0.01", "--json")
    assert done.return_value == INTERRUPTED
    assert "up to then" in json.loads(done.stdout)["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        (["first/digits_cnn-host.edgec"], UsageError, "only one"),
        (["first", "first/digits_cnn-host.edgec"], UsageError, "twice"),
        (["first", "link.edgec"], UsageError, "the same file"),
        (["first", "gone.edgec"], UsageError, "There is no"),
        (["first", "empty"], UsageError, "no artifact in"),
        (["first", "cut.edgec"], ArtifactError, "cut.edgec"),
        (["first", "second", "--duration", "3"], UsageError, "--measure"),
        (["first", "second", "--csv", "--markdown"], UsageError, "one form"),
        (["first", "second", "--target", "gone.toml"], UsageError, "gone.toml"),
    ],
)
def test_nonsense_is_refused(folder, monkeypatch, arguments, kind, told):
    monkeypatch.chdir(folder)
    whole = folder / "first" / "digits_cnn-host.edgec"
    (folder / "link.edgec").symlink_to(whole)
    (folder / "cut.edgec").write_bytes(whole.read_bytes()[:-100])
    (folder / "empty").mkdir()
    error = run(*arguments).exception
    assert isinstance(error, kind)
    assert told in str(error)
