"""Many builds on one page, from made-up artifacts and reports."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgec.bundle.write import write_bundle
from edgec.cli.report import command
from edgec.errors import ArtifactError, UsageError
from edgec.report import render_json
from edgec.report.index import document, gather, render_index, render_index_markdown
from tests.report.examples import good, refused

HOSTILE = "<script>alert(1)"  # names become parts of file names, which hold no slash


def artifact(place: Path, name="nanodet", backend="openvino", **more):
    """An artifact with nothing to run in it; the parity of `good` is its own."""
    content = {
        "payload/model.bin": b"0",
        "golden.npz": b"0",
        "parity.json": json.dumps(good().parity).encode(),
        "provenance.json": b"{}",
    }
    tensor = {"name": "image", "dtype": "float32", "shape": [1, 3, 8, 8]}
    manifest = {
        "name": name,
        "target": "host",
        "arch": "x86_64",
        "cpu_features": [],
        "threads": 1,
        "backend": backend,
        "precision": "int8",
        "inputs": [tensor],
        "outputs": [tensor],
        "state": {},
        "payload": ["payload/model.bin"],
        "engine": {"name": backend, "distribution": "", "minimum_version": "", "options": {}},
        "selftest": {"tolerances": {}},
        "model_sha256": "0" * 64,
        "tools": {},
        **more,
    }
    write_bundle(place, manifest, content)
    return place


def report(place: Path, inputs, page=True):
    """The JSON report of a build, made for the artifact that lies beside it, if there is one."""
    made = place.with_name(place.name.replace(".report.json", ".edgec"))
    build = dict(inputs.build)
    if made.exists():
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        build["artifact"] = {"path": str(made), "bytes": made.stat().st_size, "sha256": digest}
    place.write_text(render_json(replace(inputs, build=build)))
    if page:
        place.with_suffix(".html").write_text("a page")
    return place


@pytest.fixture
def folder(tmp_path):
    """Three builds: one with its report, one whose report is lost, one that was refused."""
    artifact(tmp_path / "a.edgec")
    report(tmp_path / "a.report.json", good())
    artifact(tmp_path / "b.edgec", name=HOSTILE, backend="tvm")
    report(tmp_path / "c.report.json", refused())
    return tmp_path


def test_a_folder_is_all_that_lies_in_it_each_once(folder):
    found = document(gather([folder, folder / "a.edgec", folder / "a.report.json"]))
    assert sorted(row["status"] for row in found["builds"]) == ["no report", "ok", "refused"]


def test_what_only_the_report_knew_is_unknown_without_it(folder):
    rows = {row["status"]: row for row in document(gather([folder]))["builds"]}
    assert rows["ok"]["latency_ms"] == 4.02
    assert rows["ok"]["report"] == str(folder / "a.report.html")
    assert rows["no report"]["latency_ms"] is None
    assert rows["no report"]["accuracy"] == rows["ok"]["accuracy"]  # which the artifact itself carries
    assert rows["refused"]["artifact"] is None
    assert "INT8 changes" in rows["refused"]["error"]


def test_it_says_which_artifact_has_no_report(folder):
    (note,) = document(gather([folder]))["notes"]
    assert "b.edgec" in note


def test_the_page_leads_to_the_reports_and_escapes_names(folder):
    class Links(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag, attributes):
            assert tag != "script"
            self.found += [value for key, value in attributes if key == "href"]

    page = render_index(document(gather([folder])), folder.parent / "index.html")
    parser = Links()
    parser.found = []
    parser.feed(page)
    assert parser.found == [f"{folder.name}/a.report.html", f"{folder.name}/c.report.html"]
    assert HOSTILE not in page
    assert "1 of 3 builds holds; 1 was not shipped; 1 has no report beside it." in page


def test_markdown_has_a_row_for_each_build(folder):
    text = render_index_markdown(document(gather([folder])))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert len({line.count("|") for line in rows}) == 1
    assert "INT8 changes the model's results too much" in text


def test_builds_of_one_model_for_one_target_are_told_apart_by_their_files(tmp_path):
    for name in ("m-host", "m-host-tvm-float"):
        artifact(tmp_path / f"{name}.edgec", name="m")
    artifact(tmp_path / "other.edgec", name="n")
    found = document(gather([tmp_path]))
    assert [row["name"] for row in found["builds"]] == ["m", "m", "n"]
    names = [line.split("|")[1].strip() for line in render_index_markdown(found).splitlines() if line.startswith("|")]
    assert sorted(names[2:]) == ["m-host", "m-host-tvm-float", "n"]
    assert "m-host-tvm-float</span>" in render_index(found, tmp_path / "index.html")


def test_three_timed_builds_of_one_model_are_drawn(tmp_path):
    for name in "abc":
        artifact(tmp_path / f"{name}.edgec", backend=f"b{name}")
        report(tmp_path / f"{name}.report.json", good())
    page = render_index(document(gather([tmp_path])), tmp_path / "index.html")
    assert page.count('<svg class="figure"') == 1


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [("x.edgec", "no artifact", ArtifactError), ("x.report.json", "[]", UsageError), ("x.onnx", "", UsageError)],
)
def test_what_is_no_build_is_refused(name, content, error, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=name):
        document(gather([tmp_path / name]))


def test_an_empty_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no build in"):
        gather([tmp_path])
    with pytest.raises(UsageError, match="There is no"):
        gather([tmp_path / "gone.edgec"])


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=False)


def test_the_command_writes_an_index_and_prints_the_other_forms(folder):
    place = folder / "index.html"
    assert str(place) in run(folder, "-o", place).output
    assert "1 of 3 builds holds" in place.read_text()
    assert len(json.loads(run(folder, "--json").output)["builds"]) == 3
    assert run(folder, "--markdown").output.startswith("**1 of 3 builds holds")


def test_the_command_makes_the_page_of_one_report_anew(folder):
    page = folder / "a.report.html"
    assert page.read_text() == "a page"
    run(folder / "a.report.json")
    assert "<title>Holds: nanodet-plus-m for x86-64-vnni</title>" in page.read_text()
    assert run(folder / "a.report.json", "--markdown").output.startswith("# Holds: nanodet-plus-m")


def test_flags_that_contradict_each_other_are_refused(folder):
    assert isinstance(run(folder, "--markdown", "-o", "x.md").exception, UsageError)
    assert json.loads(run(folder, "--markdown", "--json").output)["exit_code"] == 2


def test_a_report_with_something_missing_is_named(folder):
    place = folder / "c.report.json"
    found = json.loads(place.read_text())
    del found["build"]["precision"]
    place.write_text(json.dumps(found))
    with pytest.raises(UsageError, match=r"c\.report\.json is not the report"):
        document(gather([folder]))
