"""A whole build, as a promise to its user: one verified file; the second time from the store; nothing half-done."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgec
from edgec.errors import CalibrationDataError, ParityGateError, UsageError
from edgec.events import Progress, StageFinished
from edgec.store import Store

EDGEC = [sys.executable, "-m", "edgec"]
STAGES = ["ingest", "simplify", "canonicalize", "peaks", "analyze", "support", "calibrate", "quantize", "lower"]
STAGES += ["validate", "pack", "measure"]


@pytest.fixture
def command(digits, tmp_path):
    """The command line that builds digits into tmp_path/dist."""
    return [
        *(*EDGEC, "build", str(digits.model), "--target", "host", "--calib", str(digits.calibration)),
        *("--preprocess", digits.recipe, "--backend", "openvino", "-o", str(tmp_path / "dist")),
    ]


def build(digits, output, **changes):
    arguments = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "openvino"}
    return edgec.build(digits.model, **{**arguments, "output": output, **changes})


def cached(result):
    return {stage.name: stage.cached for stage in result.builds[0].stages}


def test_one_command_makes_one_verified_artifact(command, tmp_path):
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    (built,) = document["builds"]
    artifact = tmp_path / "dist" / "digits_cnn-host.edgec"
    assert built["artifact"]["path"] == str(artifact)
    assert built["artifact"]["bytes"] == artifact.stat().st_size
    assert built["status"] == document["status"] == "ok"
    assert built["precision"] == "int8"
    assert built["int8_mac_fraction"] == 1.0
    assert built["parity"]["passed"]
    assert built["parity"]["runner"] == "native"
    assert built["latency_ms"]["p50"] > 0
    assert [stage["name"] for stage in built["stages"]] == STAGES
    assert document["model"]["macs"] > 0
    reports = {path.name for path in (tmp_path / "dist").iterdir()} - {artifact.name}
    assert reports == {f"digits_cnn-host.report.{suffix}" for suffix in ("html", "md", "json")}
    for verb in ("verify", "selftest"):
        done = subprocess.run([sys.executable, artifact, verb], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_the_second_build_is_answered_from_the_store(command, built_digits, warm_store):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    stages = json.loads(second.stdout)["builds"][0]["stages"]
    assert all(stage["cached"] for stage in stages)
    artifact = json.loads(second.stdout)["builds"][0]["artifact"]
    assert {key: artifact[key] for key in built_digits.artifact} == built_digits.artifact
    # CPU time, not wall time: on any machine this is an order of magnitude below the limit that is promised
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_the_same_build_gives_the_same_bytes(digits, built_digits, tmp_path, monkeypatch):
    """In another process, in another folder, with an empty store, in another order of hashes."""
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    (again,) = build(digits, tmp_path).builds
    assert not any(stage.cached for stage in again.stages)
    assert again.artifact.sha256 == built_digits.artifact["sha256"]


def test_a_changed_image_rebuilds_what_depends_on_it(digits, warm_store, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(digits.calibration, data)
    assert all(cached(build(digits, tmp_path / "dist", calibration=data)).values()), "the same images, wherever"
    image, other = sorted(path for path in data.rglob("*.png"))[:2]
    shutil.copy(other, image)
    again = cached(build(digits, tmp_path / "dist", calibration=data))
    assert again["ingest"]
    assert again["simplify"]
    assert not again["calibrate"]
    assert not again["quantize"]


def test_a_changed_parameter_rebuilds_what_depends_on_it(digits, warm_store, tmp_path):
    again = cached(build(digits, tmp_path / "dist", profile="strict"))
    assert [name for name in STAGES if again[name]] == STAGES[: STAGES.index("quantize")]
    renamed = cached(build(digits, tmp_path / "dist", name="other"))
    assert [name for name in STAGES if renamed[name]] == STAGES[:-2]


def test_a_damaged_result_is_noticed_and_made_anew(digits, built_digits, warm_store, tmp_path):
    (quantized,) = (entry for entry in Store(warm_store).entries() if entry.stage == "quantize")
    model = quantized.path / "qdq.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.chmod(0o644)
    model.write_bytes(content)
    again = build(digits, tmp_path / "dist")
    assert not cached(again)["quantize"]
    assert again.builds[0].artifact.sha256 == built_digits.artifact["sha256"]


def test_two_builds_at_once_do_not_hurt_each_other(command):
    def run(_):
        return subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(2)))
    assert [result.returncode for result in results] == [0, 0]
    artifacts = [json.loads(result.stdout)["builds"][0]["artifact"] for result in results]
    assert artifacts[0] == artifacts[1]


def start_until(command, stage):
    """Start a build; returns its process as soon as `stage` runs."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests that run behind a shell ignore it
    )
    for line in process.stderr:
        if line.startswith(stage):
            return process
    raise AssertionError(f"{stage} never ran")


