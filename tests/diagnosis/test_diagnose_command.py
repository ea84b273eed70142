"""`edgec diagnose` from outside: on a model, on its artifact, and on what is neither."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest

import edgec
from edgec.errors import ArtifactError, CalibrationDataError, UsageError
from edgec.events import Progress
from tests.diagnosis import planted

EDGEC = [sys.executable, "-m", "edgec"]
UNRECOVERED = (
    *("normalizations-in-float", "range-method", "useful-range", "bias-correction", "gptq", "rescale"),
    *("tensor-ranges", "16-bit", "float-layers"),
)


def run(*arguments, cwd=None):
    return subprocess.run([*EDGEC, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=cwd)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-store")


@pytest.fixture(autouse=True)
def own_store(store, monkeypatch):
    """Tests here look at the same few builds."""
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(store))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """(model, data): one planted outlier channel."""
    folder = tmp_path_factory.mktemp("faulty")
    onnx.save(planted.outlier_channel(), folder / "model.onnx")
    pictures = np.concatenate([feeds["image"] for feeds in planted.images(24)])
    np.save(folder / "data.npy", pictures)
    return folder / "model.onnx", folder / "data.npy"


def flags(data):
    return [
        *("--calib", str(data), "--profile", "strict"),
        *(word for name in UNRECOVERED for word in ("--forbid", name)),
    ]


def test_the_table_says_where_and_why_and_what_helps(faulty, tmp_path):
    model, data = faulty
    done = run("diagnose", model, *flags(data), "-o", tmp_path / "out", "-q", "--graph")
    assert done.returncode == 0, done.stderr
    assert "outlier channel at middle" in done.stdout
    graph = tmp_path / "out" / "DIAGNOSIS.graph"
    assert str(graph) in done.stdout
    assert {"model.onnx", "error.json", "accumulated.json", "isolated.json"} <= {file.name for file in graph.iterdir()}
    nodes = onnx.load(graph / "model.onnx", load_external_data=False).graph.node
    (middle,) = (node for node in nodes if node.name == "middle")
    assert any(entry.key == "edgec: cause" and "outlier" in entry.value for entry in middle.metadata_props)
    assert "--force rescale" in done.stdout
    assert "fails the gate; the loss is in quantization" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith("try it")]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("DIAGNOSIS.html", "DIAGNOSIS.json", "model-smallest.onnx", "model-smallest-inputs.npz", "model-smallest.py"),
        "DIAGNOSIS.graph",
    }
    typed = line.split("try it")[1].replace("python3", sys.executable)
    shown = subprocess.run(["sh", "-c", typed], capture_output=True, text=True, timeout=60)
    assert "dB" in shown.stdout


def test_the_json_holds_all_of_it(faulty, tmp_path):
    model, data = faulty
    done = run("diagnose", model, *flags(data), "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out" / "DIAGNOSIS.json").read_text())
    found = document["diagnosis"]
    assert [(cause["cause"], cause["node"]) for cause in found["causes"]] == [("outlier-channel", "middle")]
    assert found["first"]["node"] == "middle"
    assert [layer["node"] for layer in found["layers"]] == ["stem", "middle", "scores"]
    assert found["loss"]["where"] == "quantization"


def test_all_layers_in_order(faulty, tmp_path):
    model, data = faulty
    done = run("diagnose", model, *flags(data), "-o", tmp_path / "out", "-q", "--all")
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert rows == [["1", "stem"], ["2", "middle"], ["3", "scores"]]


def test_a_refused_build_names_the_command(faulty, tmp_path):
    model, data = faulty
    done = run("build", model, *flags(data), "--backend", "openvino", "-o", tmp_path / "dist", "-q")
    assert done.returncode == 6
    assert f"edgec diagnose {model} --target host --calib {data} --profile strict" in done.stderr


@pytest.fixture(scope="module")
def built(digits, tmp_path_factory, store):
    """An artifact of the digits example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEC_CACHE_DIR", str(store))
        result = edgec.build(
            digits.model,
            calibration=digits.calibration,
            preprocess=digits.recipe,
            backend="openvino",
            output=tmp_path_factory.mktemp("dist"),
        )
    return result.builds[0].artifact.path


def test_an_artifact_that_holds_is_healthy(digits, built, tmp_path):
    found = edgec.diagnose(built, original=digits.model, calibration=digits.calibration, output=tmp_path / "out")
    assert found.document["healthy"]
    assert found.causes == []
    assert found.document["artifact"]["same_reference"]
    assert found.document["loss"]["total_db"] > 20
    assert (
        found.document["loss"]["samples"] == 32 > found.document["samples"]
    )  # all that is held out, as the build does
    assert (tmp_path / "out" / "DIAGNOSIS.html").is_file()


