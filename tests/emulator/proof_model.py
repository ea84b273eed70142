"""Makes edgec/emulator/proof.tflite, the model that a new root has to run.

    python -m tests.emulator.proof_model

The ReLU of a 3x3 convolution of 1x4x4x1, padded to 1x4x4x4, of small integers in float32: every processor computes it
exactly. Nothing in the file comes from elsewhere: it is edgec's own, under edgec's licence.
"""

from pathlib import Path

import numpy as np

from edgec.backends.tflite.writer import write_graph
from edgec.emulator import making
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import TensorType

PLACE = Path(making.__file__).with_name("proof.tflite")


def proof_model() -> bytes:
    """The file, the same at every call."""
    builder = GraphBuilder("proof")
    image = builder.input("image", TensorType((1, 4, 4, 1), "float32"))
    weights = builder.constant("weights", np.arange(-18, 18, dtype=np.float32).reshape(4, 3, 3, 1))
    bias = builder.constant("bias", np.arange(4, dtype=np.float32))
    convolution = kinds.Conv2D(padding=kinds.Padding2D(1, 1, 1, 1), activation="relu")
    result = builder.add(convolution, [image, weights, bias], "result")
    return bytes(write_graph(builder.finish([result]), "edgec: what a new root has to run").content)


if __name__ == "__main__":
    PLACE.write_bytes(proof_model())
