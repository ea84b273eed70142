"""Finding a function in a user's Python file, and saying what its result depends on, without running any of it."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgec.digest import digest_file, digest_of
from edgec.errors import UsageError
from edgec.toml_schema import did_you_mean

EXAMPLE = "Write --metric MODULE:FUNCTION or --metric FILE.py:FUNCTION; docs/metric.md shows one."
_MOST_FILES = 500


@dataclass(frozen=True)
class FunctionSource:
    """One function of one file.

    name: as the user gave it. module: its importable name, "" where a file was named. root: the folder from which it
    imports what lies beside it. digest: of the file and of the modules beside it that it imports.
    """

    name: str
    file: Path
    module: str
    function: str
    root: Path
    digest: str


def find_function(name: str) -> FunctionSource:
    """The function called "module:function" or "file.py:function".

    Modules are looked for in the current folder first. Nothing is imported or run. Raises UsageError when the file or
    module is not there, is not Python, or has no such function.
    """
    place, separator, function = name.rpartition(":")
    if not separator or not place or not function.isidentifier():
        raise UsageError(
            f"--metric {name} can't be understood", "It needs a module or a file, ':' and a function.", EXAMPLE
        )
    if place.endswith(".py") or "/" in place:
        file, module = _file(Path(place)), ""
        root = file.parent
    else:
        file, root = _module(place)
        module = place
    tree = _parsed(file)
    known = _defined(tree)
    if known is not None and function not in known:
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        raise UsageError(
            f"{file} has no function called {function!r}.{did_you_mean(function, functions)}",
            f"Its functions are: {', '.join(functions)}." if functions else "It defines no function.",
            EXAMPLE,
        )
    return FunctionSource(name, file, module, function, root, _digest(file, root))


def current_digest(source: FunctionSource) -> str:
    """The digest of a source as it is now."""
    return _digest(source.file, source.root)


def _file(path: Path) -> Path:
    if path.is_file():
        return path.absolute()
    beside = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
    raise UsageError(
        f"There is no file {path} with a metric",
        f"Nothing of that name is in {path.parent.resolve()}.{did_you_mean(path.name, beside)}",
        EXAMPLE,
    )


def _module(name: str) -> tuple[Path, Path]:
    """The file of a module, and the folder that its first package lies in; found by name, since importing runs code."""
    parts = name.split(".")
    for entry in (Path.cwd(), *map(Path, sys.path)):
        folder = entry.absolute()
        base = folder.joinpath(*parts)
        for file in (base / "__init__.py", base.parent / f"{parts[-1]}.py"):
            if file.is_file():
                return file, folder
    raise UsageError(
        f"There is no module called {name!r} with a metric",
        f"No file of that name is in {Path.cwd()} or where Python looks for modules.",
        f"Name the file itself (--metric path/to/file.py:function), or run edgec where {name!r} can be imported.",
    )


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError(
            f"{file}{f', line {line},' if line else ''} is not valid Python", f"{error}.", "Correct it; run it by hand."
        ) from error
    except OSError as error:
        raise UsageError(f"{file} can't be read", f"{error.strerror}.", "Check its permissions.") from error


def _defined(tree: ast.Module) -> list[str] | None:
    """Names that a module binds at its top; None when only running it would tell (`from x import *`)."""
    names: dict[str, None] = {}
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update(dict.fromkeys(alias.asname or alias.name.split(".")[0] for alias in node.names))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(dict.fromkeys(n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)))
        else:
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            pending += [
                child for handler in getattr(node, "handlers", ()) for child in handler.body
            ]  # an import in `except ImportError`
    return list(names)


def _digest(file: Path, root: Path) -> str:
    """Over the file and, recursively, over what it imports from below `root`; installed packages do not count."""
    seen: dict[Path, str] = {}
    pending = [file]
    installed = {Path(path).resolve() for key, path in sysconfig.get_paths().items() if key.endswith("lib")}
    while pending and len(seen) < _MOST_FILES:
        path = pending.pop()
        if path in seen:
            continue
        seen[path] = digest_file(path)
        if root not in installed:
            pending += [found for found in _imported(path, root) if found not in seen]
    return digest_of({str(path.relative_to(root)): digest for path, digest in seen.items()})


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """Files below `root` that `file` imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(root, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = root if node.level == 0 else file.parents[node.level - 1]
            stem = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files(base, [*stem, alias.name])


def _files(base: Path, parts: list[str]) -> Iterator[Path]:
    """Every file that importing the dotted name runs, as far as it lies below `base`."""
    here = base
    for part in parts:
        for candidate in (here / part / "__init__.py", here / f"{part}.py"):
            if candidate.is_file():
                yield candidate
        here = here / part