def test_other_data_makes_another_reference_and_it_is_said(digits, built, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(digits.calibration, data)
    for path in sorted(data.rglob("*.png"))[::3]:
        path.unlink()
    found = edgec.diagnose(built, original=digits.model, calibration=data, output=tmp_path / "out")
    assert not found.document["artifact"]["same_reference"]
    assert "made again" in found.document["artifact"]["note"]


def test_an_artifact_of_other_data_is_not_laid_on_the_engine(digits, tmp_path):
    dark, bright = tmp_path / "dark.npy", tmp_path / "bright.npy"
    pictures = np.load(digits.model.parent / "test.npz")["images"][:64]
    np.save(bright, pictures)
    np.save(dark, pictures // 16)
    built = edgec.build(
        digits.model, calibration=dark, preprocess=digits.recipe, backend="openvino", output=tmp_path / "dist"
    ).builds[0]
    found = edgec.diagnose(
        built.artifact.path, original=digits.model, calibration=bright, output=tmp_path / "out"
    ).document
    assert [cause["cause"] for cause in found["causes"]] == ["other-build"]
    assert found["loss"]["where"] == "artifact"
    assert found["loss"]["lowering_db"] is None
    assert not found["passed"]
    assert found["failures"]


def test_a_model_that_came_quantized_is_not_sent_to_flags_it_can_not_take(faulty, tmp_path):
    twin, _ = planted.quantized(planted.outlier_channel(), planted.images())
    onnx.save(twin, tmp_path / "quantized.onnx")
    found = edgec.diagnose(tmp_path / "quantized.onnx", calibration=faulty[1], output=tmp_path / "out")
    remedies = [cause["remedy"] for cause in found.causes if "--" in cause["remedy"]]
    assert remedies
    assert all("the tool that made it, or build its float model" in text for text in remedies)


def test_a_model_with_other_weights_is_named(digits, built, tmp_path):
    other = onnx.load(digits.model)
    weights = next(item for item in other.graph.initializer if len(item.dims) > 1)
    planted.scale(weights, np.s_[:], 1.5)
    onnx.save(other, tmp_path / "other.onnx")
    found = edgec.diagnose(
        built, original=tmp_path / "other.onnx", calibration=digits.calibration, output=tmp_path / "out"
    )
    assert found.causes[0]["cause"] == "other-model"
    assert found.causes[0]["evidence"]["artifact_model_sha256"] != found.causes[0]["evidence"]["model_sha256"]


def test_another_recipe_is_named(digits, built, tmp_path):
    recipe = tmp_path / "mine.toml"
    text = (digits.model.parents[2] / "calibration" / f"{digits.recipe}.toml").read_text()
    recipe.write_text(text.replace("scale = 0.0039", "scale = 0.0078"))
    found = edgec.diagnose(
        built, original=digits.model, calibration=digits.calibration, preprocess=recipe, output=tmp_path / "out"
    )
    assert found.causes[0]["cause"] == "other-preprocessing"
    assert "normalize" in found.causes[0]["sentence"]


def test_an_artifact_of_another_model(faulty, built, tmp_path):
    model, data = faulty
    with pytest.raises(UsageError, match="not built from this model"):
        edgec.diagnose(built, original=model, calibration=data, output=tmp_path / "out")


def test_an_artifact_without_its_model(built, tmp_path):
    done = run("diagnose", built, "--calib", "random", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "--model" in done.stderr


def test_a_damaged_artifact(digits, built, tmp_path):
    content = bytearray(built.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.edgec"
    damaged.write_bytes(content)
    with pytest.raises(ArtifactError):
        edgec.diagnose(damaged, original=digits.model, calibration=digits.calibration, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_data(digits, tmp_path):
    done = run("diagnose", digits.model, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "--calib" in done.stderr
    with pytest.raises(CalibrationDataError):
        edgec.diagnose(digits.model, calibration=tmp_path / "nothing", output=tmp_path / "out")


def test_data_that_proves_nothing(faulty, tmp_path):
    """One and the same picture over and over."""
    model, _ = faulty
    picture = planted.images(1)[0]["image"]
    np.save(tmp_path / "same.npy", np.concatenate([picture] * 12))
    found = edgec.diagnose(model, calibration=tmp_path / "same.npy", profile="strict", output=tmp_path / "out")
    assert not found.document["healthy"]


def test_evaluation_data_of_another_domain(digits, faulty, tmp_path):
    model, data = faulty
    np.save(tmp_path / "raw.npy", 100 * np.load(data) + 128)
    found = edgec.diagnose(
        model, calibration=data, evaluation=tmp_path / "raw.npy", profile="strict", output=tmp_path / "out"
    )
    assert found.causes[0]["cause"] == "data-mismatch"


def test_the_parent_process_stays_light(faulty, tmp_path):
    model, data = faulty
    script = (
        "import sys; import edgec\n"
        f"edgec.diagnose({str(model)!r}, calibration={str(data)!r}, profile='strict', output={str(tmp_path)!r})\n"
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("precision", ["float", "fp16"])
def test_a_build_without_int8_is_compared_tensor_by_tensor_in_the_engine(digits, precision, tmp_path):
    found = edgec.diagnose(
        digits.model,
        calibration=digits.calibration,
        preprocess=digits.recipe,
        precision=precision,
        output=tmp_path / "out",
    )
    lowering = found.document["lowering"]
    assert {"stem.conv", "logits"} <= {row["name"] for row in lowering["tensors"]}
    assert min(row["sqnr_db"] for row in lowering["tensors"]) > 50
    assert lowering["first"] is None
    assert found.document["layers"] == []


def test_it_tells_how_far_it_is_to_the_end(digits, tmp_path):
    heard = []
    data = {"calibration": digits.calibration, "preprocess": digits.recipe, "max_samples": 20}
    edgec.diagnose(digits.model, **data, precision="float", output=tmp_path, listener=heard.append)
    last = {event.detail: event for event in heard if isinstance(event, Progress) and event.stage == "diagnose"}
    assert last["comparing the outputs"].done == last["comparing the outputs"].total == 10
    assert last["comparing inside the engine"].total > 0