def workers():
    """Process ids of all workers whose parent is this test's command or nobody."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"edgec.worker" in arguments:
            found.append((int(folder.name), int(arguments[arguments.index(b"edgec.worker") + 2])))
    return found


def wait_without_workers_of(parent):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(owner == parent for _, owner in workers()):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("stage", ["ingest", "quantize", "pack"])
def test_kill_9_at_any_stage_leaves_a_store_that_the_next_build_uses(command, digits, tmp_path, request, stage):
    if stage != "ingest":
        request.getfixturevalue("store_with_front")
    process = start_until(command, stage)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_without_workers_of(process.pid)
    assert not (tmp_path / "dist" / "digits_cnn-host.edgec").exists()
    after_kill = build(digits, tmp_path / "dist")
    assert after_kill.builds[0].status == "ok"
    done = STAGES[: STAGES.index(stage)]
    assert all(cached(after_kill)[name] for name in done)


def test_ctrl_c_ends_the_workers_too(command, tmp_path, store_with_front):
    process = start_until(command, "quantize")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert wait_without_workers_of(process.pid)
    assert list((tmp_path / "dist").iterdir()) == []


def in_namespace(script):
    """Run a shell script where it may mount file systems of its own."""
    return subprocess.run(
        ["unshare", "-rm", "sh", "-euc", script], capture_output=True, text=True, errors="replace", timeout=300
    )


needs_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to make mount namespaces (root, or unprivileged user namespaces)",
)


@needs_namespaces
def test_a_read_only_output_folder_is_told_before_any_work(command, tmp_path):
    (tmp_path / "dist").mkdir()
    result = in_namespace(f"mount -t tmpfs -o ro none {tmp_path}/dist; {' '.join(command)}")
    assert result.returncode == 73, result.stderr
    assert "can't be written" in result.stderr
    assert "ingest" not in result.stderr


@needs_namespaces
@pytest.mark.parametrize("kilobytes", [40, 120, 300])
def test_a_full_disk_is_told_and_loses_nothing(command, tmp_path, own_store, kilobytes):
    small = tmp_path / "small"
    small.mkdir()
    result = in_namespace(
        f"mount -t tmpfs -o size={kilobytes}k none {small}; EDGEC_CACHE_DIR={small} {' '.join(command)}"
    )
    assert result.returncode == 73, result.stderr
    assert "disk is full" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "dist" / "digits_cnn-host.edgec").exists()


@needs_namespaces
def test_a_disk_that_is_full_at_the_end_keeps_the_old_artifact(command, warm_store, tmp_path):
    dist = tmp_path / "dist"
    dist.mkdir()
    result = in_namespace(
        f"mount -t tmpfs -o size=44k none {dist}; echo old > {dist}/digits_cnn-host.edgec;"
        f"{' '.join(command)} || echo exit $?; cat {dist}/digits_cnn-host.edgec; ls -A {dist}"
    )
    assert "exit 73" in result.stdout
    assert "old" in result.stdout
    assert not re.search(r"^\.", result.stdout, re.MULTILINE), "a temporary file was left"


def test_a_failed_gate_ships_nothing_but_the_report(command, warm_store, tmp_path):
    result = subprocess.run([*command, "--gate", "sqnr=200"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 6, result.stderr
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {
        f"digits_cnn-host.report.{suffix}" for suffix in ("html", "md", "json")
    }
    report = json.loads((tmp_path / "dist" / "digits_cnn-host.report.json").read_text())
    assert len(report["build"]["error"]["details"]["worst_layers"]) == 5
    assert result.stderr.count(" dB") >= 5


def test_python_callers_get_the_error_and_the_result(digits, warm_store, tmp_path):
    with pytest.raises(ParityGateError) as caught:
        build(digits, tmp_path, gate={"sqnr": 200})
    assert caught.value.exit_code == 6
    assert caught.value.result.builds[0].report.is_file()


def test_samples_may_come_from_an_iterable(digits, tmp_path, store_with_front):
    images = np.random.default_rng(0).random((24, 1, 1, 8, 8), np.float32)
    read = []

    def samples():
        for image in images:
            read.append(1)
            yield image

    result = edgec.build(digits.model, calibration=samples(), backend="openvino", output=tmp_path, gate=NO_GATE)
    assert result.builds[0].artifact.path.is_file()
    assert len(read) == len(images), "an iterable is read once"
    again = edgec.build(
        digits.model,
        calibration=({"image": image} for image in images),
        backend="openvino",
        output=tmp_path,
        gate=NO_GATE,
    )
    assert all(cached(again).values()), "the same samples are the same samples, however they come"


NO_GATE = {
    "confident_flips": 1.0,
    "cosine_p01": -1.0,
    "channel_sqnr_p05": -200.0,
    "dead_channels": 1.0,
    "dead_classes": 1.0,
    "sqnr": -200.0,
}


def test_several_targets_share_the_stages_before_they_part(digits, warm_store, tmp_path):
    result = build(digits, tmp_path, targets=["host", "x86-64-v3"], jobs=2)
    assert [built.status for built in result.builds] == ["ok", "ok"]
    assert {path.name for path in tmp_path.glob("*.edgec")} == {"digits_cnn-host.edgec", "digits_cnn-x86-64-v3.edgec"}
    keys = [{stage.name: stage.key for stage in built.stages} for built in result.builds]
    assert keys[0]["calibrate"] == keys[1]["calibrate"]


def test_a_model_that_came_quantized_keeps_its_scales_and_needs_no_data(built_digits, warm_store, tmp_path):
    (quantized,) = (entry for entry in Store(warm_store).entries() if entry.stage == "quantize")
    result = edgec.build(quantized.path / "qdq.onnx", name="given", backend="openvino", output=tmp_path / "second")
    (built,) = result.builds
    assert built.precision == "int8"
    assert built.int8_mac_fraction == 1.0
    assert "calibrate" not in cached(result)
    assert abs(built.artifact.bytes - built_digits.artifact["bytes"]) < 5000, "weights are still INT8"


def test_an_operator_that_the_backend_lacks_is_refused_before_calibration(digits, tmp_path):
    model = onnx.load(digits.model)
    node = onnx.helper.make_node("Det", ["image"], ["determinant"], name="odd")
    model.graph.node.append(node)
    model.graph.output.append(onnx.helper.make_tensor_value_info("determinant", onnx.TensorProto.FLOAT, [1, 1]))
    onnx.save(model, tmp_path / "odd.onnx")
    done = subprocess.run(
        [*EDGEC, "build", tmp_path / "odd.onnx", "--calib", "random", "--backend", "openvino", "-o", tmp_path / "dist"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 4, done.stderr
    assert "odd" in done.stderr
    assert "Det" in done.stderr
    assert "calibrate" not in done.stderr


def test_listeners_hear_stages_and_progress(digits, tmp_path, store_with_front):
    heard = []
    build(digits, tmp_path, listener=heard.append)
    assert [event.stage for event in heard if isinstance(event, StageFinished)] == STAGES
    progress = [event for event in heard if isinstance(event, Progress) and event.stage == "calibrate"]
    assert progress[-1].done == progress[-1].total


def test_a_dry_run_shows_the_plan_and_writes_nothing(command, tmp_path):
    planned = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, text=True, timeout=120)
    stages = json.loads(planned.stdout)["stages"]
    assert [stage["name"] for stage in stages] == STAGES
    assert not any(stage["cached"] for stage in stages if stage["name"] != "ingest")
    assert not (tmp_path / "dist").exists()


def test_a_dry_run_knows_what_is_there(command, warm_store):
    planned = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, text=True, timeout=120)
    assert all(stage["cached"] for stage in json.loads(planned.stdout)["stages"])


def test_the_building_process_loads_no_native_library(digits, tmp_path):
    script = (
        "import sys, edgec\n"
        f"edgec.build({str(digits.model)!r}, calibration={str(digits.calibration)!r}, preprocess='digits',"
        f" backend='openvino', output={str(tmp_path)!r})\n"
        "print({'numpy', 'onnx', 'onnxruntime', 'openvino', 'onnxsim', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_project_file_describes_builds(digits, warm_store, tmp_path):
    root = os.path.relpath(digits.model.parent, tmp_path)
    (tmp_path / "edgec.toml").write_text(
        f'[[build]]\nmodel = "{root}/digits_cnn.onnx"\ncalibration = "{root}/calibration"\npreprocess = "digits"\n'
        'backend = "openvino"\n'
        f'[[build]]\nmodel = "{root}/digits_cnn.onnx"\nname = "digits_float"\nprecision = "float"\n'
        'backend = "openvino"\n'
    )
    done = subprocess.run([*EDGEC, "build"], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "dist").glob("*.edgec")} == {
        "digits_cnn-host.edgec",
        "digits_float-host.edgec",
    }


def test_int8_without_data_is_refused_with_the_flag_to_add(digits, tmp_path):
    with pytest.raises(UsageError, match="--calib"):
        edgec.build(digits.model, output=tmp_path)


def test_a_recipe_does_not_go_with_arrays(digits, tmp_path):
    with pytest.raises(UsageError, match="arrays"):
        edgec.build(digits.model, calibration=[np.zeros((1, 1, 8, 8))], preprocess="digits", output=tmp_path)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ([], "empty|no sample"),
        ([np.full((1, 1, 8, 8), np.nan, np.float32)] * 8, "NaN|finite"),
        ([np.ones((1, 1, 8, 8), np.float32)] * 8, "constant"),
        ([np.ones((1, 1, 9, 9), np.float32)] * 8, "shape|9"),
        ([np.ones((1, 1, 8, 8), np.complex64)] * 8, "dtype|complex"),
    ],
    ids=["none", "NaN", "constant", "wrong shape", "wrong dtype"],
)
def test_bad_calibration_data_ends_with_5(digits, tmp_path, samples, told, store_with_front):
    with pytest.raises(CalibrationDataError, match=re.compile(told, re.IGNORECASE)) as caught:
        edgec.build(digits.model, calibration=samples, output=tmp_path)
    assert caught.value.exit_code == 5
    assert caught.value.fix


def test_an_array_of_samples_is_an_iterable_too(digits, tmp_path, store_with_front):
    images = np.random.default_rng(0).random((24, 1, 8, 8), np.float32)
    assert (
        edgec.build(
            digits.model, targets="host", calibration=images, backend="openvino", output=tmp_path, gate=NO_GATE
        ).status
        == "ok"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "../escape"}, "slash"),
        ({"name": ".."}, "slash"),
        ({"targets": ["host", "host"]}, "twice"),
        ({"precision": "float", "profile": "strict"}, "--precision float"),
        ({"precision": "float", "keep_float": ["linear"]}, "--precision float"),
        ({"gate": {"sqrn": 3}}, "Did you mean 'sqnr'"),
        ({"force": ["gptk"]}, "Did you mean 'gptq'"),
        ({"forbid": ["bias"]}, "no recovery pass called 'bias'"),
        ({"force": ["gptq"], "forbid": ["gptq"]}, "both forced and forbidden"),
        ({"force": ["16-bit"]}, "8 bits only"),
        ({"force": ["normalizations-in-float"]}, "can't be had"),
        ({"keep_float": ["linera"]}, "linear"),
    ],
)
def test_what_can_not_be_meant_is_refused(digits, tmp_path, changes, told, store_with_front):
    with pytest.raises(UsageError, match=told):
        build(digits, tmp_path, **changes)
    assert not list(tmp_path.glob("*.edgec"))


def test_two_descriptions_of_one_name_are_refused(digits, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text('name = "board"\ntitle = ""\narch = "x86_64"\nbackends = ["openvino"]\n')
    with pytest.raises(UsageError, match="both called 'board'"):
        build(digits, tmp_path, targets=[str(tmp_path / "a.toml"), str(tmp_path / "b.toml")])
    assert not list(tmp_path.glob("*.edgec"))


def test_random_data_is_named_wherever_the_result_is(digits, tmp_path, store_with_front):
    result = build(digits, tmp_path, calibration="random", preprocess=None, gate=NO_GATE)
    document = result.builds[0].to_json()
    assert document["calibration"]["kind"] == "random"
    assert any("random" in note["text"] for note in document["notes"] if note["level"] == "warning")
    assert "random" in (tmp_path / "digits_cnn-host.report.md").read_text()


def test_a_store_may_be_given_by_a_relative_path(command, built_digits, tmp_path):
    built_digits.copy_front(tmp_path / "own" / "store")
    done = subprocess.run(
        [*command, "--json"], env={**os.environ, "EDGEC_CACHE_DIR": "own/store"}, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = json.loads(done.stdout)["builds"]
    assert {stage["name"] for stage in built["stages"] if stage["cached"]} == set(STAGES[: STAGES.index("support")])
    assert set(STAGES) == {entry.stage for entry in Store(tmp_path / "own" / "store").entries()}


@pytest.mark.parametrize("variable", ["EDGEC_CACHE_DIR", "-o"])
def test_a_folder_that_can_not_be_made_is_told_as_such(command, tmp_path, variable):
    place = "/proc/nothing/here"
    environment = {**os.environ, **({variable: place} if variable != "-o" else {})}
    extra = ["-o", place] if variable == "-o" else []
    done = subprocess.run([*command, *extra], env=environment, capture_output=True, text=True)
    assert done.returncode == 73, done.stderr
    assert place in done.stderr
    assert "Traceback" not in done.stderr


def test_any_path_can_be_told_in_any_locale(digits, tmp_path):
    folder = tmp_path / "dïr"
    folder.mkdir()
    shutil.copy(digits.model, folder / "mödel (v1).onnx")
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    arguments = [
        "build",
        str(folder / "mödel (v1).onnx"),
        "--precision",
        "float",
        "--backend",
        "openvino",
        "-o",
        str(folder),
    ]
    done = subprocess.run([*EDGEC, *arguments], env={**os.environ, **plain}, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (folder / "mödel (v1)-host.edgec").is_file()


def test_a_plan_ends_where_a_known_failure_ends_the_build(command, digits, tmp_path, store_with_front):
    with pytest.raises(ParityGateError):
        build(digits, tmp_path / "dist", gate={"sqnr": 200})
    done = subprocess.run(
        [*command, "--gate", "sqnr=200", "--dry-run", "--json"], capture_output=True, text=True, timeout=120
    )
    document = json.loads(done.stdout)
    assert [stage["name"] for stage in document["stages"]] == STAGES[: STAGES.index("quantize") + 1]
    assert document["targets"] == ["host"]


def test_ctrl_c_ends_builds_of_several_targets_too(command, tmp_path, store_with_front):
    process = start_until([*command, "--target", "x86-64-v3", "--jobs", "2"], "quantize")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert wait_without_workers_of(process.pid)
    made = {path.name for path in (tmp_path / "dist").iterdir()}
    for target in ("host", "x86-64-v3"):  # all of what belongs together, where one was quicker, or nothing
        files = {f"digits_cnn-{target}.{suffix}" for suffix in ("edgec", "report.html", "report.json", "report.md")}
        assert made & files in (set(), files)
        made -= files
    assert made == set()


def test_data_that_proves_nothing_is_told_as_such(digits, tmp_path, store_with_front):
    with pytest.raises(ParityGateError, match="Nothing could be proven") as caught:
        build(digits, tmp_path, max_samples=1)
    assert "at least 4" in caught.value.fix
    assert "--keep-float" not in caught.value.fix
