"""Run every N.tflite of a folder on its N-inputs.npz, with the interpreter that this Python has.

Writes N-outputs.npz, or N-refusal.txt with what the interpreter says. Only numpy and tflite_runtime or ai_edge_litert
are needed. Names are those of the signature `serving_default`, with `_` before them: npz members can't have all names.
"""

import sys
from pathlib import Path

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter


def run(content, inputs):
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    return runner(**inputs)


def main(folder):
    for path in sorted(folder.glob("*.tflite"), key=lambda path: int(path.stem)):
        if any((folder / (path.stem + kind)).exists() for kind in ("-outputs.npz", "-refusal.txt")):
            continue  # from before it died of another one
        with np.load(folder / (path.stem + "-inputs.npz")) as stored:
            inputs = {name[1:]: stored[name] for name in stored.files}
        try:
            outputs = run(path.read_bytes(), inputs)
        except (RuntimeError, ValueError) as error:
            (folder / (path.stem + "-refusal.txt")).write_text(str(error), encoding="utf-8")
            continue
        np.savez(folder / (path.stem + "-outputs.npz"), **{"_" + name: value for name, value in outputs.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
