"""Pack: the artifact says what went in, and is not shipped unless it proves itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import zipfile

import numpy as np
import pytest

from edgec.errors import DeviceError, InternalError, WorkerCrashed
from edgec.events import Note
from edgec.runners.execution import Execution
from edgec.runtime.bundle import Bundle
from edgec.runtime.golden import read_golden, write_golden
from edgec.stage import StageContext
from edgec.stages import pack
from tests.bundle.artifacts import RECIPE, cnn, lstm  # noqa: F401 (fixtures)
from tests.runners.fake_machine import FakeMachine


@pytest.fixture
def again(cnn, tmp_path):  # noqa: F811
    """A function that packs the CNN again with changed parameters or evidence; returns the bundle and what was said."""

    def run(*, parity=None, golden=None, **changes):
        validated = tmp_path / "validated"
        shutil.copytree(cnn.validated, validated)
        if parity is not None:
            (validated / "parity.json").write_text(json.dumps(parity))
        if golden is not None:
            write_golden(validated / "golden.npz", *golden)
        notes: list[Note] = []
        out = tmp_path / "out"
        out.mkdir()
        params = dataclasses.replace(cnn.params, **changes)
        pack.run(cnn.ingested, cnn.lowered, validated, params, StageContext("pack", out, notes.append))
        (path,) = out.iterdir()
        return Bundle.open(path), notes

    return run


def test_the_manifest_says_what_a_device_has_to_know(cnn):  # noqa: F811
    manifest = Bundle.open(cnn.path).manifest
    assert (manifest["name"], manifest["target"], manifest["precision"]) == ("net", "host", "int8")
    assert manifest["preprocess"] == RECIPE
    assert manifest["engine"]["options"]["inference_precision"] == "f32"
    assert manifest["cpu_features"] == sorted(cnn.params.target.features)
    assert manifest["payload"] == ["payload/model.xml", "payload/model.bin"]
    assert manifest["tools"].keys() >= {"edgec", "numpy", "openvino"}


def test_the_state_of_a_recurrent_model_is_in_the_manifest(lstm):  # noqa: F811
    assert Bundle.open(lstm.path).manifest["state"] == {"h_next": "h", "c_next": "c"}


def test_provenance_holds_digests_and_neither_time_nor_place(cnn):  # noqa: F811
    bundle = Bundle.open(cnn.path)
    text = bundle.read("provenance.json").decode()
    provenance = json.loads(text)
    definition = provenance["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {"name": "model", "digest": {"sha256": "0" * 64}},
        {"name": "calibration", "digest": {"sha256": "1" * 64}},
    ]
    assert definition["externalParameters"] == {"name": "net", "target": "host"}
    assert definition["internalParameters"]["execution"]["label"] == "native"
    subjects = {item["name"]: item["digest"]["sha256"] for item in provenance["subject"]}
    assert subjects.keys() >= {*bundle.manifest["payload"], "parity.json", "golden.npz", "bom.cdx.json"}
    for name, digest in subjects.items():
        assert digest == hashlib.sha256(bundle.read(name)).hexdigest()
    assert str(cnn.path.parent) not in text


@pytest.mark.parametrize("what", ["cnn", "lstm"])
def test_provenance_is_an_in_toto_statement(what, request):
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    document = json.loads(Bundle.open(request.getfixturevalue(what).path).read("provenance.json"))
    parsed = json_format.ParseDict(document, statement_pb2.Statement())  # refuses fields that the format does not have
    Statement.copy_from_pb(parsed).validate()
    predicate = json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    assert predicate.run_details.builder.version["edgec"]


@pytest.mark.parametrize("what", ["cnn", "lstm"])
def test_the_bill_of_materials_is_cyclonedx(what, request):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = Bundle.open(request.getfixturevalue(what).path).read("bom.cdx.json").decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_bill_of_materials_tells_what_is_in_the_artifact(cnn):  # noqa: F811
    bundle = Bundle.open(cnn.path)
    bill = json.loads(bundle.read("bom.cdx.json"))
    components = {component["bom-ref"]: component for component in bill["components"]}
    assert components["model"]["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    engine = bundle.manifest["engine"]
    assert components["engine"]["purl"] == f"pkg:pypi/openvino@{engine['minimum_version']}"
    for name in bundle.manifest["payload"]:
        assert components[name]["hashes"][0]["content"] == bundle.manifest["files"][name]["sha256"]
    card = bill["metadata"]["component"]["modelCard"]
    assert card["modelParameters"]["inputs"] == [{"format": "image: float32[1x3x16x16]"}]
    assert card["modelParameters"]["datasets"] == [{"ref": "calibration"}]
    assert "timestamp" not in bill["metadata"]


def test_the_memory_that_a_model_needs_is_its_weights_and_activations(again, cnn):  # noqa: F811
    facts = json.loads((cnn.lowered / "lower.json").read_text())["facts"]
    assert again()[0].manifest["memory_bytes"] == facts["weight_bytes"] + 1000


def test_the_memory_that_a_float_model_needs_is_that_of_float_activations(again, cnn):  # noqa: F811
    facts = json.loads((cnn.lowered / "lower.json").read_text())["facts"]
    assert again(precision="float")[0].manifest["memory_bytes"] == facts["weight_bytes"] + 4000


def test_the_memory_of_machine_code_is_its_library_and_its_arena(cnn):  # noqa: F811
    facts = {"library_bytes": 5000, "arena_bytes": 700, "constant_bytes": 4000}
    assert pack._memory(cnn.params, facts) == 5700


def test_memory_that_nobody_knows_is_null(again):
    assert again(activation_bytes=None)[0].manifest["memory_bytes"] is None


def test_no_member_tells_where_it_was_built(cnn):  # noqa: F811
    root = str(cnn.path.parents[1]).encode()
    with zipfile.ZipFile(cnn.path) as archive:
        assert not [name for name in archive.namelist() if root in archive.read(name)]


def test_the_file_is_called_after_model_and_target(again):
    bundle, _ = again(name="digits")
    assert bundle.path.name == "digits-host.edgec"


def test_a_device_may_be_as_far_from_the_build_as_the_build_was_from_the_reference(again):
    parity = {"lowering": {"outputs": [{"name": "scores", "max_abs": 0.75}]}, "golden": {"outputs_of": "payload"}}
    bundle, _ = again(parity=parity)
    assert bundle.manifest["selftest"]["tolerances"] == {"scores": 0.75}


def test_a_tolerance_is_never_less_than_two_steps(again):
    parity = {"lowering": {"outputs": [{"name": "scores", "max_abs": 0.0}]}, "golden": {"outputs_of": "payload"}}
    bundle, _ = again(parity=parity)
    assert bundle.manifest["selftest"]["tolerances"] == {"scores": 2 / 32}


def test_without_an_execution_the_quantization_error_is_the_measure(again):
    parity = {
        "lowering": {"outputs": []},
        "quantization": {"outputs": [{"name": "scores", "max_abs": 0.5}]},
        "golden": {"outputs_of": "reference"},
    }
    bundle, _ = again(parity=parity)
    assert bundle.manifest["selftest"]["tolerances"] == {"scores": 0.5}


def test_an_artifact_that_fails_its_own_test_is_not_shipped(again, cnn):  # noqa: F811
    known = read_golden(cnn.validated / "golden.npz")
    wrong = [
        [(feeds, {name: array + np.float32(5) for name, array in outputs.items()}) for feeds, outputs in sample]
        for sample in known.samples
    ]
    with pytest.raises(InternalError) as caught:
        again(golden=(wrong, known.steps))
    assert "selftest" in caught.value.what
    assert "LSB" in caught.value.why


def test_an_artifact_for_another_machine_is_packed_and_the_build_says_that_it_did_not_run(again, cnn):  # noqa: F811
    other = dataclasses.replace(cnn.params.target, name="elsewhere", arch="aarch64", features=("asimddp",))
    nowhere = Execution("none", "none", reason="the target is aarch64, and this machine is x86_64")
    bundle, notes = again(target=other, execution=nowhere)
    assert bundle.manifest["arch"] == "aarch64"
    assert [note.level for note in notes] == ["warning"]
    assert notes[0].text == "The artifact did not test itself: the target is aarch64, and this machine is x86_64."


# --- on an emulated device, for which this machine's own Python stands in ---


@pytest.fixture
def on_device(again, monkeypatch):
    """Pack for an emulated device; `instead` is a program that runs there in place of Python with the artifact."""

    def run(instead=None):
        machine = FakeMachine()
        if instead is not None:
            machine = Instead(program=instead)
        monkeypatch.setattr(pack, "machine_of", lambda target, execution: machine)
        return again(execution=Execution("qemu", machine.label, machine.qemu.version, machine.root.digest))

    return run


class Instead(FakeMachine):
    def python(self, arguments, path=()):
        return [sys.executable, "-c", self.program, *arguments], {}


def test_the_very_file_tests_itself_on_the_emulated_device(on_device, tmp_path):
    seen = tmp_path / "seen"
    bundle, notes = on_device(f"import sys; open({str(seen)!r}, 'w').write(repr(sys.argv[1:]))")
    assert seen.read_text() == repr([str(bundle.path), "selftest", "--threads", "1"])
    assert notes == []


def test_the_device_is_part_of_the_provenance_and_no_path_is(on_device, tmp_path):
    bundle, _ = on_device()
    definition = json.loads(bundle.read("provenance.json"))["predicate"]["buildDefinition"]
    parameters = definition["internalParameters"]
    assert parameters["execution"]["label"] == "qemu-aarch64:cortex-a72"
    assert parameters["execution"]["version"] == "1.2.3"
    assert str(tmp_path) not in json.dumps(parameters)


@pytest.mark.parametrize(
    ("program", "error", "said"),
    [
        ("import sys; sys.exit(6)", InternalError, "failed its own `selftest` with exit code 6 on the emulated device"),
        ("import sys; sys.exit(10)", DeviceError, "refuses to run on the emulated device (qemu-aarch64:cortex-a72)"),
        ("import os; os.kill(os.getpid(), 4)", DeviceError, "an instruction that cortex-a72 lacks"),
        ("import os; os.kill(os.getpid(), 11)", WorkerCrashed, "died with SIGSEGV"),
    ],
)
def test_a_device_on_which_the_artifact_fails_stops_it(on_device, program, error, said):
    with pytest.raises(error) as caught:
        on_device(program)
    assert said in caught.value.what
