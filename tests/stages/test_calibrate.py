"""The calibrate stage: what it leaves, whom it refuses, and that its memory does not grow with the data."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgec.calibration_data.sources import random_source
from edgec.contract import Contract, TensorSpec
from edgec.errors import CalibrationDataError
from edgec.events import Note, Progress
from edgec.quantization.statistics import load
from edgec.samples import Sample, held_out
from edgec.stage import StageContext
from edgec.stages import calibrate
from tests.quantization.small_graphs import Builder, conv_net

_IMAGE = Contract((TensorSpec("image", "float32", (1, 3, 24, 24)),), (TensorSpec("logits", "float32", (1, 5)),))


@dataclass
class Memory:
    """A SampleSource of arrays; remembers what was read."""

    samples: list[Sample]
    read_names: tuple[str, ...] = ()
    digest: str = "0" * 64

    def __len__(self):
        return len(self.samples)

    def read(self, indices=None):
        for i in range(len(self)) if indices is None else indices:
            self.read_names += (self.samples[i].name,)
            yield self.samples[i]


def images(count, shape=(1, 3, 24, 24)):
    random = np.random.default_rng(0)
    return Memory(
        [Sample(f"photo {i}.png", ({"image": random.normal(size=shape).astype(np.float32)},)) for i in range(count)]
    )


def calibrated(folder: Path, model, contract, samples, state=()):
    """Run the stage; returns its folder and the events."""
    simplified, out = folder / "simplified", folder / "out"
    simplified.mkdir()
    out.mkdir()
    onnx.save(model, simplified / "model.onnx")
    (simplified / "contract.json").write_text(json.dumps(contract.to_json()))
    events = []
    context = StageContext("calibrate", out, events.append)
    calibrate.run(simplified, samples, calibrate.CalibrateParams(state), context)
    return out, events


def test_one_pass_over_what_is_not_held_out_leaves_statistics_diagnosis_and_contact_sheet(tmp_path):
    samples = images(12)
    out, events = calibrated(tmp_path, conv_net(), _IMAGE, samples)
    kept = [f"photo {i}.png" for i in held_out(12)[0]]
    assert sorted(samples.read_names) == sorted(kept)
    found = load(out / "statistics.npz")
    assert {item.steps for item in found.values()} == {len(kept)}
    inputs = json.loads((out / "inputs.json").read_text())
    assert inputs["calibration_samples"] == len(kept)
    assert inputs["inputs"][0]["name"] == "image"
    assert (out / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (len(kept), len(kept))
    assert sorted(event.done for event in progress) == [event.done for event in progress]


def test_warnings_of_the_diagnosis_are_events_too(tmp_path):
    out, events = calibrated(tmp_path, conv_net(), _IMAGE, images(5))
    warnings = [event.text for event in events if isinstance(event, Note) and event.level == "warning"]
    assert warnings == json.loads((out / "inputs.json").read_text())["warnings"]
    assert warnings  # five samples are few


def test_random_numbers_are_not_called_too_few(tmp_path):
    _, events = calibrated(tmp_path, conv_net(), _IMAGE, random_source(_IMAGE, 5, seed=0))
    assert not [event.text for event in events if isinstance(event, Note) and "samples to calibrate on" in event.text]


def test_too_few_samples_to_hold_any_out_is_said(tmp_path):
    _, events = calibrated(tmp_path, conv_net(), _IMAGE, images(3))
    assert any("share the same data" in event.text for event in events if isinstance(event, Note))


def test_the_same_data_gives_the_same_bytes(tmp_path):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        out, _ = calibrated(tmp_path / name, conv_net(), _IMAGE, images(9))
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]


def test_no_samples_are_refused(tmp_path):
    with pytest.raises(CalibrationDataError, match="no calibration data"):
        calibrated(tmp_path, conv_net(), _IMAGE, Memory([]))


def test_a_sample_that_is_not_finite_is_named(tmp_path):
    samples = images(6)
    samples.samples[4].steps[0]["image"][0, 0, 0, 0] = np.nan
    with pytest.raises(CalibrationDataError, match=r"photo 4\.png"):
        calibrated(tmp_path, conv_net(), _IMAGE, samples)


def test_a_recurrent_model_is_calibrated_along_its_sequences(tmp_path):
    """state' = state + x: the largest state is the sum over a sequence, which no single step would show."""
    make = Builder()
    make.node("Add", ["state", "x"], "next")
    make.node("Tanh", ["next"], "y")
    spec = ("float32", (1, 4))
    model = make.model({"x": spec, "state": spec}, {"y": spec, "next": spec})
    contract = Contract(
        (TensorSpec("x", *spec), TensorSpec("state", *spec)), (TensorSpec("y", *spec), TensorSpec("next", *spec))
    )
    steps = tuple({"x": np.array([[1, 2, 3, -1]], np.float32)} for _ in range(10))
    samples = Memory([Sample(f"sequence {i}", steps[: 10 - i]) for i in range(3)])
    out, _ = calibrated(tmp_path, model, contract, samples, state=(("next", "state"),))
    found = load(out / "statistics.npz")
    assert (found["next"].minimum, found["next"].maximum) == (-10.0, 30.0)
    assert (found["state"].minimum, found["state"].maximum) == (-9.0, 27.0)
    assert found["next"].steps == 10 + 9 + 8
    assert not (out / "contact_sheet.png").exists()


def test_an_lstm_is_observed_at_its_outputs(tmp_path):
    random = np.random.default_rng(0)
    make = Builder()
    for name, shape in (("W", (1, 12, 4)), ("R", (1, 12, 3))):
        make.weight(name, random.normal(size=shape).astype(np.float32))
    make.nodes.append(helper.make_node("LSTM", ["x", "W", "R"], ["y"], "lstm", hidden_size=3))
    model = make.model({"x": ("float32", (5, 1, 4))}, {"y": ("float32", (5, 1, 1, 3))})
    contract = Contract((TensorSpec("x", "float32", (5, 1, 4)),), (TensorSpec("y", "float32", (5, 1, 1, 3)),))
    samples = Memory([Sample(str(i), ({"x": random.normal(size=(5, 1, 4)).astype(np.float32)},)) for i in range(4)])
    out, _ = calibrated(tmp_path, model, contract, samples)
    found = load(out / "statistics.npz")
    assert -1 < found["y"].minimum < 0 < found["y"].maximum < 1


_MEASURED = """
import resource, sys
import numpy as np
from pathlib import Path
from edgec.quantization.collector import Collector
count = int(sys.argv[2])
collector = Collector(Path(sys.argv[1]), count)
random = np.random.default_rng(0)
for i in range(count):
    collector.run({"image": random.normal(size=(1, 3, 96, 96)).astype(np.float32)}, str(i))
assert len(collector.finish()) > 5
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    """The activations of this model take 3 MiB a sample: 224 more samples would be 670 MiB."""
    onnx.save(conv_net(size=96, channels=48), tmp_path / "model.onnx")
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", _MEASURED, str(tmp_path / "model.onnx"), str(count)]))
        for count in (32, 256)
    ]
    assert peaks[1] <= 1.1 * peaks[0]
