"""A target is one TOML file; what is wrong with it is told with its line."""

import dataclasses
import re
from pathlib import Path

import pytest

from edgec import resources, targets
from edgec.errors import UsageError
from edgec.targets import KNOWN_FEATURES, Accelerator, Emulator, Performance, Target, load_target

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


ARM = """
name = "board"
title = "A board"
arch = "aarch64"
triple = "aarch64-linux-gnu"
cpu = "cortex-a72"
features = ["asimd"]
min_glibc = "2.31"
threads = 4
memory_mib = 1024
backends = ["tflite"]

[emulator]
qemu = "qemu-aarch64"
cpu = "cortex-a72"
"""


def test_an_arm_target_says_what_it_is_for_compilers_and_emulators(write):
    write(ARM)
    target = load_target("board")
    assert (target.triple, target.cpu, target.min_glibc) == ("aarch64-linux-gnu", "cortex-a72", "2.31")
    assert (target.features, target.threads, target.memory_mib) == (("asimd",), 4, 1024)
    assert target.emulator == Emulator("qemu-aarch64", "cortex-a72")


def test_an_arm_target_may_leave_out_what_it_does_not_know(write):
    write('name = "board"\ntitle = "A board"\narch = "armv7l"\nbackends = ["tflite"]\n')
    target = load_target("board")
    assert target.triple == "arm-linux-gnueabihf"
    assert (target.cpu, target.min_glibc, target.memory_mib, target.emulator) == ("", "", 0, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"asimd"', '"asimdd"'), r"line 7.*'asimdd' is not known.*Did you mean 'asimddp'\?"),
        (('"asimd"', '"neon"'), r"line 7.*'neon' is not known.*Did you mean 'asimd'\?"),
        (('"asimd"', '"dotprod"'), r"line 7.*'dotprod' is not known.*Did you mean 'asimddp'\?"),
        (('"asimd"', '"avx2"'), "line 7.*'avx2' is not known"),
        (('e = "aarch64-linux-gnu"', 'e = "arm-linux-gnueabihf"'), "line 5.*triple is.*Write 'aarch64-linux-gnu'"),
        (('e = "aarch64-linux-gnu"', 'e = "aarch64-linux-musl"'), "line 5.*triple is"),
        (('cpu = "cortex-a72"\nf', 'cpu = "native"\nf'), "line 6.*cpu is 'native'"),
        (('cpu = "cortex-a72"\nf', 'cpu = "Cortex A72"\nf'), "line 6.*cpu is 'Cortex A72'"),
        (('"2.31"', '"bullseye"'), "line 8.*min_glibc is 'bullseye'.*ldd"),
        (('"2.31"', "2.31"), "line 8.*min_glibc.*string"),
        (("= 1024", "= -1"), "line 10.*memory_mib is negative"),
        (("= 1024", '= "1 GB"'), "line 10.*integer"),
        (("threads = 4", "threads = -4"), "line 9.*threads is negative"),
        (('"qemu-aarch64"', '"qemu-arm"'), "line 14.*emulator.qemu is 'qemu-arm'"),
        (('u = "cortex-a72"\n', 'u = "max"\n'), "cpu is 'max'"),
        (('"qemu-aarch64"\ncpu = "cortex-a72"', '"qemu-aarch64"\ncpu = "max"'), "line 15.*emulator.cpu is 'max'"),
        (('"qemu-aarch64"\ncpu = "cortex-a72"', '"qemu-aarch64"\ncpu = "max,sve=off"'), "line 15.*emulator.cpu"),
        (('"qemu-aarch64"\ncpu', '"qemu-aarch64"\ncore'), "emulator.cpu is missing"),
    ],
)
def test_what_is_wrong_with_an_arm_target_is_told_with_its_line(write, change, told):
    assert change[0] in ARM
    write(ARM.replace(*change))
    with pytest.raises(UsageError) as caught:
        load_target("board")
    assert caught.value.exit_code == 2
    assert re.search(told, str(caught.value), re.DOTALL), str(caught.value)


def test_an_x86_target_is_not_emulated(write):
    write(GOOD + '\n[emulator]\nqemu = "qemu-x86_64"\ncpu = "qemu64"\n')
    with pytest.raises(UsageError, match="emulator"):
        load_target("board")


@pytest.mark.parametrize("name", [name for name in resources.declared("targets") if load_target(name).emulator])
def test_every_built_in_arm_target_names_the_core_that_is_emulated(name):
    target = load_target(name)
    assert target.cpu in (target.emulator.cpu, "generic")


DOCUMENT = (Path(__file__).parents[1] / "docs" / "targets.md").read_text(encoding="utf-8")


def test_the_example_of_the_document_can_be_used(write):
    write(re.search(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)[1], "gateway")
    assert load_target("gateway").emulator is not None


@pytest.mark.parametrize("arch", sorted(KNOWN_FEATURES))
def test_the_document_lists_the_features_that_are_known(arch):
    row = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| {arch} | "))
    assert re.sub(r" \([^)]*\)", "", row.split("|")[2]).strip() == ", ".join(KNOWN_FEATURES[arch])


def test_the_document_tells_of_every_key():
    keys = {field.name for field in dataclasses.fields(Target)} - {"here"}  # which follows from arch
    keys |= {"cost"}  # which is no part of a device
    table = DOCUMENT[DOCUMENT.index("|---|") : DOCUMENT.index("## Adding")]
    assert keys == {key.strip("[]") for key in re.findall(r"^\| (\S+) \|", table, re.MULTILINE)}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (
            "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel\t\t: 9\n",
            "AMD EPYC, cpu family 26, model 2",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "here, CPU implementer 0x41, CPU part 0xd08"),
        ("", "here"),
    ],
)
def test_a_processor_has_a_name(monkeypatch, said, name):
    monkeypatch.setattr(targets, "_cpuinfo", lambda: said)
    monkeypatch.setattr("platform.machine", lambda: "here")
    assert targets.cpu_name.__wrapped__() == name


PEAKS = """
[performance]
float32_gmacs = 24
int8_gmacs = 48.0
memory_gb_per_s = 12.8
source = "the data sheet"
"""


def test_peaks_are_read_and_integers_are_numbers_too(write):
    write(GOOD + PEAKS)
    assert load_target("board").performance == Performance(24.0, 48.0, 12.8, "the data sheet")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("int8_gmacs = 0", "int8_gmacs is 0"),
        ("int8_gmacs = -3.0", "int8_gmacs is -3"),
        ("int8_gmacs = inf", "int8_gmacs is inf"),
        ("int8_gmacs = nan", "int8_gmacs is nan"),
        ('int8_gmacs = "fast"', "int8_gmacs is 'fast'"),
        ("", "int8_gmacs is missing"),
        ("int8_gmac = 48.0", "int8_gmac"),
    ],
)
def test_a_peak_that_can_not_be_right_is_named_with_its_line(write, line, said):
    write(GOOD + PEAKS.replace("int8_gmacs = 48.0", line))
    with pytest.raises(UsageError, match=r"board\.toml.* can't be used") as refused:
        load_target("board")
    assert said in refused.value.why


def test_this_machine_is_measured_and_the_boards_with_published_timings_say_their_peaks():
    host = load_target("host")
    assert host.here and host.performance is None
    for name in ("rpi3", "rpi4", "rpi5", "jetson-nano"):
        peaks = load_target(name).performance
        assert peaks is not None and peaks.int8_gmacs > peaks.float32_gmacs and "cores" in peaks.source
