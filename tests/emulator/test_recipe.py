"""What roots are made of: locked, and told apart by a digest."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgec.emulator.recipe import RECIPES, keeps, keeps_of_wheels
from edgec.targets import EMULATORS

LOCK = (Path(__file__).parents[2] / "requirements.lock").read_text()


def locked(arch):
    text = RECIPES[arch].lock.read_text()
    return {
        name: (version, digest)
        for name, version, digest in re.findall(
            r"^([\w-]+)==([\w.]+) \\\n    --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE
        )
    }


def test_there_is_a_recipe_for_every_emulator():
    assert set(RECIPES) == set(EMULATORS)


@pytest.mark.parametrize("arch", RECIPES)
def test_a_lock_holds_versions_and_digests_and_nothing_else(arch):
    lines = RECIPES[arch].lock.read_text().splitlines()
    assert len(lines) == 2 * len(locked(arch))
    assert RECIPES[arch].engine in locked(arch)


def test_the_engine_of_aarch64_and_its_numpy_are_those_of_this_machine():
    """Files with these digests, too: the locks of one release belong together."""
    for name, (version, digest) in locked("aarch64").items():
        block = re.search(rf"^{name}=={re.escape(version)} (?:.*\\\n)+.*\n", LOCK, re.MULTILINE)
        assert block is not None, f"requirements.lock has another {name} than {version}"
        assert digest in block[0]


@pytest.mark.parametrize("change", [{"packages": ("python3.11",)}, {"arch": "armv7l"}, {"alternatives": (("a", "b"),)}])
def test_the_digest_covers_what_decides_the_content(change):
    recipe = RECIPES["aarch64"]
    assert replace(recipe, **change).digest != recipe.digest
    assert replace(recipe).digest == recipe.digest


@pytest.mark.parametrize(
    "name",
    [
        "usr/bin/python3.11",
        "lib/aarch64-linux-gnu/libc.so.6",
        "usr/lib/python3.11/json/__init__.py",
        "usr/lib/python3/dist-packages/numpy/core/_multiarray_umath.cpython-311-arm-linux-gnueabihf.so",
        "etc/python3.11/sitecustomize.py",
        "usr/share/doc/libc6/copyright",  # whoever passes a root on owes it
    ],
)
def test_what_is_kept(name):
    assert keeps(name)


@pytest.mark.parametrize(
    "name",
    [
        "usr/bin/perl",
        "usr/share/man/man1/python3.11.1.gz",
        "usr/share/locale/de/LC_MESSAGES/dpkg.mo",
        "usr/share/doc/libc6/changelog.Debian.gz",
        "var/lib/dpkg/status",
        "usr/lib/aarch64-linux-gnu/gconv/EUC-JP.so",
    ],
)
def test_what_is_left_out(name):
    assert not keeps(name)


def test_what_is_left_out_of_wheels():
    assert keeps_of_wheels("ai_edge_litert/interpreter.py")
    assert keeps_of_wheels("ai_edge_litert-2.3.0.dist-info/METADATA")
    assert not keeps_of_wheels("ai_edge_litert/libLiteRtWebGpuAccelerator.so")
    assert not keeps_of_wheels("ai_edge_litert-2.3.0.dist-info/RECORD")
    assert not keeps_of_wheels("numpy/linalg/tests/test_linalg.py")
