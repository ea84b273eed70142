"""`edgec bench --emulate`: instructions per inference, side by side; and what can't be counted.

Times are the business of tests/benchmark_command."""

import json

import pytest

import edgec as package
from edgec.cli.bench_counted import lines
from edgec.emulator import qemu
from tests.bundle.artifacts import cnn  # noqa: F401 (fixture)
from tests.cli.test_command_line import edgec


@pytest.fixture(scope="module")
def build_digits(digits, tmp_path_factory):
    """Build an artifact for rpi4, without executing it."""
    folder = tmp_path_factory.mktemp("rpi4")

    def build(backend):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGEC_CACHE_DIR", str(folder / "store"))
            (built,) = package.build(
                digits.model,
                calibration=digits.calibration,
                preprocess=digits.recipe,
                targets="rpi4",
                backend=backend,
                emulate=False,
                search_seconds=1.0,
                output=folder / backend,
            ).builds
        return built.artifact.path

    return build


@pytest.fixture(scope="module")
def digits_for_rpi4(build_digits):
    """An artifact that LiteRT runs."""
    return build_digits("tflite")


def row(**changes):
    """What is counted of one artifact."""
    kinds = {"multiply": 200, "vector": 100, "memory": 400, "branch": 100, "other": 434}
    counts = {"total": 1234, "least": 1234, "most": 1234, "kinds": kinds}
    whole = {"path": "dist/a.edgec", "precision": "int8", "engine": "tvm", "engine_version": "1", "ratio": 1.0}
    core = {"core": "cortex-a72", "emulator": "qemu-aarch64", "emulator_version": "7.2.22"}
    return {**whole, **core, "instructions": counts, "engine_instructions": {**counts, "total": 1000}, **changes}


def test_it_explains_itself():
    result = edgec("bench", "--help")
    assert result.returncode == 0
    assert "--emulate" in result.stdout


@pytest.mark.slow
def test_digits_are_counted_the_same_every_time(rpi4_machine, digits_for_rpi4):
    if qemu.find_with_plugins("qemu-aarch64") is None:
        pytest.skip("there is no qemu-aarch64 with plugins")
    result = edgec("bench", "--emulate", digits_for_rpi4, digits_for_rpi4, "--json")
    assert result.returncode == 0, result.stdout
    first, second = json.loads(result.stdout)["artifacts"]
    assert first == second
    assert first["core"] == "cortex-a72"
    assert first["engine"] == "tflite"
    assert first["ratio"] == 1.0
    run, engine = first["instructions"], first["engine_instructions"]
    assert engine["total"] < run["total"] < 1_000_000
    assert run["least"] <= run["total"] <= run["most"]
    assert sum(run["kinds"].values()) == run["total"]
    least = 230_880 / 8  # the model's multiply-accumulates, and the most that one instruction of that core does
    assert least < engine["kinds"]["multiply"] < 4 * least


@pytest.mark.slow
def test_machine_code_of_tvm_has_less_to_do_than_litert(rpi4_machine, digits_for_rpi4, build_digits):
    pytest.importorskip("tvm")
    pytest.importorskip("ziglang")
    if qemu.find_with_plugins("qemu-aarch64") is None:
        pytest.skip("there is no qemu-aarch64 with plugins")
    result = edgec("bench", "--emulate", digits_for_rpi4, build_digits("tvm"), "--json")
    assert result.returncode == 0, result.stdout
    litert, tvm = json.loads(result.stdout)["artifacts"]
    assert (litert["engine"], tvm["engine"]) == ("tflite", "tvm")
    assert tvm["ratio"] == round(tvm["instructions"]["total"] / litert["instructions"]["total"], 4)
    assert tvm["engine_instructions"]["total"] < litert["engine_instructions"]["total"]  # 0.76 of them
    # Equal on a quiet machine; on a busy one 3 of 108930 more were seen in some runs.
    assert tvm["engine_instructions"]["most"] <= tvm["engine_instructions"]["least"] * 1.001


def test_the_table_puts_artifacts_side_by_side():
    two = row(path="dist/b.edgec", ratio=1.5, engine="tflite", engine_version="2.3.0")
    two["instructions"] = {**two["instructions"], "total": 1851, "most": 1900, "least": 1850}
    shown = lines([row(), two])
    assert shown[1].split() == ["a.edgec", "1,234", "1.000", "1,000", "nothing"]
    assert shown[2].split() == ["b.edgec", "1,851", "1.500", "1,000", "50", "(2.70%)"]
    assert shown[4].split() == ["of", "these", "multiply", "vector", "memory", "branch", "other"]
    assert shown[5].split() == ["a.edgec", "200", "100", "400", "100", "434"]
    text = "\n".join(shown)
    assert "a.edgec: int8 through tvm 1, one thread, on an emulated cortex-a72 (qemu-aarch64 7.2.22)" in text
    assert "work, not time" in text
    assert " ms" not in text


def test_files_of_one_name_are_told_apart():
    shown = lines([row(path="dist/tvm/a.edgec"), row(path="dist/tflite/a.edgec")])
    assert [line.split()[0] for line in shown[1:3]] == ["tvm/a.edgec", "tflite/a.edgec"]


def test_of_32_bit_arm_no_kinds_are_shown():
    counts = {**row()["instructions"], "kinds": None}
    shown = "\n".join(lines([row(instructions=counts, core="cortex-a7")]))
    assert "1,234" in shown
    assert "multiply" not in shown


def test_without_the_file(tmp_path):
    result = edgec("bench", "--emulate", tmp_path / "no.edgec", "--json")
    assert result.returncode == 2
    assert "can't be read" in json.loads(result.stdout)["error"]["what"]


def test_a_file_that_is_no_artifact(tmp_path):
    (tmp_path / "x.edgec").write_text("no artifact")
    result = edgec("bench", "--emulate", tmp_path / "x.edgec")
    assert result.returncode == 9


def test_an_engine_that_emulated_devices_lack(cnn):  # noqa: F811
    result = edgec("bench", "--emulate", cnn.path, "--target", "rpi4")
    assert result.returncode == 2
    assert "Instructions of the engine openvino can't be counted" in result.stderr


def test_a_target_without_an_emulator(digits_for_rpi4):
    result = edgec("bench", "--emulate", digits_for_rpi4, "--target", "host")
    assert result.returncode == 2
    assert "host has no emulator" in result.stderr


@pytest.mark.slow
def test_a_device_of_another_architecture(rpi2_machine, digits_for_rpi4):
    if qemu.find_with_plugins("qemu-arm") is None:
        pytest.skip("there is no qemu-arm with plugins")
    result = edgec("bench", "--emulate", digits_for_rpi4, "--target", "rpi2")
    assert result.returncode == 10
    assert "this machine is armv7l" in result.stderr
