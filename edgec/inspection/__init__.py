"""What can be told of a model and a device before anything is built.

One module a question. Each has `applies(target)`, which says whether there is something to ask of a target, and
`answer(model, target, given)`, which works on the model in its normal form and is called in a worker.

mapping.py    which operations an Edge TPU would run
structure.py  the INT8 form of a float model that nobody has calibrated yet
driver.py     from a specification to the answers
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from edgec.targets import Target

QUESTIONS = ("mapping",)


def questions(target: Target) -> dict[str, ModuleType]:
    """The modules that have something to say of a target, by the name of the question."""
    modules = {name: import_module(f"edgec.inspection.{name}") for name in QUESTIONS}
    return {name: module for name, module in modules.items() if module.applies(target)}
