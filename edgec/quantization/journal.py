"""The journal of a search: what was measured, so that a search that was killed does not measure it again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgec.digest import digest_of


class Journal:
    """A folder with one JSON file a measurement, named by the digest of what was measured.

    Each file appears in one step, so a file that is there is whole; what can't be read counts as never written.
    folder: made with the first entry; None: nothing outlives the process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {}

    def recall(self, question: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], bool]:
        """The answer to `question`, and whether it was known; when not, `measure` finds it.

        Both are plain data. An answer reads the same whether it comes from here or was just measured.
        """
        name = f"{digest_of(dict(question))}.json"
        if name in self._known:
            return self._known[name], True
        if self._folder is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                self._known[name] = dict(json.loads((self._folder / name).read_text(encoding="utf-8"))["answer"])
                return self._known[name], True
        text = json.dumps({"question": dict(question), "answer": measure()})
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{name}.{os.getpid()}.partial"
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._folder / name)
        self._known[name] = dict(json.loads(text)["answer"])
        return self._known[name], False
