"""A payload that the target can't load or run is refused, by the file's name and with what it needs."""

from __future__ import annotations

import pytest

from edgec import toolchain
from edgec.errors import DeviceError
from edgec.fit import Fit, require_fit
from tests.compiled import DOT, RANDOM, library, target


def refused(path, for_target) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        require_fit({"payload/kernels.so": path}, for_target)
    assert caught.value.exit_code == 10
    assert caught.value.what.startswith("payload/kernels.so")
    assert caught.value.why and caught.value.fix
    return caught.value


def test_files_that_hold_no_machine_code_need_nothing(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    assert require_fit({"payload/model.tflite": tmp_path / "model.tflite"}, target("rpi4")) == Fit()


def test_a_dot_product_for_a_newer_core_is_refused_for_an_older_one(tmp_path):
    path = library(tmp_path, DOT, target("rpi5"))
    assert require_fit({"payload/kernels.so": path}, target("rpi5")) == Fit()
    error = refused(path, target("rpi4"))
    assert "uses asimddp, which rpi4 does not have" in error.what
    assert "first at address 0x" in error.why
    assert "cortex-a72" in error.fix
    assert error.details["missing"] == ["asimddp"]


def test_an_architecture_is_not_mistaken_for_another(tmp_path):
    error = refused(library(tmp_path, DOT, target("x86-64-v3")), target("rpi4"))
    assert "machine code for x86_64, and rpi4 is aarch64" in error.what
    assert "aarch64-linux-gnu" in error.fix
    assert "for aarch64, and rpi2 is armv7l" in refused(library(tmp_path, DOT, target("rpi4")), target("rpi2")).what


def test_32_bit_code_for_a_floating_point_unit_that_is_not_there_is_refused(tmp_path):
    path = library(tmp_path, DOT, target("rpi2"))
    error = refused(path, target("rpi2", features=("neon",)))
    assert "uses idiva, vfpv4" in error.what
    assert "build attributes" in error.why
    plain = library(tmp_path, DOT, target("rpi2", cpu="", features=()))
    assert require_fit({"payload/kernels.so": plain}, target("rpi2", features=())) == Fit()


def test_32_bit_code_that_passes_floats_elsewhere_is_refused(tmp_path):
    path = library(tmp_path, "float half(float x) { return x / 2; }", target("rpi2"))
    content = bytearray(path.read_bytes())
    content[36:40] = (0x5000200).to_bytes(4, "little")  # e_flags: EF_ARM_ABI_FLOAT_SOFT
    path.write_bytes(content)
    assert "floats in integer registers" in refused(path, target("rpi2")).what


def test_a_newer_glibc_than_the_target_promises_is_refused(tmp_path):
    path = library(tmp_path, RANDOM, target("rpi5", min_glibc="2.36"))
    assert require_fit({"payload/kernels.so": path}, target("rpi5", min_glibc="2.36")) == Fit("2.36")
    error = refused(path, target("rpi5", min_glibc="2.31"))
    assert "needs glibc 2.36, and rpi5 promises 2.31 only" in error.what
    assert "min_glibc" in error.fix
    assert error.details["needs_glibc"] == "2.36"


def test_versions_are_compared_as_numbers(tmp_path):
    path = library(tmp_path, RANDOM, target("rpi5", min_glibc="2.36"))
    assert "needs glibc 2.36" in refused(path, target("rpi5", min_glibc="2.4")).what


def test_the_newest_of_several_files_decides(tmp_path):
    new = library(tmp_path, RANDOM, target("rpi5"), "new.so")
    old = library(tmp_path, "int getpid(void); int f(void) { return getpid(); }", target("rpi5"), "old.so")
    assert require_fit({"payload/old.so": old}, target("rpi5")).min_glibc == "2.17"
    assert require_fit({"payload/new.so": new, "payload/old.so": old}, target("rpi5")).min_glibc == "2.36"


def test_where_nothing_is_promised_the_file_says_what_it_needs(tmp_path):
    path = library(tmp_path, RANDOM, target("rpi5"))
    assert require_fit({"payload/kernels.so": path}, target("rpi5", min_glibc="")).min_glibc == "2.36"


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    path = library(tmp_path, DOT, target("rpi4"))
    path.write_bytes(path.read_bytes()[:600])
    assert "can't be checked" in refused(path, target("rpi4")).what


def test_libraries_that_are_neither_glibcs_nor_shipped_are_told(tmp_path):
    inner = library(tmp_path, DOT, target("rpi4"), "libinner.so")
    (tmp_path / "outer.c").write_text("int dot(void); int outer(void) { return dot(); }")
    tools = toolchain.find(target("rpi4"))
    tools.compile(tmp_path / "outer.c", tmp_path / "outer.o", target("rpi4"))
    tools.link([tmp_path / "outer.o", inner], tmp_path / "outer.so", target("rpi4"))
    alone = require_fit({"payload/outer.so": tmp_path / "outer.so"}, target("rpi4"))
    assert alone.warnings == ("payload/outer.so loads libinner.so, which the device has to have.",)
    both = {"payload/outer.so": tmp_path / "outer.so", "payload/libinner.so": inner}
    assert require_fit(both, target("rpi4")).warnings == ()


@pytest.fixture
def sized(tmp_path):
    """Files of so many MiB in all, which take no space on disk."""

    def make(*sizes):
        files = {}
        for index, size in enumerate(sizes):
            path = tmp_path / f"weights{index}"
            with path.open("wb") as stream:
                stream.truncate(size << 20)
            files[f"payload/weights{index}"] = path
        return files

    return make


def test_a_payload_that_takes_all_of_the_memory_is_refused(sized):
    with pytest.raises(DeviceError) as caught:
        require_fit(sized(600, 424), target("rpi4", memory_mib=1024))
    assert caught.value.exit_code == 10
    assert caught.value.what == "The payload has 1024 MiB, and rpi4 has 1024 MiB of memory"
    assert "int8" in caught.value.fix


def test_a_payload_that_takes_more_than_half_of_it_is_warned_about(sized):
    (warning,) = require_fit(sized(600), target("rpi4", memory_mib=1024)).warnings
    assert "600 MiB" in warning and "1024 MiB" in warning
    assert require_fit(sized(512), target("rpi4", memory_mib=1024)).warnings == ()


def test_unknown_memory_is_not_compared(sized):
    assert require_fit(sized(4096), target("rpi4", memory_mib=0)) == Fit()
