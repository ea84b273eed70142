"""The user's function: loaded in a worker, called with outputs and labels, and held to its promise of one number.

    def accuracy(outputs, labels):            # or (outputs, labels, names)
        return float(np.mean([o["logits"].argmax() == label for o, label in zip(outputs, labels)]))

outputs: one entry a sample, a dict of output name to array; of a recurrent model a list of them, one a step.
labels: one a sample, in the same order; None without --labels. names: what the samples are called.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import math
import numbers
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from edgec.errors import UsageError
from edgec.metric.source import FunctionSource, current_digest

if TYPE_CHECKING:
    import numpy as np

SECONDS = 300
"""Time that one call may take: a search calls the metric for every candidate that it would take."""

_SIGNATURE = "A metric is called as function(outputs, labels), or function(outputs, labels, names)."
_SHOWN_FRAMES = 3

Outputs = Mapping[str, "np.ndarray"]


class _TooSlow(BaseException):
    """Not an Exception, so that no `except Exception` of the user's swallows it."""


@dataclass(frozen=True)
class UserMetric:
    """A function that is ready to be called. wants_names: it takes the samples' names too."""

    source: FunctionSource
    function: Callable[..., Any]
    wants_names: bool

    @classmethod
    def load(cls, source: FunctionSource) -> UserMetric:
        """Import the user's file and take the function. Raises UsageError for whatever goes wrong there."""
        if current_digest(source) != source.digest:
            raise UsageError(
                f"{source.file} has changed since the build began",
                "What is measured with must be what was hashed.",
                "Run the build again.",
            )
        try:
            module = _imported(source)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _failed(source, f"The file of the metric {source.name} can't be imported", error) from error
        function = getattr(module, source.function, None)
        if not callable(function) or inspect.iscoroutinefunction(function):
            kind = "a coroutine" if callable(function) else type(function).__name__
            raise UsageError(f"The metric {source.name} is {kind}, not a function", _SIGNATURE, f"See {source.file}.")
        return cls(source, function, _takes_names(source, function))

    @property
    def name(self) -> str:
        return self.source.name

    def evaluate(
        self,
        outputs: Sequence[Outputs | Sequence[Outputs]],
        labels: Sequence[Any] | None,
        names: Sequence[str] = (),
    ) -> float:
        """The metric of these outputs. It gets lists of its own, and arrays that it can't write to.

        Raises UsageError, with the user's own line, when it raises; when it gives anything but one finite number; when
        it takes more than SECONDS.
        """
        mine = [_frozen(entry) for entry in outputs]
        given = None if labels is None else list(labels)
        try:
            with _time_limit():
                value = (
                    self.function(mine, given, names=list(names)) if self.wants_names else self.function(mine, given)
                )
        except KeyboardInterrupt:
            raise
        except _TooSlow as error:
            raise UsageError(
                f"The metric {self.name} took more than {SECONDS} s",
                f"It was given {len(mine)} samples, and it is called several times in a build.",
                "Make it faster, or give fewer samples with --eval.",
            ) from error
        except BaseException as error:
            failed = _failed(self.source, f"The metric {self.name} failed with {type(error).__name__}", error)
            if labels is None and isinstance(error, TypeError) and "NoneType" in str(error):
                failed.fix = "No labels were given, so it was called with None for them: add --labels."
            raise failed from error
        return self._number(value, len(mine))

    def _number(self, value: Any, count: int) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            shape = getattr(value, "shape", None)
            what = f"an array of shape {list(shape)}" if shape is not None else f"{type(value).__name__}: {value!r:.80}"
            raise UsageError(
                f"The metric {self.name} gives no number",
                f"It returned {what}.",
                "Return float(...), higher is better.",
            )
        number = float(value)
        if not math.isfinite(number):
            raise UsageError(
                f"The metric {self.name} gives {number} on {count} samples",
                "Nothing can be compared with that: often a division by nothing, or the mean of an empty list.",
                "Return a finite number for every outcome, also for a model that finds nothing.",
            )
        return number


def _imported(source: FunctionSource) -> Any:
    if str(source.root) not in sys.path:
        sys.path.insert(0, str(source.root))
    if source.module:
        return importlib.import_module(source.module)
    name = f"edgec_metric_{source.file.stem}"
    spec = importlib.util.spec_from_file_location(name, source.file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _takes_names(source: FunctionSource, function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a built-in without one
        return False
    with contextlib.suppress(TypeError):
        if "names" in signature.parameters:
            signature.bind([], None, names=[])
            return True
        signature.bind([], None)
        return False
    raise UsageError(
        f"The metric {source.name} can't be called with outputs and labels",
        f"It is defined as {source.function}{signature} in {source.file}.",
        _SIGNATURE,
    )


def _frozen(entry: Outputs | Sequence[Outputs]) -> Any:
    """The same values, in arrays that can't be written: other models are measured against the same outputs."""
    if not isinstance(entry, Mapping):
        return [_frozen(step) for step in entry]
    views = {name: array.view() for name, array in entry.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Raise _TooSlow after SECONDS, where the interpreter can be interrupted (in a worker's only thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_: int, __: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _failed(source: FunctionSource, what: str, error: BaseException) -> UsageError:
    """The user's error with the user's own lines."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename == str(source.file)), len(frames))
    own = [frame for frame in frames[first:] if frame.filename == str(source.file)]
    shown = own[-_SHOWN_FRAMES:]
    shown += [frame for frame in frames[-1:] if frame not in shown]
    lines = [f"{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in shown]
    said = traceback.format_exception_only(error)[-1].strip()
    fix = f"Correct it; {_SIGNATURE[0].lower()}{_SIGNATURE[1:]}"
    if isinstance(error, ValueError) and "read-only" in str(error):
        fix = "Outputs can't be written to, since others are compared with them: copy an array before changing it."
    return UsageError(
        what, "\n".join([*lines, said]), fix, {"metric_traceback": "".join(traceback.format_exception(error))}
    )
