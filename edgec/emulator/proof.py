"""Runs inside a new root, under the emulator: says the versions of what works there.

Arguments: the engine's distribution, and the module that it is imported from.
"""

import importlib
import importlib.metadata
import json
import platform
import sys

import numpy

distribution, module = sys.argv[1:]
interpreter = importlib.import_module(f"{module}.interpreter").Interpreter
assert (numpy.arange(6).reshape(2, 3) @ numpy.ones(3)).tolist() == [3.0, 12.0]
versions = {
    "python": platform.python_version(),
    "glibc": platform.libc_ver()[1],
    "numpy": numpy.__version__,
    distribution: importlib.metadata.version(distribution),
}
print(json.dumps(versions))
