"""A build can be asked for in four ways; all of them know the same words, and refuse the same nonsense."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

import edgec
from edgec import api
from edgec.cli.build import command
from edgec.errors import UsageError
from edgec.project_file import read_project
from edgec.spec import PRECISIONS, BuildSpec

OF_THE_CALL = {"listener", "jobs"}
RENAMED = {"recipe": "preprocess"}
IN_THE_FILE = {"recipe": "preprocess", "max_samples": "samples"}
OPTIONS = Path(__file__).parents[1] / "docs" / "options.md"
FIELDS = {field.name for field in fields(BuildSpec)}


def test_python_has_an_argument_for_every_field():
    assert set(inspect.signature(edgec.build).parameters) - OF_THE_CALL == {RENAMED.get(name, name) for name in FIELDS}


def test_the_command_line_has_a_flag_for_every_field():
    assert {param.name for param in command.params} >= FIELDS


def test_the_file_has_a_key_for_every_field(tmp_path):
    path = tmp_path / "edgec.toml"
    path.write_text('[[build]]\nmodel = "a.onnx"\nno_such_key = 1\n')
    with pytest.raises(UsageError) as caught:
        read_project(path, Path("out"))
    known = {word.strip(" .") for word in caught.value.fix.partition("Known keys: ")[2].split(",")}
    known = {word.split(". ")[0] for word in known}
    assert known == {IN_THE_FILE.get(name, name) for name in FIELDS - {"output"}}


def test_all_three_have_the_same_defaults(tmp_path):
    path = tmp_path / "edgec.toml"
    path.write_text('[[build]]\nmodel = "a.onnx"\n')
    (from_file,) = read_project(path, Path("dist"))
    plain = BuildSpec(tmp_path / "a.onnx")
    assert from_file == plain
    signature = inspect.signature(edgec.build).parameters
    flags = {param.name: param.default for param in command.params}
    for name in ("precision", "profile", "backend", "max_float_macs", "min_int8_macs", "simplify"):
        assert signature[name].default == getattr(plain, name) == flags[name]


def test_every_option_is_on_its_page():
    rows = [line.split("|") for line in OPTIONS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    flags = {name: max(param.opts, key=len) for param in command.params if (name := param.name)}
    flags = {name: flag if flag.startswith("--") else "MODEL" for name, flag in flags.items()}
    wanted = {(flags[name], IN_THE_FILE.get(name, name), RENAMED.get(name, name)) for name in FIELDS}
    found = {tuple(cell.strip().strip("`").split("`")[0] for cell in row[1:4]) for row in rows}
    assert found == {(flag, "-" if key == "output" else key, argument) for flag, key, argument in wanted}


def test_paths_may_be_texts_in_python():
    spec = api._specification("a.onnx", calibration="c", metric="m.py:f", labels="l.csv", evaluation="e", output="o")
    assert (spec.calibration, spec.labels, spec.evaluation, spec.output) == tuple(map(Path, ("c", "l.csv", "e", "o")))
    assert api._specification("a.onnx", calibration="c", metric="m.py:f", labels="folders").labels == "folders"


@pytest.mark.parametrize(
    ("search", "precision", "meant"),
    [
        (False, None, ((), "int8")),
        (True, None, (PRECISIONS, "int8")),
        (True, "fp16", (("fp16",), "fp16")),
        (("fp16", "float"), None, (("fp16", "float"), "fp16")),
    ],
)
def test_what_is_searched_in_python(search, precision, meant):
    spec = api._specification("a.onnx", search=search, precision=precision)
    assert (spec.search, spec.precision) == meant


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ([], ()),
        (["--search"], PRECISIONS),
        (["--search", "--precision", "int8"], ("int8",)),
        (["--search", "--precision", "fp16"], ("fp16",)),
    ],
)
def test_what_is_searched_on_the_command_line(monkeypatch, arguments, meant):
    asked = []
    monkeypatch.setattr("edgec.cli.build._outcome", lambda spec, *how: asked.append(spec) or UsageError("", "", ""))
    CliRunner().invoke(command, ["a.onnx", *arguments])
    assert [spec.search for spec in asked] == [meant]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_float_macs", -0.1),
        ("max_float_macs", 1.5),
        ("min_int8_macs", 95.0),
        ("search_seconds", 0.0),
        ("search_seconds", -1.0),
    ],
)
def test_budgets_that_mean_nothing_are_refused(field, value):
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')} {value:g}"):
        BuildSpec(Path("a.onnx"), **{field: value})


@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_integers_at_the_border_need_integers_inside(tmp_path, interface):
    with pytest.raises(UsageError, match=f"--io {interface} does not go with --precision float"):
        BuildSpec(tmp_path / "a.onnx", precision="float", interface=interface)
