"""The candidate of a shadow, in a process of its own: whatever it does, the current model goes on.

Its standard input and output carry messages: a line of JSON, then the bytes of the arrays that it lists. The first one
that it writes tells how loading went; after that, one answer for each message that it reads.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

_NICE = 10
"""The candidate steps back where processors are scarce."""


def write(stream: BinaryIO, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Send one message."""
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    listed = [[name, str(array.dtype), list(array.shape)] for name, array in whole.items()]
    stream.write(json.dumps({**document, "arrays": listed}).encode() + b"\n")
    for array in whole.values():
        stream.write(array.tobytes())
    stream.flush()


def read(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """The next message; None at the end. Raises EOFError where it ends in a message."""
    line = stream.readline()
    if not line:
        return None
    document = json.loads(line)
    arrays = {}
    for name, dtype, shape in document.pop("arrays"):
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        content = stream.read(size)
        if len(content) < size:
            raise EOFError
        arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    return document, arrays


def main(path: str, threads: int | None) -> None:
    """Load the artifact, tell what it is, and answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # an engine that prints shall not be taken for an answer
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the application, which ends this process itself
    from .errors import ArtifactFailure
    from .loading import load_first

    try:
        model = load_first(path, threads, False)
    except Exception as error:
        known = error if isinstance(error, ArtifactFailure) else ArtifactFailure(repr(error))
        write(answers, {"failed": [known.what, known.why, known.fix], "exit_code": known.exit_code}, {})
        return
    write(answers, {"manifest": dict(model.manifest), "sha256": model.bundle.sha256}, {})
    while (message := read(sys.stdin.buffer)) is not None:
        began = time.perf_counter()
        try:
            outputs = model.run(message[1])
        except Exception as error:
            write(answers, {"error": type(error).__name__}, {})
            continue
        write(answers, {"seconds": time.perf_counter() - began}, outputs)
