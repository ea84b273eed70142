"""One way to an artifact for a target."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.candidates.asked import is_tuned, profile_of
from edgec.candidates.candidate import label
from edgec.errors import EdgecError
from edgec.runners.execution import Execution
from edgec.spec import BuildSpec


@dataclass(frozen=True)
class Attempt:
    """One way to an artifact: the specification with its backend named, and where that is executed, or why it can't be
    tried.

    Of a search, the specification names precision, profile and number of threads, too.
    """

    spec: BuildSpec
    where: Execution | EdgecError

    @property
    def name(self) -> str:
        """How it is called among the others of a search."""
        spec = self.spec
        return label(spec.backend, spec.precision, profile_of(spec), spec.threads, is_tuned(spec))
