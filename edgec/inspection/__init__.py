"""What can be told of a model and a device before anything is built.

One module a question. Each has `applies(target)`, which says whether there is something to ask of a target, and
`answer(model, target, given)`, which works on the model in its normal form and is called in a worker.

mapping.py       which operations an Edge TPU would run
machine_code.py  what the model takes as machine code through TVM
driver.py        from a specification to the answers
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
