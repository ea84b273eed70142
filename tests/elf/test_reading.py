"""What an ELF file says that it needs, of files that a compiler made."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from edgec.elf.reading import Unreadable, is_elf, provided_glibc, read
from tests.compiled import DOT, RANDOM, library, target


def test_a_library_for_each_architecture(tmp_path):
    aarch64 = read(library(tmp_path, DOT, target("rpi4")))
    assert (aarch64.arch, aarch64.float_abi, aarch64.extensions) == ("aarch64", "", {})
    armv7 = read(library(tmp_path, DOT, target("rpi2")))
    assert (armv7.arch, armv7.float_abi, armv7.features) == ("armv7l", "hard", {"neon", "vfpv4", "idiva"})
    x86 = read(library(tmp_path, DOT, target("x86-64-v3", min_glibc="2.31")))
    assert (x86.arch, x86.extensions, x86.features) == ("x86_64", {}, frozenset())


def test_a_dot_product_compiled_for_a_core_that_has_it_uses_it(tmp_path):
    used = read(library(tmp_path, DOT, target("rpi5"))).extensions
    assert used["asimddp"].count >= 1
    assert used["asimddp"].address > 0
    assert "i8mm" not in used


def test_glibc_is_the_least_that_has_all_functions_asked_for(tmp_path):
    new = read(library(tmp_path, RANDOM, target("rpi5", min_glibc="2.36")))
    assert new.glibc == (2, 36)
    assert new.needed == ("libc.so.6",)
    old = read(library(tmp_path, "int getpid(void); int number(void) { return getpid(); }", target("rpi5")))
    assert old.glibc == (2, 17)
    assert read(library(tmp_path, DOT, target("rpi5"))).glibc == ()


ATOMIC = "int count(int *p) { return __atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST); }"


def test_atomics_of_the_newer_kind_are_used_only_where_the_core_has_them(tmp_path):
    assert "atomics" not in read(library(tmp_path, ATOMIC, target("rpi4"))).extensions
    assert "atomics" in read(library(tmp_path, ATOMIC, target("rpi5"))).extensions


MIXED = """
__asm__(".text\\n.globl f\\nf: b 1f\\n.word 0x4e829420\\n1: ret\\n");
"""
"""A constant among the code that looks like SDOT."""


def test_data_among_the_code_is_left_out_where_the_file_says_which_it_is(tmp_path):
    stripped = library(tmp_path, MIXED, target("rpi4", features=("asimd", "asimddp")))
    assert list(read(stripped).extensions) == ["asimddp"]
    assert read(tmp_path / "source.o").extensions == {}


def test_data_that_is_marked_ends_where_code_begins_again(tmp_path):
    library(tmp_path, MIXED.replace("1: ret", "1: sdot v0.4s, v1.16b, v2.16b"), target("rpi5"))
    (use,) = read(tmp_path / "source.o").extensions.values()
    assert (use.count, use.address) == (1, 8)


def test_what_is_an_elf_file_is_told_by_its_first_bytes(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    (tmp_path / "empty").touch()
    assert not is_elf(tmp_path / "model.tflite")
    assert not is_elf(tmp_path / "empty")
    assert is_elf(library(tmp_path, DOT, target("rpi4")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return library(tmp_path_factory.mktemp("whole"), RANDOM, target("rpi5", min_glibc="2.36")).read_bytes()


def test_a_file_that_was_cut_off_is_refused(whole, tmp_path):
    for size in range(4, len(whole) - 64, 97):
        (tmp_path / "cut.so").write_bytes(whole[:size])
        with pytest.raises(Unreadable):
            read(tmp_path / "cut.so")


def test_a_file_that_was_changed_anywhere_is_read_or_refused(whole, tmp_path):
    generator = random.Random(7)
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(generator.randint(1, 8)):
            changed[generator.randrange(4, len(changed))] = generator.randrange(256)
        (tmp_path / "changed.so").write_bytes(changed)
        try:
            read(tmp_path / "changed.so")
        except Unreadable as error:
            assert str(error)


def test_the_glibc_that_a_library_provides(tmp_path):
    here = Path("/proc/self/maps").read_text()
    libc = next(line.split()[-1] for line in here.splitlines() if line.endswith("libc.so.6"))
    name, version = os.confstr("CS_GNU_LIBC_VERSION").split()
    assert name == "glibc"
    assert ".".join(map(str, provided_glibc(Path(libc)))) == version
    assert provided_glibc(library(tmp_path, DOT, target("rpi4"))) == ()
