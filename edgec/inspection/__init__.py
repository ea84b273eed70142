"""What can be told of a model and a device before anything is built.

Of every model and target, on the model in its normal form:

layers.py           what each node computes, holds and moves
profiling.py        how long each node takes in float on this machine
peaks.py            what this machine's processor can do at best
roofline.py         what bounds each layer, and what INT8 can give at most
backend_support.py  what each backend takes, and what of it in INT8
expected_size.py    how large an artifact will be
analysis.py         all of that as one document

Further questions, of some targets. Each module has `applies(target)`, which says whether there is something to ask of a
target, and `answer(model, target, interface, came_quantized)`, which is called in a worker.

mapping.py          which operations an Edge TPU would run
machine_code.py     what the model takes as machine code through TVM; it is generated, which takes seconds

driver.py           from a specification to the answers
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from edgec.targets import Target

QUESTIONS = ("mapping", "machine_code")


def questions(target: Target) -> dict[str, ModuleType]:
    """The modules that have something to say of a target, by the name of the question."""
    modules = {name: import_module(f"edgec.inspection.{name}") for name in QUESTIONS}
    return {name: module for name, module in modules.items() if module.applies(target)}
