"""Shells complete commands, flags, and the names of targets, recipes and backends."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, get_completion_class

from edgec import resources
from edgec.cli import VERBS, edgec
from edgec.cli.completion import SHELLS


def completed(words: Sequence[str], begun: str) -> list[CompletionItem]:
    """What `edgec WORDS begun<Tab>` offers."""
    complete = get_completion_class("bash")
    assert complete is not None
    return complete(edgec, {}, "edgec", "_EDGEC_COMPLETE").get_completions(list(words), begun)


def offered(words: Sequence[str], begun: str = "") -> set[str]:
    return {item.value for item in completed(words, begun)}


def test_commands_and_flags_are_completed() -> None:
    assert offered([]) == set(VERBS)
    assert "--max-drop" in offered(["build"], "--max")


def test_targets_recipes_and_backends_are_completed_by_name() -> None:
    assert offered(["build", "--target"], "rpi") == {
        name for name in resources.declared("targets") if name.startswith("rpi")
    }
    assert offered(["build", "--preprocess"]) == set(resources.declared("calibration"))
    assert offered(["build", "--backend"], "t") == {"tflite", "tvm"}


def test_a_target_of_ones_own_is_completed_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "kiosk.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert offered(["build", "--target"], "ki") == {"kiosk"}


@pytest.mark.parametrize("words", [["build"], ["build", "--calib"], ["build", "--labels"], ["build", "--tuning"]])
def test_paths_are_left_to_the_shell(words: Sequence[str]) -> None:
    assert [item.type for item in completed(words, "./some")] == ["file"]


def test_what_is_no_known_target_may_be_a_file() -> None:
    assert [item.type for item in completed(["build", "--target"], "./dev")] == ["file"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_accepted_by_its_shell_and_calls_edgec(shell: str) -> None:
    script = subprocess.run(
        [sys.executable, "-m", "edgec", "completion", shell], capture_output=True, text=True, check=True
    ).stdout
    assert f"_EDGEC_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script was made, but not parsed by it")
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes_through_the_script() -> None:
    """All of it, as it happens when Tab is pressed: the script, the program, the words."""
    program = Path(sys.executable).with_name("edgec")
    keys = 'eval "$("$0" completion bash)"; COMP_WORDS=("$0" build --backend tv); COMP_CWORD=3; _edgec_completion "$0"'
    shown = subprocess.run(
        ["bash", "-c", f'{keys}; echo "${{COMPREPLY[@]}}"', str(program)], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "tvm"
