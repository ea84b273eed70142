"""`edgec runtime ab`: what comes in, what is printed, and the exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edgec.cli.runtime import command
from edgec.errors import ParityGateError, UsageError
from edgec.runtime import ab_command
from tests.bundle.artifacts import cnn  # noqa: F401 (a fixture)


def run(*arguments, stdin=None):
    return CliRunner().invoke(command, ["ab", *map(str, arguments)], input=stdin, standalone_mode=False)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", rng.normal(size=(10, 1, 3, 16, 16)).astype(np.float32))
    return tmp_path


def test_a_folder_of_arrays_and_what_is_printed(cnn, folder):  # noqa: F811
    done = run(cnn.path, cnn.path, folder, "--agree", "0.85")
    assert done.return_value == 0, done.output
    assert "compared 30, dropped 0, candidate's errors: none" in done.output
    assert "scores: same decision in 30 of 30" in done.output
    assert "that it agrees in 85 % is shown" in done.output


def test_too_few_inputs_to_show_it(cnn):  # noqa: F811
    done = run(cnn.path, cnn.path, "--agree", "0.99")
    assert isinstance(done.exception, ParityGateError)
    assert "more would show it" in done.exception.why
    done = run(cnn.path, cnn.path, "--agree", "0.99", "--json")
    document = json.loads(done.stdout)
    assert (done.return_value, document["exit_code"], document["verdict"]) == (6, 6, "open")


def test_names_on_standard_input_and_one_that_can_not_be_read(cnn, folder):  # noqa: F811
    done = run(cnn.path, cnn.path, "-", "--json", stdin=f"{folder / '0.npy'}\n{folder / 'none.npy'}\n")
    document = json.loads(done.stdout)
    assert (document["status"], document["runs"], document["unreadable"]) == ("ok", 10, 1)
    assert "none.npy is left out" in done.stderr


def test_files_that_come_into_a_folder(folder, monkeypatch):
    """What was there does not count; a file that grows is taken when it has stopped."""
    steps = iter([b"half", b"half and the rest", b"half and the rest", b"half and the rest"])
    monkeypatch.setattr(ab_command.time, "sleep", lambda seconds: (folder / "new.npy").write_bytes(next(steps)))
    known = ab_command.present(folder)
    (folder / "notes.txt").write_text("no input")
    names = ab_command.arrivals(folder, known, None)
    assert next(names) == str(folder / "new.npy")
    assert len(list(steps)) == 1, "it was seen twice with the same size"
    with pytest.raises(StopIteration):
        next(ab_command.arrivals(folder, known, 0))


def test_a_folder_is_watched_for_a_while(cnn, folder):  # noqa: F811
    done = run(cnn.path, cnn.path, "--watch", folder, "--for", "100ms", "--json")
    assert json.loads(done.stdout)["runs"] == 0


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--watch", ".", "x.npy"], "exclude each other"),
        (["--for", "1s"], "goes with --watch"),
        (["--share", "2"], "out of range"),
        (["nowhere.npy"], "There is no nowhere.npy"),
        (["--watch", "nowhere"], "can't be watched"),
    ],
)
def test_what_does_not_fit_is_told(cnn, options, what):  # noqa: F811
    done = run(cnn.path, cnn.path, *options)
    assert isinstance(done.exception, UsageError)
    assert what in done.exception.what
