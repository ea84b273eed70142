"""Fetch a real model with its calibration data, and say how to build it.

    python examples/model_zoo/fetch.py efficientnet_lite0 -o models
    python examples/model_zoo/fetch.py --list

writes models/efficientnet_lite0.onnx and models/efficientnet_lite0-calibration/.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo import digits, efficientnet_lite0, magika, minilm, mnist, mtcnn, ppocr, silero
from model_zoo.case import Case, MakeCase, onnx_runtime
from model_zoo.packages import Unavailable

CASES: dict[str, MakeCase] = {
    "digits_cnn": digits.case,
    "mnist_cnn": mnist.case,
    "efficientnet_lite0": efficientnet_lite0.case,
    "ppocr_cls": ppocr.orientation_case,
    "ppocrv4_rec": ppocr.recognition_case,
    "ppocrv4_det": ppocr.detection_case,
    "mtcnn_onet": mtcnn.case,
    "magika": magika.case,
    "minilm_l6_v2": minilm.case,
    "silero_vad_16k": silero.case,
}


def copy(case: Case, folder: Path) -> Case:
    """Put model and calibration data into `folder`; the case that names them there."""
    model = folder / f"{case.name}.onnx"
    calibration = folder / f"{case.name}-calibration"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(case.model, model)
    shutil.copytree(case.calibration, calibration, dirs_exist_ok=True)
    return dataclasses.replace(case, model=model, calibration=calibration)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=sorted(CASES))
    parser.add_argument("-o", "--output", type=Path, default=Path("models"), help="the folder (default: models)")
    parser.add_argument("--seed", type=int, default=0, help="draws other calibration and test data (default: 0)")
    parser.add_argument("--list", action="store_true", help="list the models")
    arguments = parser.parse_args()
    if arguments.list or arguments.model is None:
        print("\n".join(f"{name:20}{(make.__doc__ or '').splitlines()[0]}" for name, make in CASES.items()))
        return
    try:
        case = copy(CASES[arguments.model](arguments.seed), arguments.output)
    except Unavailable as error:
        sys.exit(f"{arguments.model} can't be fetched: {error}")
    print(f"{case.name}: {case.accuracy(onnx_runtime(case.model)):.2%} in float\n\n{case.command()}")


if __name__ == "__main__":
    main()
