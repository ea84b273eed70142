"""The build's context: a copy of the working copy, with what this site needs, and with bait that must not be copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

BAIT = (".env", ".git/config", ".venv/pyvenv.cfg", "edgec/__pycache__/left.pyc", "edgec/id_rsa", "docker/site.key")
"""Files as they lie about in working copies."""

_MADE = ("build", "dist")


def make(repository: Path, folder: Path, certificates: list[Path]) -> Path:
    """A context in `folder`, which builds here: `certificates` are trusted by it."""
    for name in files(repository):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, folder / name)
    for number, certificate in enumerate(certificates):
        shutil.copyfile(certificate, folder / "docker" / "ca" / f"test-{number}.crt")
    for name in BAIT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("bait")
    return folder


def trusted() -> list[Path]:
    """The certificates that pip is told to trust on this machine; none where it trusts what everybody does."""
    named = (os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    told = next((name for name in named if name), None) or _ask_pip("config", "get", "global.cert")
    return [Path(told)] if told else []


def package_index() -> str:
    """The index that pip uses on this machine; its own where it is told no other."""
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    told = os.environ.get("PIP_INDEX_URL") or _ask_pip("config", "get", "global.index-url")
    return told or subprocess.run([sys.executable, "-c", own], capture_output=True, text=True).stdout.strip()


def files(repository: Path) -> list[str]:
    """Files of the working copy, without what is made in it: environments, caches, byte code, artifacts."""
    found = [".dockerignore"]
    for folder, folders, names in os.walk(repository):
        here = Path(folder).relative_to(repository)
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__")) and name not in _MADE]
        found += [(here / name).as_posix() for name in names if not name.startswith(".") and not name.endswith("~")]
    return found


def _ask_pip(*words: str) -> str:
    pip = shutil.which("pip") or shutil.which("pip3")
    return subprocess.run([pip, *words], capture_output=True, text=True).stdout.strip() if pip else ""
