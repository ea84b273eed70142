"""Environments of their own, for programs that can't live beside edgec: other versions of numpy, gigabytes of wheels.

Each is made once, in the cache of `packages`, with pip and the requirements that it is named after.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .packages import Unavailable, cache, publishing

_SECONDS = 1800.0


def environment(name: str, requirements: Sequence[str], python: str = sys.executable) -> Path:
    """The interpreter of an environment that has `requirements`, and nothing of this one.

    python: the interpreter that it is made with; a name is looked for on the PATH.
    Raises Unavailable, with pip's last words, when it can't be made here.
    """
    made_with = _checked(python)
    wish = "\n".join([made_with[1], *requirements])
    folder = cache() / "environments" / f"{name}-{hashlib.sha256(wish.encode()).hexdigest()[:12]}"
    with publishing(folder) as partial:
        if partial is not None:
            _run(name, [made_with[0], "-m", "venv", "--clear", str(partial)])
            pip = [str(partial / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run(name, [*pip, "--retries=1", "--only-binary=:all:", *requirements])
    return folder / "bin" / "python"


def _checked(python: str) -> tuple[str, str]:
    """(path, version) of an interpreter that runs."""
    found = shutil.which(python)
    if found is None:
        raise Unavailable(f"there is no {python} on the PATH")
    done = subprocess.run([found, "-V"], capture_output=True, text=True, check=False)
    if done.returncode:  # a shim of a version that is not switched on
        raise Unavailable(f"{python} on the PATH does not run: {' '.join(done.stderr.split())[:120]}")
    return found, done.stdout.strip()


def _run(name: str, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the environment {name} was not made in {_SECONDS:.0f} s") from error
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip() and "WARNING" not in line]
        raise Unavailable(f"the environment {name} can't be made: {' '.join(said[-2:])[:400]}")
