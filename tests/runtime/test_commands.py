"""An artifact on a device: Python, numpy and the engine, and nothing else that this machine has.

The commands run as a device runs them: `python3 m.edgec COMMAND`, in an interpreter whose only packages are those that
a test links into its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgec.runtime import errors
from edgec.runtime.bundle import Bundle

_SITE = Path(np.__file__).parents[1]


@pytest.fixture
def device(tmp_path):
    """A function that runs an artifact's command with only the named packages installed."""

    def run(artifact, *arguments, packages=("numpy", "openvino")):
        site = tmp_path / ("site-" + "-".join(packages))
        if not site.exists():
            site.mkdir()
            for package in packages:
                for path in _SITE.glob(f"{package}*"):
                    (site / path.name).symlink_to(path)
            if "pillow" in packages:
                (site / "PIL").symlink_to(_SITE / "PIL")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [sys.executable, "-S", str(artifact), *map(str, arguments)],  # -S: without this environment's packages
            env={**environment, "PYTHONPATH": str(site)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def _ok(done):
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _failed(done, code):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in ("error:", "why:", "fix:"))
    return done.stderr


def test_nothing_of_the_build_is_there(device, cnn, tmp_path):
    """The premise of the other tests."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "from importlib.util import find_spec\n"
        "print([name for name in ('edgec', 'onnx', 'onnxruntime', 'click', 'PIL', 'numpy') if find_spec(name)])\n"
    )
    assert _ok(device(probe)) == "['numpy']\n"


def test_info_needs_neither_numpy_nor_engine(device, cnn):
    text = _ok(device(cnn.path, "info", packages=()))
    for fact in ("int8", "openvino", "image: float32 1x3x16x16", "scores: float32 1x10", "host"):
        assert fact in text


def test_info_names_the_package_to_install(device, cnn):
    distribution = json.loads(_ok(device(cnn.path, "info", "--json", packages=())))["engine"]["distribution"]
    assert f"{distribution} >= " in _ok(device(cnn.path, "info", packages=()))


def test_extract_writes_what_the_engine_loads(device, cnn, tmp_path):
    folder = tmp_path / "new" / "folder"
    told = json.loads(_ok(device(cnn.path, "extract", folder, "--json", packages=())))["files"]
    manifest = json.loads(_ok(device(cnn.path, "info", "--json", packages=())))
    assert {f"payload/{path.name}" for path in folder.iterdir()} == set(manifest["payload"])
    assert set(told) == {str(path) for path in folder.iterdir()}
    for name in manifest["payload"]:
        content = (folder / name.removeprefix("payload/")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == manifest["files"][name]["sha256"]
    _ok(device(cnn.path, "extract", folder, packages=()))  # again: it is the same


def test_extract_replaces_no_file_that_holds_something_else(device, cnn, tmp_path):
    manifest = json.loads(_ok(device(cnn.path, "info", "--json", packages=())))
    mine = tmp_path / manifest["payload"][-1].removeprefix("payload/")
    mine.write_text("mine")
    done = device(cnn.path, "extract", tmp_path, packages=())
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert mine.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, "site-"}


def test_info_as_json_is_the_manifest(device, cnn):
    manifest = json.loads(_ok(device(cnn.path, "info", "--json", packages=())))
    assert manifest["format_version"] == 1
    assert manifest["precision"] == "int8"
    assert manifest["engine"]["name"] == "openvino"
    assert manifest["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3, 16, 16]}]


def test_verify_needs_neither_numpy_nor_engine(device, cnn):
    assert "ok" in _ok(device(cnn.path, "verify", packages=()))
    document = json.loads(_ok(device(cnn.path, "verify", "--json", packages=())))
    assert document["status"] == "ok"


@pytest.mark.parametrize("name", ["cnn", "lstm", "mixed"])
def test_selftest_passes_where_it_was_built(device, request, name):
    document = json.loads(_ok(device(request.getfixturevalue(name).path, "selftest", "--json")))
    assert document["status"] == "ok"
    assert document["samples"] == 2
    assert all(output["max_abs"] <= output["tolerance"] for output in document["outputs"])


def test_selftest_states_the_difference_in_steps_of_the_output(device, cnn):
    document = json.loads(_ok(device(cnn.path, "selftest", "--json")))
    (output,) = document["outputs"]
    assert output["max_lsb"] is not None
    assert output["tolerance"] == 2 / 32  # two steps
    assert "LSB" in _ok(device(cnn.path, "selftest"))


def test_the_file_can_be_executed_by_itself(cnn):
    assert os.access(cnn.path, os.X_OK)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run([cnn.path, "verify"], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert "ok" in _ok(done)


def test_run_gives_what_the_engine_computes(device, cnn, tmp_path):
    from edgec.runtime import load

    image = np.random.default_rng(3).normal(size=(1, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", image)
    _ok(device(cnn.path, "run", "x.npy", "--output", "out.npz"))
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["scores"], load(cnn.path).run(image)["scores"])


def test_run_takes_inputs_by_name(device, mixed, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3], [4, -5, 6]], np.float32))
    np.save(tmp_path / "b.npy", np.array([7, 8]))
    out = json.loads(_ok(device(mixed.path, "run", "count=b.npy", "in,put/ü:0=a.npy", "--json")))["runs"][0]
    assert out["twice"] == {"dtype": "int64", "shape": [2], "values": [14, 16]}
    assert out["to/tal"] == {"dtype": "float32", "shape": [], "values": [11.0]}
    assert out["positive"]["values"] == [True, True, True, True, False, True]


def test_run_takes_all_inputs_from_one_archive(device, mixed, tmp_path):
    np.savez(tmp_path / "all.npz", **{"in,put/ü:0": np.ones((2, 3), np.float32), "count": np.array([1, 2])})
    out = json.loads(_ok(device(mixed.path, "run", "all.npz", "--json")))["runs"][0]
    assert out["twice"]["values"] == [2, 4]


def test_run_takes_a_sequence_and_carries_the_state(device, lstm, tmp_path):
    steps = np.random.default_rng(5).normal(size=(4, 1, 1, 3)).astype(np.float32)
    np.save(tmp_path / "steps.npy", steps)
    _ok(device(lstm.path, "run", "steps.npy", "--output", "out.npz"))
    from edgec.reference import Reference
    from tests.contract import models

    reference = Reference(models.recurrent().SerializeToString())
    state = {"h": np.zeros((1, 1, 4), np.float32), "c": np.zeros((1, 1, 4), np.float32)}
    with np.load(tmp_path / "out.npz") as arrays:
        for index, step in enumerate(steps):
            outputs = reference.run({"x": step, **state})
            np.testing.assert_allclose(arrays["y"][index], outputs["y"], atol=1e-5)
            state = {"h": outputs["h_next"], "c": outputs["c_next"]}


def test_run_shows_the_largest_values(device, cnn, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3, 16, 16), np.float32))
    (run,) = json.loads(_ok(device(cnn.path, "run", "x.npy", "--top", "3", "--json")))["runs"]
    values = [item["value"] for item in run["scores"]["top"]]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


def test_run_prepares_an_image_as_the_recipe_says(device, cnn, tmp_path):
    from PIL import Image

    from edgec.runtime import load

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    _ok(device(cnn.path, "run", "x.png", "--output", "out.npz", packages=("numpy", "openvino", "pillow")))
    tensor = ((pixels.astype(np.float64) / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None].astype(np.float32)
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_allclose(arrays["scores"], load(cnn.path).run(tensor)["scores"], atol=1 / 32)


def test_an_image_without_pillow_says_what_to_install(device, cnn, tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    assert "pillow" in _failed(device(cnn.path, "run", "x.png"), 2).lower()


def test_an_image_without_a_recipe_is_refused(device, lstm, tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    assert "--preprocess" in _failed(device(lstm.path, "run", "x.png"), 2)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), "shape"),
        (np.zeros((1, 3, 16, 16), np.complex64), "complex64"),
        (np.zeros((0, 1, 3, 16, 16), np.float32), "shape"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(device, cnn, tmp_path, array, said):
    np.save(tmp_path / "x.npy", array)
    assert said in _failed(device(cnn.path, "run", "x.npy"), 2)


def test_a_file_that_is_not_there_is_named(device, cnn):
    text = _failed(device(cnn.path, "run", "none.npy"), 2)
    assert "none.npy" in text and "Check the path" in text


def test_a_missing_input_is_named(device, mixed, tmp_path):
    np.save(tmp_path / "b.npy", np.array([7, 8]))
    assert "in,put/ü:0" in _failed(device(mixed.path, "run", "count=b.npy"), 2)


def test_an_output_that_cant_be_written_is_told(device, cnn, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3, 16, 16), np.float32))
    assert "no/such" in _failed(device(cnn.path, "run", "x.npy", "--output", "no/such/out.npz"), 73)


def test_bench_tells_the_distribution_and_its_conditions(device, cnn):
    document = json.loads(_ok(device(cnn.path, "bench", "--duration", "100ms", "--threads", "1", "--json")))
    latency = document["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert document["runs"] == sum(document["histogram"]["counts"]) >= 12
    assert (document["threads"], document["engine"]) == (1, "openvino")
    assert document["load_ms"] > 0
    assert "1 thread" in _ok(device(cnn.path, "bench", "--duration", "100ms", "--threads", "1"))


def test_bench_tells_memory_processor_time_and_each_step(device, cnn):
    document = json.loads(_ok(device(cnn.path, "bench", "--duration", "50ms", "--batch", "3", "--profile", "--json")))
    assert document["peak_bytes"] > document["start_bytes"] > 1 << 20
    assert document["cpu_ms"] > 0
    assert document["batch"] == 3
    assert sum(step["share"] for step in document["profile"]) == pytest.approx(1, abs=0.01)
    assert any("Convolution" in step["operator"] for step in document["profile"])


def test_bench_feeds_files_and_writes_raw_times(device, cnn, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3, 16, 16), np.float32))
    text = _ok(device(cnn.path, "bench", "--duration", "50ms", "--input", "x.npy", "--csv", "raw.csv"))
    header, *rows = (tmp_path / "raw.csv").read_text().splitlines()
    assert header == "subject,turn,milliseconds"
    assert f"({len(rows)} runs, one after the other)" in text
    assert "no/raw.csv" in _failed(device(cnn.path, "bench", "--duration", "10ms", "--csv", "no/raw.csv"), 73)


def test_a_soak_says_by_what_it_judges(device, cnn):
    text = _ok(device(cnn.path, "bench", "--soak", "600ms"))
    for word in ("soak", "latency", "memory", "temperature", "clock", "Mann-Kendall"):
        assert word in text


def test_what_was_measured_before_ctrl_c_is_shown(cnn):
    ours, terminal = os.openpty()
    command = [sys.executable, cnn.path, "bench", "--mlperf"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True) as running:
        os.close(terminal)
        told = b""
        while b" queries in " not in told:
            told += os.read(ours, 1000)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)
    os.close(ours)
    assert running.returncode == 130
    assert re.search(r"NOT valid: .*of 60 s", output)
    assert "these are the figures up to then" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "--duration", "0s"),
        ("bench", "--batch", "0"),
        ("bench", "--soak", "x"),
        ("bench", "--threads", "-1"),
        ("run", "x.npy", "--top", "-3"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(device, cnn, arguments):
    _failed(device(cnn.path, *arguments), 2)


@pytest.mark.parametrize("arguments", [(), ("fly",), ("run",)])
def test_a_command_line_that_cant_be_understood_exits_with_2(device, cnn, arguments):
    done = device(cnn.path, *arguments, packages=())
    assert done.returncode == 2
    assert "usage: net-host.edgec" in done.stderr


@pytest.mark.parametrize(("packages", "missing"), [((), "numpy"), (("numpy",), "openvino")])
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(device, cnn, packages, missing):
    text = _failed(device(cnn.path, "selftest", packages=packages), 8)
    assert "pip install" in text
    assert missing in text


def test_with_json_an_error_is_a_document_too(device, cnn):
    done = device(cnn.path, "selftest", "--json", packages=("numpy",))
    document = json.loads(done.stdout)
    assert (document["status"], document["exit_code"], done.returncode) == ("failed", 8, 8)
    assert document["error"]["kind"] == "EngineMissing"


@pytest.mark.parametrize("command", ["info", "verify", "selftest", "run", "bench"])
def test_help_explains_every_command(device, cnn, command):
    assert command in _ok(device(cnn.path, "--help", packages=()))
    assert "--json" in _ok(device(cnn.path, command, "--help", packages=()))


def test_help_lists_every_exit_code(device, cnn):
    text = _ok(device(cnn.path, "--help", packages=()))
    failures = (
        errors.InputError,
        errors.SelftestFailed,
        errors.EngineMissing,
        errors.BundleError,
        errors.DeviceUnfit,
    )
    for code in (0, 73, 130, *(failure.exit_code for failure in failures)):
        assert re.search(rf"\b{code}\s[a-z]", text.partition("Exit codes:")[2]), code


def test_values_that_are_not_finite_are_refused_with_their_place(device, cnn, tmp_path):
    image = np.ones((1, 3, 16, 16), np.float32)
    image[0, 2, 5, 7] = np.nan
    np.save(tmp_path / "x.npy", image)
    text = _failed(device(cnn.path, "run", "x.npy"), 2)
    assert "x.npy" in text and "[0, 2, 5, 7]" in text


def test_an_array_of_another_name_is_taken_with_a_remark(device, cnn, tmp_path):
    np.savez(tmp_path / "wrong.npz", foo=np.ones((1, 3, 16, 16), np.float32))
    done = device(cnn.path, "run", "wrong.npz")
    assert done.returncode == 0
    assert done.stderr == "note: wrong.npz: its only array, 'foo', is taken for the input 'image'\n"


def test_samples_along_one_more_axis_run_one_after_the_other(device, cnn, tmp_path):
    from edgec.runtime import load

    images = np.random.default_rng(3).normal(size=(5, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    assert "run 4\n  scores: float32 1x10: " in _ok(device(cnn.path, "run", "x.npy", "--output", "out.npz"))
    model = load(cnn.path)
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["scores"].shape == (5, 1, 10)
        for image, scores in zip(images, arrays["scores"], strict=True):
            np.testing.assert_array_equal(scores, model.run(image[None])["scores"])


def test_a_file_that_was_cut_off_is_pythons_to_refuse(device, cnn, tmp_path):
    """Python can't find the program in it; docs/artifact.md says so. Any other copy of the runtime tells more."""
    (tmp_path / "cut.edgec").write_bytes(cnn.path.read_bytes()[:-1000])
    assert device("cut.edgec", "verify").returncode == 1
    with pytest.raises(errors.BundleError, match="cut off"):
        Bundle.open(tmp_path / "cut.edgec")


def test_output_into_a_closed_pipe_is_no_error(cnn):
    done = subprocess.run(
        f"{sys.executable} {cnn.path} info --json | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
