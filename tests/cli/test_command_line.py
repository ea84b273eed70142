"""The command line as its users meet it: help, did-you-mean, three-part errors, exit codes, JSON."""

import json
import resource
import subprocess
import sys

import click
import pytest

from edgec.cli import VERBS
from edgec.cli import edgec as edgec_group

EDGEC = [sys.executable, "-m", "edgec"]


def edgec(*arguments, cwd=None):
    return subprocess.run([*EDGEC, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120)


def cpu_seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert edgec(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "verb",
    [
        (),
        ("build",),
        ("diagnose",),
        ("report",),
        ("targets",),
        ("recipes",),
        ("doctor",),
        ("cache",),
        ("emulator",),
        ("completion",),
    ],
)
def test_every_command_explains_itself(verb):
    result = edgec(*verb, "--help")
    assert result.returncode == 0
    assert "Usage: " in result.stdout
    assert len(result.stdout.splitlines()) > 5


def _commands(command, words=("edgec",)):
    """Every command below one, with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), (*words, name))


def test_help_fits_a_terminal_of_80_columns():
    helps = {
        " ".join(words): command.get_help(click.Context(command, info_name=" ".join(words), terminal_width=80))
        for words, command in _commands(edgec_group)
    }
    assert len(helps) > len(VERBS)
    assert [(name, line) for name, text in helps.items() for line in text.splitlines() if len(line) > 80] == []


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['edgec', '--help']\nfrom edgec.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    script += "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stderr
    for heavy in (
        "numpy",
        "onnx",
        "onnxruntime",
        "openvino",
        "rich",
        "jinja2",
        "PIL",
        "tuf",
        "cryptography",
        "urllib3",
    ):
        assert f"'{heavy}'" not in loaded


def test_a_command_that_does_not_exist():
    result = edgec("bild")
    assert result.returncode == 2
    assert "Did you mean 'build'?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "hots"], "Did you mean 'host'?"),
        (["--shape", "x"], "--shape x=1x3x224x224"),
        (["--shape", "x=1xtwo"], "--shape x=1x3x224x224"),
        (["--shape", "x=0x3"], "--shape x=1x3x224x224"),
        (["--state", "stateN"], "--state stateN:state"),
        (["--gate", "nonsense=high"], "--gate"),
        (["--name", "../digits"], "--name"),
        ([], "--calib"),
        (["--calib", "random", "--preprocess", "imagnet"], "Did you mean 'imagenet'?"),
    ],
)
def test_usage_errors_end_with_2_and_an_example(digits, tmp_path, arguments, told):
    result = edgec("build", digits.model, *arguments, "-o", tmp_path / "out")
    assert result.returncode == 2, result.stderr
    assert told in result.stderr
    assert "why:" in result.stderr
    assert "fix:" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_model_and_no_project_file(tmp_path):
    result = edgec("build", cwd=tmp_path)
    assert result.returncode == 2
    assert "edgec.toml" in result.stderr


@pytest.mark.parametrize("flags", [["--calib", "photos"], ["-t", "host"], ["--no-simplify"]])
def test_flags_that_describe_a_build_need_a_model(tmp_path, flags):
    (tmp_path / "edgec.toml").write_text('[[build]]\nmodel = "model.onnx"\n')
    result = edgec("build", *flags, "--dry-run", cwd=tmp_path)
    assert result.returncode == 2
    assert "was given without a model" in result.stderr


def test_a_model_that_is_refused_does_not_stop_the_others(digits, tmp_path):
    builds = [
        f'[[build]]\nmodel = "{path}"\nprecision = "float"\nbackend = "openvino"\n'
        for path in ("nothing.onnx", digits.model)
    ]
    (tmp_path / "edgec.toml").write_text("\n".join(builds))
    result = edgec("build", "--json", cwd=tmp_path)
    refused, made = json.loads(result.stdout)["results"]
    assert result.returncode == refused["exit_code"] == 3
    assert (refused["status"], made["status"]) == ("failed", "ok")


def test_errors_in_json_are_one_document_on_standard_output(tmp_path):
    result = edgec("build", tmp_path / "nothing.onnx", "--json")
    document = json.loads(result.stdout)
    assert result.returncode == document["exit_code"] == document["error"]["exit_code"] == 3
    assert document["status"] == "failed"
    assert "nothing.onnx" in document["error"]["what"] + document["error"]["why"]


def test_targets_and_recipes_list_what_the_files_declare():
    targets = json.loads(edgec("targets", "--json").stdout)
    assert {"host", "x86-64-v3", "x86-64-vnni"} <= {target["name"] for target in targets}
    recipes = json.loads(edgec("recipes", "--json").stdout)
    assert {"imagenet", "digits"} <= set(recipes)
    for name in recipes:
        assert name in edgec("recipes").stdout


def test_doctor_tells_versions():
    import numpy

    found = json.loads(edgec("doctor", "--json").stdout)
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["backends"]["openvino"]["installed"]
    assert numpy.__version__ in edgec("doctor").stdout


def test_the_cache_can_be_listed_and_emptied(digits, tmp_path):
    assert "0 results" in edgec("cache", "ls").stdout
    assert edgec("build", digits.model, "--precision", "float", "--backend", "openvino", "-o", tmp_path).returncode == 0
    listed = json.loads(edgec("cache", "ls", "--json").stdout)
    assert {"ingest", "simplify", "lower", "validate", "pack"} <= {entry["stage"] for entry in listed}
    assert f"{len(listed)} results removed" in edgec("cache", "gc").stdout
    assert "0 results" in edgec("cache", "ls").stdout


@pytest.mark.parametrize("arguments", [["build", "--precision", "int4", "--json"], ["recipes", "nosuch", "--json"]])
def test_whatever_happens_json_is_one_document(arguments):
    done = edgec(*arguments)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 2
    assert document["error"]["what"]
