"""Compilers for targets: which is taken, what it makes, and what it says when it can't."""

from __future__ import annotations

import importlib.util
import shutil
import stat
from pathlib import Path

import pytest

from edgec import toolchain
from edgec.cli.doctor import _compilers
from edgec.elf.reading import read
from edgec.errors import DeviceError, InternalError, ToolMissing, UsageError
from tests.compiled import DOT, RANDOM, library, target

ARM = ("rpi2", "rpi3", "rpi4", "rpi5", "jetson-nano", "aarch64-generic", "coral-dev-board")


@pytest.fixture
def without_zig(monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else known(name))


def test_what_zig_builds_of_the_c_library_is_kept_in_the_cache_or_where_the_user_wants_it(monkeypatch, own_store):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/elsewhere")
    monkeypatch.delenv("ZIG_LOCAL_CACHE_DIR")
    found = toolchain._zig_environment()
    assert found == {"ZIG_GLOBAL_CACHE_DIR": "/elsewhere", "ZIG_LOCAL_CACHE_DIR": str(own_store / "zig")}


@pytest.mark.parametrize("name", [*ARM, "x86-64-v3", "x86-64-avx-vnni", "x86-64-vnni", "host"])
def test_every_built_in_target_gets_a_library_that_it_can_run(tmp_path, name):
    assert read(library(tmp_path, DOT, target(name))).arch == target(name).arch


def test_zig_links_for_the_glibc_that_the_target_promises(tmp_path):
    assert toolchain.find(target("rpi4")).glibc == ""
    assert read(library(tmp_path, RANDOM, target("rpi5", min_glibc="2.36"))).glibc == (2, 36)
    with pytest.raises(InternalError, match="arc4random"):  # which 2.31 does not have
        library(tmp_path, RANDOM, target("rpi5", min_glibc="2.31"))


def test_features_of_a_target_are_used_whatever_its_core(tmp_path):
    generic = target("aarch64-generic", features=("asimd", "asimddp"))
    assert list(read(library(tmp_path, DOT, generic)).extensions) == ["asimddp"]
    assert read(library(tmp_path, DOT, target("aarch64-generic"))).extensions == {}


def test_equal_sources_give_equal_files_wherever_they_lie(tmp_path):
    source = "const char *here(void) { return __FILE__; }" + DOT
    for name in ("one", "another/and/deeper"):
        (tmp_path / name).mkdir(parents=True)
        library(tmp_path / name, source, target("rpi4"))
    first, second = ((tmp_path / name / "kernels.so").read_bytes() for name in ("one", "another/and/deeper"))
    assert first == second
    assert str(tmp_path).encode() not in first


def test_a_symbol_that_nothing_provides_is_an_error_unless_the_loader_does(tmp_path):
    source = "int missing(int); int f(int x) { return missing(x); }"
    with pytest.raises(InternalError) as caught:
        library(tmp_path, source, target("rpi4"))
    assert "could not link kernels.so for rpi4" in caught.value.what
    assert "missing" in caught.value.why
    assert read(library(tmp_path, source, target("rpi4"), complete=False)).arch == "aarch64"


def test_what_is_wrong_with_the_source_is_told(tmp_path):
    with pytest.raises(InternalError) as caught:
        library(tmp_path, "int f(void) { return 1 +; }", target("rpi4"))
    assert "could not compile source.c" in caught.value.what
    assert "expected expression" in caught.value.why


def test_a_core_that_the_compiler_does_not_know_is_the_targets_fault(tmp_path):
    with pytest.raises(UsageError) as caught:
        library(tmp_path, DOT, target("rpi4", cpu="cortex-a722"))
    assert "does not know the core 'cortex-a722' of rpi4" in caught.value.what
    assert "Did you mean 'cortex-a72'?" in caught.value.why


def test_without_any_compiler_the_error_says_what_to_install(monkeypatch, tmp_path, without_zig):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing) as caught:
        toolchain.find(target("rpi2"))
    assert caught.value.exit_code == 8
    assert "arm-linux-gnueabihf" in caught.value.what
    assert "edgec[cross]" in caught.value.fix and "gcc-arm-linux-gnueabihf" in caught.value.fix


