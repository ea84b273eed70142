"""Which function `--metric` means, and what its result depends on: found without running any of the user's code."""

from __future__ import annotations

import pytest

from edgec.errors import UsageError
from edgec.metric.source import current_digest, find_function


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_and_a_module_name_the_same_function(here):
    write(here / "tools/quality.py", "def accuracy(outputs, labels): return 1.0\n")
    by_file, by_module = find_function("tools/quality.py:accuracy"), find_function("tools.quality:accuracy")
    assert by_file.file == by_module.file == here / "tools/quality.py"
    assert (by_file.module, by_module.module) == ("", "tools.quality")
    assert (by_file.root, by_module.root) == (here / "tools", here)


def test_nothing_is_run(here):
    write(here / "loud.py", "raise SystemExit('ran')\ndef m(outputs, labels): return 1.0\n")
    write(here / "pack/__init__.py", "raise SystemExit('ran')\n")
    write(here / "pack/inside.py", "def m(outputs, labels): return 1.0\n")
    for name in ("loud.py:m", "loud:m", "pack.inside:m"):
        assert find_function(name).function == "m"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("quality", "needs a module or a file"),
        ("quality.py:", "needs a module or a file"),
        ("quality.py:not a name", "needs a module or a file"),
        ("qualty.py:accuracy", "Did you mean 'quality.py'"),
        ("nowhere.at.all:accuracy", "no module called"),
        ("quality.py:acuracy", "Did you mean 'accuracy'"),
        ("broken.py:m", "line 2"),
        ("math:sqrt", "no module called"),
    ],
)
def test_what_is_not_there_is_told_with_what_may_be_meant(here, name, told):
    write(here / "quality.py", "def accuracy(outputs, labels): return 1.0\n")
    write(here / "broken.py", "x = 1\ndef m(:\n")
    with pytest.raises(UsageError) as caught:
        find_function(name)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["from other import *", "from other import m", "m = lambda o, l: 1.0", "if True:\n    def m(o, l): return 1.0"],
)
def test_a_function_may_come_about_in_any_way(here, text):
    write(here / "quality.py", text + "\n")
    assert find_function("quality.py:m").function == "m"


def test_the_digest_follows_the_file_and_what_it_imports_from_beside_it(here):
    quality = write(here / "quality.py", "import helper\nfrom pack import part\ndef m(o, l): return 1.0\n")
    helper = write(here / "helper.py", "import numpy\nimport deeper\n")
    deeper = write(here / "deeper.py", "import helper  # in a circle\n")
    part = write(here / "pack/part.py", "from . import sibling\n")
    sibling = write(here / "pack/sibling.py", "\n")
    write(here / "unrelated.py", "")
    source = find_function("quality.py:m")
    digests = {source.digest}
    for file in (quality, helper, deeper, part, sibling):
        write(file, file.read_text() + "# changed\n")
        digests.add(current_digest(source))
    assert len(digests) == 6
    before = current_digest(source)
    write(here / "unrelated.py", "# changed\n")
    assert current_digest(source) == before


def test_the_same_text_elsewhere_is_the_same_metric(tmp_path):
    files = [write(tmp_path / name / "quality.py", "def m(o, l): return 1.0\n") for name in "ab"]
    assert len({find_function(f"{file}:m").digest for file in files}) == 1
