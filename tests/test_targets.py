"""A target is one TOML file; what is wrong with it is told with its line."""

import re

import pytest

from edgec import resources
from edgec.errors import UsageError
from edgec.targets import Accelerator, load_target

GOOD = """
name = "board"
title = "A board"
arch = "x86_64"
features = ["avx2"]
backends = ["openvino"]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()

    def write_target(text, name="board"):
        (tmp_path / "targets" / f"{name}.toml").write_text(text)

    return write_target


@pytest.mark.parametrize("name", sorted(resources.declared("targets")))
def test_every_built_in_target_can_be_read(name):
    target = load_target(name)
    assert target.name == name
    assert target.title
    assert target.backends


def test_the_users_own_targets_are_found_by_name_and_by_path(write, tmp_path):
    write(GOOD)
    assert load_target("board") == load_target(str(tmp_path / "targets" / "board.toml"))
    assert load_target("board").features == ("avx2",)


def test_the_users_own_target_wins_over_a_built_in_one(write):
    write(GOOD.replace('"board"', '"host"'), "host")
    assert load_target("host").title == "A board"


def test_an_unknown_name_gets_the_closest_known_one():
    with pytest.raises(UsageError, match=r"Did you mean 'host'\?") as caught:
        load_target("hots")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("arch =", "arhc ="), "arch is missing"),
        (('"x86_64"', '"x86"'), "line 4.*arch is 'x86'"),
        (('["avx2"]', '"avx2"'), "line 5.*of type array"),
        (('["avx2"]', "[1]"), "line 5.*of type string"),
        (("features", "featurse"), "line 5.*featurse is not known"),
        (('["openvino"]', "[]"), "line 6.*backends is empty"),
        (('"board"', '"board'), "line 2"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write, change, told):
    write(GOOD.replace(*change))
    with pytest.raises(UsageError) as caught:
        load_target("board")
    assert re.search(told, str(caught.value), re.DOTALL), str(caught.value)
    assert "board.toml" in str(caught.value)


def test_weights_keep_to_seven_bits_only_where_products_saturate():
    assert load_target("x86-64-v3").saturates_int8_products
    assert not load_target("x86-64-vnni").saturates_int8_products


ACCELERATED = (
    GOOD
    + """
[accelerator]
name = "edgetpu"
min_runtime_version = 13
"""
)


def test_a_target_may_have_an_accelerator(write):
    write(GOOD)
    assert load_target("board").accelerator is None
    write(ACCELERATED)
    assert load_target("board").accelerator == Accelerator("edgetpu", 13)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("edgetpu", "edgettpu"), "line 9.*accelerator.name is 'edgettpu'"),
        (("min_runtime_version = 13", ""), "accelerator.min_runtime_version is missing"),
        (("= 13", '= "13"'), "line 10.*of type integer"),
        (("= 13", "= 0"), "line 10.*not positive"),
        (("= 13", "= 13\ncores = 4"), "line 11.*accelerator.cores is not known"),
    ],
)
def test_what_is_wrong_with_an_accelerator_is_told_with_its_line(write, change, told):
    write(ACCELERATED.replace(*change))
    with pytest.raises(UsageError) as caught:
        load_target("board")
    assert re.search(told, str(caught.value), re.DOTALL), str(caught.value)
