"""The device agent as one file: `edgec-device`, a zip that Python 3.9 or later runs.

    ./edgec-device status          or: python3 edgec-device status

It holds what `edgec.runtime.agent` needs of edgec's runtime, and what that needs of others: tuf and urllib3 for
repositories, securesystemslib for signatures. A device needs nothing but Python: where it has no `cryptography`,
Ed25519 signatures are verified by securesystemslib's own code, which is pure Python.

Nothing in it depends on where or when it is written: equal versions of edgec and of the three libraries give equal
bytes.
"""

from __future__ import annotations

import ast
import importlib.metadata
import io
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.write import PACKAGE
from edgec.digest import digest_bytes
from edgec.errors import ToolMissing
from edgec.runtime.archive import INTERPRETER
from edgec.version import __version__

NAME = "edgec-device"
"""What the file is called."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
_LEVEL = 9
_RUNTIME = Path(__file__).parent.parent / "runtime"
_OWN_VERSION = "agent/version.py"

_VERSION = f"""\
\"\"\"The agent's version: that of the edgec that wrote this program.\"\"\"

VERSION = {__version__!r}
"""

_MAIN = """\
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("error: the device agent needs Python 3.9 or later, and this is " + sys.version.split()[0] + "\\n")
    sys.exit(10)

from edgec_runtime.agent.commands import main

sys.exit(main())
"""

_SIGNERS = '''\
"""Keys and signatures, without those who sign: the package's own file of this name imports every one of them, for
clouds and hardware modules, and a device verifies only."""

from securesystemslib.signer._key import KEY_FOR_TYPE_AND_SCHEME, Key, SSlibKey
from securesystemslib.signer._signature import Signature
from securesystemslib.signer._signer import SIGNER_FOR_URI_SCHEME, SecretsHandler, Signer

KEY_FOR_TYPE_AND_SCHEME.update(
    {
        ("ecdsa", "ecdsa-sha2-nistp256"): SSlibKey,
        ("ecdsa", "ecdsa-sha2-nistp384"): SSlibKey,
        ("ecdsa", "ecdsa-sha2-nistp521"): SSlibKey,
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"): SSlibKey,
        ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"): SSlibKey,
        ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"): SSlibKey,
        ("ed25519", "ed25519"): SSlibKey,
        ("rsa", "rsassa-pss-sha224"): SSlibKey,
        ("rsa", "rsassa-pss-sha256"): SSlibKey,
        ("rsa", "rsassa-pss-sha384"): SSlibKey,
        ("rsa", "rsassa-pss-sha512"): SSlibKey,
        ("rsa", "rsa-pkcs1v15-sha224"): SSlibKey,
        ("rsa", "rsa-pkcs1v15-sha256"): SSlibKey,
        ("rsa", "rsa-pkcs1v15-sha384"): SSlibKey,
        ("rsa", "rsa-pkcs1v15-sha512"): SSlibKey,
    }
)
'''

_INSTEAD: Mapping[str, bytes] = {
    "securesystemslib/signer/__init__.py": _SIGNERS.encode(),
    "securesystemslib/_internal/__init__.py": b"",  # a zip has no packages without one, before Python 3.13
}
"""Files in the place of a library's own."""

_LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "securesystemslib": (
        "securesystemslib/_gpg/",
        "securesystemslib/_vendor/ed25519/science.py",
        "securesystemslib/_vendor/ed25519/test_ed25519.py",
        *(
            f"securesystemslib/signer/_{name}_signer.py"
            for name in ("aws", "azure", "crypto", "gcp", "gpg", "hsm", "sigstore", "spx", "vault")
        ),
    ),
    "tuf": ("tuf/repository/", "tuf/ngclient/requests_fetcher.py"),
    "urllib3": ("urllib3/contrib/", "urllib3/http2/connection.py"),
}
"""Distribution to what of it no device needs: what signs and publishes, other ways to fetch, HTTP/2, browsers."""


@dataclass(frozen=True)
class Program:
    """The agent's file. contents: its libraries and their versions, edgec itself first."""

    content: bytes
    contents: Mapping[str, str]

    @property
    def version(self) -> str:
        return self.contents["edgec"]

    @property
    def sha256(self) -> str:
        return digest_bytes(self.content)


def program() -> Program:
    """The device agent of this edgec. Raises ToolMissing where a library that goes in is not installed."""
    members = {"__main__.py": _MAIN.encode()}
    versions = {"edgec": __version__}
    members |= {f"{PACKAGE}/{name}": (_RUNTIME / name).read_bytes() for name in _runtime_modules()}
    members |= _licences(_distribution("edgec"))
    for name, left_out in _LEFT_OUT.items():
        distribution = _distribution(name)
        versions[name] = distribution.version
        members |= dict(_modules(distribution, left_out)) | _licences(distribution)
    members |= {**_INSTEAD, f"{PACKAGE}/{_OWN_VERSION}": _VERSION.encode()}
    return Program(_zipped(members), versions)


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolMissing(
            f"{name} is not installed",
            "It is a part of the device agent: edgec packs its own copy.",
            "Install it: python -m pip install 'edgec[ship]'",
        ) from error


def _runtime_modules() -> list[str]:
    """The agent's modules and those that they import, by their paths in edgec/runtime.

    The package's own __init__.py is there and its imports are not: they are for loading models.
    """
    found = {"__init__.py"}
    open_ends = sorted(path.relative_to(_RUNTIME).as_posix() for path in (_RUNTIME / "agent").rglob("*.py"))
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends += [] if name == _OWN_VERSION else _imports(name)
    return sorted(found)


def _imports(name: str) -> Iterator[str]:
    """The runtime's modules that one of them imports, wherever in it that is."""
    for node in ast.walk(ast.parse((_RUNTIME / name).read_bytes())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        package = Path(name).parents[node.level - 1]
        inner = package.joinpath(*(node.module or "").split("."))
        for each in (inner, *(inner / alias.name for alias in node.names)):
            for place in (each.with_suffix(".py"), each / "__init__.py"):
                if each != Path() and (_RUNTIME / place).is_file():
                    yield place.as_posix()


def _modules(distribution: importlib.metadata.Distribution, left_out: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for file in distribution.files or []:
        name = file.as_posix()
        if name.endswith(".py") and not name.startswith(left_out):
            yield name, Path(str(distribution.locate_file(file))).read_bytes()


def _licences(distribution: importlib.metadata.Distribution) -> dict[str, bytes]:
    """A library's licences, below a folder of its name. Raises ToolMissing for an installation without them."""
    found = {
        f"licences/{_owner(distribution, file)}/{file.name}": Path(str(distribution.locate_file(file))).read_bytes()
        for file in distribution.files or []
        if file.suffix in ("", ".txt", ".md") and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))
    }
    if not found:
        raise ToolMissing(
            f"{distribution.name} {distribution.version} is installed without its licence",
            "The device agent holds a copy of it, and a copy has to carry the licence.",
            f"Install it anew: python -m pip install --force-reinstall {distribution.name}",
        )
    return found


def _owner(distribution: importlib.metadata.Distribution, licence: importlib.metadata.PackagePath) -> str:
    """Whose licence it is: the distribution's, or that of something that it holds a copy of."""
    held = licence.parent.name if "_vendor" in licence.parts else ""
    return f"{distribution.name}/{held}" if held else distribution.name


def _zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    stream.write(INTERPRETER)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, also where this runs on something else
            entry.external_attr = _MODE << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return stream.getvalue()
