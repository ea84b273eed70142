"""What a result is found again by."""

from dataclasses import dataclass

import pytest

from edgec import stage_runner
from edgec.errors import UsageError
from edgec.events import ignore
from edgec.stage import Stage
from edgec.stage_runner import StageRunner
from edgec.store import Store


@dataclass(frozen=True)
class Params:
    number: int = 1


def run(params, context):
    (context.out / "result.txt").write_text("made")


STAGE = Stage("example", ("numpy",), run)


@pytest.fixture
def key(tmp_path):
    """The key of the example for an input and parameters."""
    runner = StageRunner(Store(tmp_path), ignore, foresee=True)
    return lambda digest="input", params=Params(): runner.run(STAGE, {"data": (digest, None)}, params).key


def test_equal_work_has_one_key(key):
    assert key() == key()


def test_inputs_and_parameters_are_part_of_the_key(key):
    assert len({key(), key(digest="other"), key(params=Params(2))}) == 3


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("tool_version", lambda tool: "0.0"),
        ("_code_digest", lambda: "other"),
        ("host_features", lambda: ("sse4_2",)),
    ],
)
def test_tools_code_and_processor_are_part_of_the_key(key, monkeypatch, name, answer):
    before = key()
    monkeypatch.setattr(stage_runner, name, answer)
    assert key() != before


def leaves_a_note(params, context):
    context.journal.mkdir(parents=True, exist_ok=True)
    note = context.journal / "note"
    if not note.exists():
        note.write_text("begun")
        raise UsageError("The first run ends early")
    (context.out / "result.txt").write_text(note.read_text())


def test_a_journal_outlives_a_run_that_failed_and_goes_when_the_result_is_there(tmp_path):
    store = Store(tmp_path)
    runner = StageRunner(store, ignore)
    stage = Stage("noted", (), leaves_a_note)
    with pytest.raises(UsageError):
        runner.run(stage, {}, Params())
    entry = runner.run(stage, {}, Params())
    assert (entry.path / "result.txt").read_text() == "begun"
    assert not store.journal(entry.key).exists()