def _stand_in(folder, name, libc):
    """A program that answers as GCC does when it is asked about itself."""
    path = folder / name
    path.write_text(f'#!/bin/sh\ncase "$1" in -dumpfullversion) echo 12.2.0;; *) echo {libc};; esac\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def libc():
    """This machine's C library."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return next(line.split()[-1] for line in maps.splitlines() if line.endswith("libc.so.6"))


def test_a_cross_compiler_of_the_system_is_taken_where_zig_is_not(monkeypatch, tmp_path, without_zig, libc):
    monkeypatch.setenv("PATH", str(tmp_path))
    _stand_in(tmp_path, "aarch64-linux-gnu-gcc", libc)
    found = toolchain.find(target("rpi4", triple="aarch64-unknown-linux-gnu"))
    assert (found.name, found.version, found.triple) == ("aarch64-linux-gnu-gcc", "12.2.0", "aarch64-linux-gnu")
    assert found.glibc.startswith("2.")


def test_a_compiler_without_a_c_library_can_not_link_and_is_passed_over(monkeypatch, tmp_path, without_zig):
    monkeypatch.setenv("PATH", str(tmp_path))
    _stand_in(tmp_path, "aarch64-linux-gnu-gcc", "libc.so.6")
    assert toolchain.for_triple("aarch64-linux-gnu") is None


@pytest.mark.parametrize(
    ("content", "why"),
    [("\0not a program", "Exec format error"), ("#!/bin/sh\necho libmpc.so.3: not found >&2\nexit 127", "libmpc")],
)
def test_a_compiler_that_does_not_run_is_told_from_one_that_is_missing(
    monkeypatch, tmp_path, without_zig, content, why
):
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "aarch64-linux-gnu-gcc"
    program.write_text(content)
    program.chmod(0o755)
    with pytest.raises(ToolMissing) as caught:
        toolchain.find(target("rpi4"))
    assert f"{program} is there and does not run" in caught.value.what
    assert why in caught.value.why
    assert str(program) in _compilers()["aarch64-linux-gnu"]["install"]


def test_this_machines_own_compiler_is_for_machines_like_it_only(monkeypatch, tmp_path, without_zig, libc):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    _stand_in(tmp_path, "gcc", libc)
    assert toolchain.for_triple("x86_64-linux-gnu").name == "gcc"
    assert toolchain.for_triple("aarch64-linux-gnu") is None


@pytest.mark.parametrize("features", [(), ("neon",), ("vfpv4",), ("neon", "vfpv4")], ids="+".join)
def test_a_32_bit_core_without_a_name_has_the_features_of_the_target_and_no_more(tmp_path, features):
    plain = target("rpi2", cpu="", features=features)
    assert read(library(tmp_path, DOT, plain)).features == set(features)


@pytest.mark.parametrize("name", ["rpi2", "rpi4", "rpi5", "x86-64-v3"])
def test_gcc_makes_what_the_target_can_run(tmp_path, without_zig, name):
    if shutil.which(f"{target(name).triple}-gcc") is None:
        pytest.skip(f"{target(name).triple}-gcc is not installed")
    assert read(library(tmp_path, DOT, target(name))).arch == target(name).arch


def test_gcc_that_links_for_a_newer_glibc_is_found_out(tmp_path, without_zig):
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed")
    newer = "int pthread_create(); void *f(void) { return pthread_create; }"
    if tuple(map(int, toolchain.find(target("rpi4")).glibc.split("."))) < (2, 34):
        pytest.skip("its glibc has no newer symbols than the target's")
    with pytest.raises(DeviceError) as caught:
        library(tmp_path, newer, target("rpi4"))
    assert "kernels.so needs glibc 2.34, and rpi4 promises 2.31 only" in caught.value.what
    assert "edgec[cross]" in caught.value.fix
