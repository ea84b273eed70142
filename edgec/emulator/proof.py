"""Runs inside a new root, under the emulator: shows that the root works, and says the versions of what is in it.

Arguments: the engine's distribution, and the module that it is imported from.

It also compiles what it imported, and what else the runtime of an artifact imports: parsing would take an emulated
Python longer than anything else at its start.
"""

import importlib
import importlib.metadata
import json
import platform
import py_compile
import sys
from pathlib import Path

import numpy

OF_THE_RUNTIME = ("argparse", "ctypes", "hashlib", "signal", "struct", "tempfile", "zipfile")

distribution, module = sys.argv[1:]
interpreter = importlib.import_module(f"{module}.interpreter").Interpreter

# proof.tflite, which tests/emulator/proof_model.py makes: ReLU of a 3x3 convolution of 1x4x4x1, padded to 1x4x4x4, with
# weights -18 to 17 and biases 0 to 3: small integers in float32, so the result is exact on every processor.
image = numpy.arange(16, dtype=numpy.float32).reshape(4, 4)
weights = numpy.arange(-18, 18, dtype=numpy.float32).reshape(4, 3, 3)
padded = numpy.pad(image, 1)
windows = numpy.lib.stride_tricks.sliding_window_view(padded, (3, 3))
expected = numpy.maximum(numpy.einsum("yxij,cij->yxc", windows, weights) + numpy.arange(4, dtype=numpy.float32), 0)

engine = interpreter(model_path=str(Path(__file__).with_suffix(".tflite")), num_threads=1)
engine.allocate_tensors()
engine.set_tensor(engine.get_input_details()[0]["index"], image.reshape(1, 4, 4, 1))
engine.invoke()
found = engine.get_tensor(engine.get_output_details()[0]["index"])[0]
if not numpy.array_equal(found, expected):
    sys.exit(f"{distribution} and numpy do not agree on a convolution: {found.tolist()} and {expected.tolist()}")

for name in OF_THE_RUNTIME:
    importlib.import_module(name)
for imported in list(sys.modules.values()):
    specification = getattr(imported, "__spec__", None)
    if specification is not None and specification.has_location and specification.cached:
        source = specification.origin
        py_compile.compile(
            source,
            dfile="/usr" + source.removeprefix(sys.prefix),  # where it is for who runs there
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,  # the root never changes
        )

versions = {
    "python": platform.python_version(),
    "glibc": platform.libc_ver()[1],
    "numpy": numpy.__version__,
    distribution: importlib.metadata.version(distribution),
}
print(json.dumps(versions))
