"""Calibrate: run the float model over the user's data once, and keep what quantization needs to know of it.

Leaves statistics.npz (edgec.quantization.statistics), inputs.json (what the data looks like and what is suspicious
about it) and, where an input is an image, contact_sheet.png (what the model really gets to see).
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgec.samples import SampleSource, feeds_of_steps, held_out
from edgec.stage import Stage, StageContext

_PROGRESS_EVERY = 0.1  # seconds

_EXAMINED = 64
"""Samples that the diagnosis of the inputs sees; on each it takes half the time of a small model."""


@dataclass(frozen=True)
class CalibrateParams:
    """state: (output, input) pairs of a recurrent model."""

    state: tuple[tuple[str, str], ...] = ()


def run(simplified: Path, samples: SampleSource, params: CalibrateParams, context: StageContext) -> None:
    """Calibrate `simplified`/model.onnx on the samples that `held_out` leaves for it.

    Raises CalibrationDataError when there are no samples, when all of them hold one constant value, and when an input
    or an activation is not finite.
    """
    from edgec.calibration_data.contact_sheet import ContactSheet
    from edgec.calibration_data.diagnosis import InputDiagnosis
    from edgec.calibration_data.model_hints import pixel_ranges
    from edgec.contract import Contract
    from edgec.quantization import statistics
    from edgec.quantization.collector import Collector

    contract = Contract.from_json(json.loads((simplified / "contract.json").read_text(encoding="utf-8")))
    recipe = getattr(samples, "recipe_json", None)
    ranges = pixel_ranges(simplified / "model.onnx")
    synthetic = getattr(samples, "synthetic", False)
    diagnosis = InputDiagnosis(contract, recipe, pixel_ranges=ranges, synthetic=synthetic)
    sheet = ContactSheet(contract, recipe)
    indices, spare = held_out(len(samples))
    if indices and indices == spare:
        context.warn(f"With {len(indices)} samples, calibration and judgement share the same data: give at least 4.")
    collector = Collector(simplified / "model.onnx", runs=len(indices))
    state = dict(params.state)
    # Means come from the first runs only, and data is often sorted by class: read it out of order, the same every time.
    order = random.Random(0).sample(indices, len(indices))
    told = 0.0
    for done, sample in enumerate(samples.read(order), 1):
        for _ in feeds_of_steps(sample, contract, state, partial(collector.run, sample=sample.name)):
            pass  # the collector has seen the step
        if done <= _EXAMINED:
            for step in sample.steps:
                diagnosis.add(step)
                sheet.add(step)
        if done == len(indices) or time.monotonic() - told > _PROGRESS_EVERY:
            told = time.monotonic()
            context.progress(done, len(indices), "samples")
    statistics.save(context.out / "statistics.npz", collector.finish())
    report = {**diagnosis.finish(), "calibration_samples": len(indices)}
    context.write_json("inputs.json", report)
    for warning in report["warnings"]:
        context.warn(warning)
    image = sheet.png()
    if image is not None:
        (context.out / "contact_sheet.png").write_bytes(image)


STAGE = Stage("calibrate", ("onnxruntime", "numpy", "pillow"), run)
