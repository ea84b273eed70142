"""The program that runs on an emulated device: it loads a payload, then answers feeds with outputs till its input ends.

It is sent there beside the runtime that artifacts carry (`edgec_runtime`), and has nothing else of edgec. What native
libraries print does not get between the frames: the standard output that they know is the error output.

    payload     "job": JSON {"engine", "options", "files"}, and the files' bytes under their names
    ready       "version": of the engine
    feeds       the inputs                  -> outputs
    failure     "error": JSON {"kind", "what", "why", "fix", "details", "exit_code"}; "kind" alone names no known error
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from typing import Any, BinaryIO

from edgec_frames import receive, send, text  # type: ignore[import-not-found]
from edgec_runtime.engines import open_engine  # type: ignore[import-not-found]
from edgec_runtime.errors import ArtifactFailure  # type: ignore[import-not-found]

_PR_SET_PDEATHSIG = 1  # prctl(2)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer every frame, the first of which is the payload."""
    engine: Any = None
    while (frame := receive(source)) is not None:
        kind, arrays = frame
        try:
            if kind == "payload":
                job = json.loads(arrays["job"].tobytes())
                files = {name: arrays[name].tobytes() for name in job["files"]}
                engine = open_engine(job["engine"], files, job["options"], threads=1)
                send(sink, "ready", {"version": text(engine.version)})
            else:
                send(sink, "outputs", engine.run(arrays))
        except ArtifactFailure as failure:
            send(sink, "failure", {"error": text(json.dumps(_told(failure)))})
        except Exception as error:
            unknown = {"kind": type(error).__name__, "what": str(error), "why": traceback.format_exc()}
            send(sink, "failure", {"error": text(json.dumps(unknown))})


def _told(failure: ArtifactFailure) -> dict[str, Any]:
    return {
        "kind": type(failure).__name__,
        "what": failure.what,
        "why": failure.why,
        "fix": failure.fix,
        "details": failure.details,
        "exit_code": failure.exit_code,
    }


def _main(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a hanging engine never sees that its input ended
    if os.getppid() != parent:  # the parent was gone before the line above
        os._exit(1)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)
    sink.flush()
    os._exit(0)  # destructors of native libraries are a well-known place to crash


if __name__ == "__main__":
    _main(int(sys.argv[1]))
