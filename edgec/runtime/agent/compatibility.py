"""Whether this device can run a release: asked before anything is downloaded, and again of the artifact itself.

What a release needs is a small document, which a repository's releases.json has for each release and which any
manifest gives (`needs_of`):

    {"arch": "aarch64", "cpu_features": ["asimd"], "min_glibc": "2.17" or null, "memory_bytes": 41000000 or null,
     "format_version": 1, "python": "3.9", "engine": {"name", "distribution", "minimum_version"}}

A field that is missing or null asks for nothing. Each thing that does not fit has its own message: DeviceUnfit (another
machine is needed, or another system on it), EngineMissing (something has to be installed) or Busy (memory is short at
the moment).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..bundle import FORMAT_VERSION
from ..device import check_device
from ..engine_packages import numbers, packages_for, pip_install
from ..errors import Busy, DeviceUnfit, EngineMissing, InputError

OLDEST_PYTHON = "3.9"
_MEMINFO = Path("/proc/meminfo")
_PROBE = """\
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"python": list(sys.version_info[:3]), "packages": found}))
"""
_PROBE_SECONDS = 120.0
_OTHER_PYTHON = (
    "Or name the Python that has it: edgec-device init --replace --python PROGRAM ([device] python in device.conf)."
)


def needs_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an artifact asks of a device, by its manifest."""
    engine = manifest["engine"]
    return {
        "arch": manifest["arch"],
        "cpu_features": list(manifest["cpu_features"]),
        "min_glibc": manifest.get("min_glibc"),
        "memory_bytes": manifest.get("memory_bytes"),
        "format_version": manifest["format_version"],
        "python": OLDEST_PYTHON,
        "engine": {key: engine[key] for key in ("name", "distribution", "minimum_version")},
    }


def check(needs: Mapping[str, Any], target: str, python: str = sys.executable) -> list[str]:
    """Whether this device can run what `needs` describes; returns what is in doubt, in words.

    target: what the release was built for, for messages. python: the interpreter that shall run it.

    Raises DeviceUnfit, EngineMissing; InputError when `python` is none.
    """
    _check_format(needs.get("format_version"))
    asked = {
        "arch": needs["arch"],
        "cpu_features": needs.get("cpu_features") or [],
        "target": target,
        **({"min_glibc": needs["min_glibc"]} if needs.get("min_glibc") else {}),
    }
    notes = check_device(asked)
    _check_memory(needs.get("memory_bytes"))
    return [*notes, *_check_python(needs, python)]


def check_free_memory(needs: Mapping[str, Any]) -> None:
    """Whether the model fits beside what runs now: its self-test must not push an application out of memory.

    Raises Busy: later there may be more.
    """
    needed, free = needs.get("memory_bytes"), _free_bytes()
    if needed is not None and free is not None and needed > free:
        raise Busy(
            f"The model needs {_mb(needed)} of memory, and {_mb(free)} are free at the moment",
            "Its self-test runs beside the version that is in use.",
            "Try again when less runs on this device; the version that runs was not touched.",
        )


def memory_bytes() -> int | None:
    """What this device has; None where the system does not say."""
    return _meminfo().get("MemTotal")


def _check_format(version: Any) -> None:
    if version is not None and version > FORMAT_VERSION:
        raise DeviceUnfit(
            f"The release has the format version {version}, and this edgec-device reads {FORMAT_VERSION}",
            "It was made by a newer edgec than this device's agent, or the agent was downgraded.",
            "Bring the newer edgec-device to the device first (edgec device-agent).",
        )


def _check_memory(needed: int | None) -> None:
    there = _meminfo().get("MemTotal")
    if needed is not None and there is not None and needed > there:
        raise DeviceUnfit(
            f"The model needs {_mb(needed)} of memory, and this device has {_mb(there)}",
            "That is its weights, its activations and its engine at their peak.",
            "Build a smaller one: with INT8, a smaller input (--shape), or another model.",
        )


class _Installed(NamedTuple):
    python: tuple[int, ...]
    packages: Mapping[str, str]


def _check_python(needs: Mapping[str, Any], python: str) -> list[str]:
    """Python itself, and in it numpy, which every artifact's runtime needs, and the engine's package."""
    engine = needs.get("engine") or {"name": "", "distribution": "", "minimum_version": ""}
    wanted = packages_for(engine)
    installed = _installed(python, ("numpy", *wanted))
    least = needs.get("python") or OLDEST_PYTHON
    if installed.python[:2] < numbers(least):
        raise DeviceUnfit(
            f"{python} is Python {'.'.join(map(str, installed.python))}, and the release needs {least}",
            "Artifacts bring their own runtime, which is Python.",
            f"Name a Python {least} or later in device.conf: [device] python.",
        )
    if "numpy" not in installed.packages:
        raise EngineMissing(
            f"numpy is not installed for {python}",
            "Every artifact computes with it.",
            f"Install it: {python} -m pip install numpy. {_OTHER_PYTHON}",
        )
    for distribution, minimum in wanted.items():
        if (version := installed.packages.get(distribution)) is None:
            continue
        if numbers(version) < numbers(minimum):
            return [
                f"{distribution} {version} is older than {minimum}, which the artifact was made with: "
                f"{pip_install(distribution, minimum, python)}"
            ]
        return []
    if wanted:
        first = next(iter(wanted))
        raise EngineMissing(
            f"The engine {engine['name']} is not installed for {python}",
            f"The release runs in {' or '.join(f'{name} {least}' for name, least in wanted.items())} or later.",
            f"Install it: {pip_install(first, wanted[first], python)}. {_OTHER_PYTHON}",
        )
    return []


def _installed(python: str, names: tuple[str, ...]) -> _Installed:
    """The version of an interpreter, and of the packages in it."""
    try:
        done = subprocess.run(
            [python, "-c", _PROBE, *names],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        document = json.loads(done.stdout.decode())
        return _Installed(tuple(document["python"]), document["packages"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise InputError(
            f"{python} does not run as a Python", f"{type(error).__name__}: {error}.", "Correct [device] python."
        ) from error


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes; nothing where the system has none."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: int(text.split()[0]) * 1024 for name, _, text in pairs if text.strip().endswith("kB")}


def _free_bytes() -> int | None:
    """What a new process can have without another one losing its memory; swap counts. None: the system does not say."""
    found = _meminfo()
    return found["MemAvailable"] + found.get("SwapFree", 0) if "MemAvailable" in found else None


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
