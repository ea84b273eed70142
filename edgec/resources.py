"""Data that comes with edgec, and what the user puts beside it.

`targets/` and `calibration/` lie at the top of the source tree and inside an installed wheel. Folders of the same name
in the working directory are the user's own, and win.
"""

from __future__ import annotations

from pathlib import Path


def builtin_folder(kind: str) -> Path:
    """The folder of built-in TOML files of `kind` ("targets" or "calibration")."""
    package = Path(__file__).parent
    installed = package / "data" / kind
    return installed if installed.is_dir() else package.parent / kind


def declared(kind: str) -> dict[str, Path]:
    """All files of `kind` by name; the user's own win over the built-in ones of the same name."""
    found: dict[str, Path] = {}
    for folder in (builtin_folder(kind), Path(kind)):
        if folder.is_dir():
            found.update((path.stem, path) for path in sorted(folder.glob("*.toml")))
    return found


def find(kind: str, name: str) -> Path | None:
    """The file called `name` (or at the path `name`, if it ends in .toml); None when there is none."""
    if name.endswith(".toml"):
        path = Path(name)
        return path if path.is_file() else None
    return declared(kind).get(name)
