"""The quantizers that `quantizers.py` compares, each as a function that writes one ONNX file.

Run as `quantizer_peers.py NAME FOLDER SECONDS` in a process of its own, by an interpreter that has the quantizer; only
edgec's own function imports edgec. FOLDER holds model.onnx (float, simplified, all shapes known), feeds/ with one .npz
file a sample, and build.json for edgec. The last line that is printed says what was done.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
MEMORY = 8 * 2**30
"""Bytes of address space that a quantizer may have."""


def feeds(folder: Path) -> Iterator[Feeds]:
    """The calibration samples, in order."""
    for path in sorted((folder / "feeds").glob("*.npz")):
        with np.load(path) as stored:
            yield dict(stored)


def run_edgec(folder: Path, target: Path) -> str:
    import edgec
    from edgec.errors import ParityGateError
    from edgec.store import Store

    options = json.loads((folder / "build.json").read_text())
    store = folder / "store"  # EDGEC_CACHE_DIR of this process
    try:
        result = edgec.build(folder / "model.onnx", output=folder / "dist", **options)
    except ParityGateError as refusal:
        result = refusal.result
    (built,) = result.builds
    (stage,) = (stage for stage in built.stages if stage.name == "quantize")
    quantized = Store(store).root / "entries" / stage.key
    shutil.copyfile(quantized / "qdq.onnx", target)
    report = json.loads((quantized / "quantize.json").read_text())
    refused = "" if built.error is None else f", but its own gate refuses it: {built.error.what}"
    return f"{report['profile']}, {report['method']}{refused}"


def run_onnxruntime(folder: Path, target: Path, method: str) -> str:
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = feeds(folder)

        def get_next(self) -> Feeds | None:
            return next(self.feeds, None)

    def run(**extra_options: bool) -> None:
        quantize_static(
            str(folder / "model.onnx"),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
            extra_options=extra_options,
        )

    note = f"{onnxruntime.__version__}, QDQ, per channel"
    try:
        run()
    except ValueError as error:  # version 1.31 trips over some biases of layers that it quantizes per tensor
        if "truth value of an array" not in str(error):
            raise
        run(QDQDisableWeightAdjustForInt32Bias=True)
        note += ", QDQDisableWeightAdjustForInt32Bias (fails without)"
    return note


def run_nncf(folder: Path, target: Path, **options: Any) -> str:
    import nncf
    import onnx

    if options.pop("smooth", False):
        alphas = nncf.AdvancedSmoothQuantParameters(convolution=0.5, matmul=0.5)
        options["advanced_parameters"] = nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas)
        options["model_type"] = nncf.ModelType.TRANSFORMER  # what switches SmoothQuant on
        options["preset"] = nncf.QuantizationPreset.MIXED
    data = list(feeds(folder))
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save(nncf.quantize(model, nncf.Dataset(data), subset_size=len(data), **options), str(target))
    return str(nncf.__version__)


def run_onnxsim(folder: Path, target: Path, correct: bool = False, **options: Any) -> str:
    import onnx
    import onnxsim

    data = list(feeds(folder))
    quantized = onnxsim.quantize_static(str(folder / "model.onnx"), calibration_data=data, **options)
    if correct:
        quantized = onnxsim.correct_bias(str(folder / "model.onnx"), quantized, calibration_data=data)
    onnx.save(quantized, str(target))
    return f"{onnxsim.__version__.removeprefix('v')}, quantize_static"


QUANTIZERS: dict[str, Callable[[Path, Path], str]] = {
    "edgec": run_edgec,
    "onnxruntime MinMax": partial(run_onnxruntime, method="MinMax"),
    "onnxruntime Entropy": partial(run_onnxruntime, method="Entropy"),
    "onnxruntime Percentile": partial(run_onnxruntime, method="Percentile"),
    "NNCF": run_nncf,
    "NNCF bias correction": partial(run_nncf, fast_bias_correction=False),
    "NNCF SmoothQuant": partial(run_nncf, smooth=True),
    "onnxsim minmax": run_onnxsim,
    "onnxsim minmax, bias correction": partial(run_onnxsim, correct=True),
    "onnxsim auto": partial(run_onnxsim, method="auto"),
    "onnxsim full graph": partial(run_onnxsim, full_graph=True),
}


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    try:
        note = QUANTIZERS[name](folder, folder / "quantized.onnx")
    except MemoryError:
        sys.exit(f"needs more than {MEMORY / 2**30:.0f} GiB")
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
    print(note)


if __name__ == "__main__":
    main()
