"""The runtime on old Pythons, and out of an artifact without edgec."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgec.runtime
from edgec.runtime.bundle import Bundle

_SOURCES = sorted(Path(edgec.runtime.__file__).parent.rglob("*.py"))
_ALLOWED = {"numpy", "PIL", "openvino"}
_ALLOWED_TO_THE_AGENT = {"tuf", "securesystemslib", "urllib3"}


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: "-".join(path.parts[-2:]))
def test_every_module_is_python_3_9(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Match, ast.TryStar))]
    assert any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
        for node in tree.body
    ), "without it, annotations such as `int | None` are evaluated, which Python 3.9 can't"


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: "-".join(path.parts[-2:]))
def test_only_the_standard_library_numpy_pillow_and_the_engine_are_imported(path):
    """What installs artifacts has numpy and engines in a process of their own, and may know repositories instead."""
    allowed = _ALLOWED_TO_THE_AGENT if "agent" in path.parts else _ALLOWED
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or top in allowed, f"{path.name} imports {name}"


def test_the_artifact_is_a_library_too(cnn, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import edgec_runtime, numpy;"
        "model = edgec_runtime.load(sys.argv[1]);"
        "print(model.run(numpy.ones((1, 3, 16, 16), numpy.float32))['scores'].shape);"
        "print([name for name in sys.modules if name.split('.')[0] == 'edgec'])"
    )
    done = subprocess.run([sys.executable, "-c", code, cnn.path], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("(1, 10)\n[]\n", "")


def test_importing_the_runtime_imports_no_numpy():
    """The build's own process reads artifacts without native code in it."""
    code = "import sys, edgec.runtime, edgec.runtime.bundle, edgec.bundle.errors; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_agent_is_no_part_of_an_artifact(cnn):
    names = [name for name in Bundle.open(cnn.path).manifest["files"] if name.startswith("edgec_runtime/")]
    assert "edgec_runtime/bundle.py" in names
    assert not [name for name in names if "agent" in name]
