"""Pack: payload and evidence become one file, which then has to prove itself.

out: NAME-TARGET.edgec
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.backends import backend_tools
from edgec.backends.base import Precision
from edgec.bundle.bill_of_materials import Described, bill_of_materials
from edgec.bundle.provenance import statement
from edgec.digest import digest_file
from edgec.errors import DeviceError, InternalError
from edgec.runners import native
from edgec.runners.execution import Execution, machine_of
from edgec.stage import Stage, StageContext
from edgec.targets import Target
from edgec.version import __version__

if TYPE_CHECKING:
    from edgec.emulator.machine import Machine

_TOOLS = ("numpy", "onnx", "onnxruntime", "onnxsim", *backend_tools())
_ROUNDING_STEPS = 2.0  # quantization steps that two right kernels may differ by at a model's output
_FLOAT_PRECISION = 1e-3  # of the output's range: sums of products in float32, taken in another order
_TIMEOUT = 600.0  # seconds
_EMULATED_TIMEOUT = 3600.0


@dataclass(frozen=True)
class PackParams:
    """execution: where the artifact tests itself. model_sha256: digest of the user's model with its external data.

    recipe: preprocessing, as the runtime takes it. state: (output, input) pairs of a recurrent model.
    threads: how many the artifact uses unless told otherwise; None: what the target says.
    request: what the user asked for. materials: (name, SHA-256) of what went in. Both for the provenance.
    activation_bytes: what activations need at their peak, "float32" and "int8"; None where nobody knows.
    """

    name: str
    target: Target
    execution: Execution
    backend: str
    precision: Precision
    model_sha256: str
    recipe: dict[str, Any] | None = None
    state: tuple[tuple[str, str], ...] = ()
    threads: int | None = None
    request: dict[str, Any] = field(default_factory=dict)
    materials: tuple[tuple[str, str], ...] = ()
    activation_bytes: dict[str, int] | None = None


def run(ingested: Path, lowered: Path, validated: Path, params: PackParams, context: StageContext) -> None:
    """Write the artifact, and let it verify and test itself in a process of its own.

    Raises InternalError when it does not pass: such an artifact is not shipped.
    """
    from edgec.bundle.write import write_bundle

    contract = _json(ingested / "contract.json")
    ingest = _json(ingested / "ingest.json")
    payload = _json(lowered / "lower.json")
    parity = _json(validated / "parity.json")
    sources = {f"payload/{name}": lowered / "payload" / name for name in payload["files"]}
    sources |= {name: validated / name for name in ("parity.json", "golden.npz", "profile.json")}
    tools = _tool_versions()
    engine = _engine(payload)
    digests = {name: digest_file(path) for name, path in sources.items()}
    described = Described(
        params.name,
        params.target.name,
        params.backend,
        params.precision,
        contract,
        parity,
        ingest["metadata"],
        (engine["distribution"], engine["minimum_version"]),
    )
    shipped = {name: digest for name, digest in digests.items() if name.startswith("payload/")}
    bill = _text(bill_of_materials(described, shipped, params.materials, tools))
    digests["bom.cdx.json"] = hashlib.sha256(bill).hexdigest()
    provenance = statement(digests, params.request, _found(params), params.materials, tools)
    files = {**sources, "bom.cdx.json": bill, "provenance.json": _text(provenance)}
    manifest = {
        "name": params.name,
        "target": params.target.name,
        "arch": params.target.arch,
        "cpu_features": sorted(params.target.features),
        "threads": params.target.threads if params.threads is None else params.threads,
        "backend": params.backend,
        "precision": params.precision,
        "engine": engine,
        "inputs": contract["inputs"],
        "outputs": contract["outputs"],
        "state": dict(params.state),
        "preprocess": params.recipe,
        "model_sha256": params.model_sha256,
        "memory_bytes": _memory(params, payload["facts"]),
        "payload": [f"payload/{name}" for name in payload["files"]],
        "selftest": {"tolerances": _tolerances((validated / "golden.npz").read_bytes(), parity)},
        "tools": tools,
    }
    if "min_glibc" in payload:
        manifest["min_glibc"] = payload["min_glibc"]
    artifact = context.out / f"{params.name}-{params.target.name}.edgec"
    write_bundle(artifact, manifest, files)
    artifact.chmod(0o755)
    _prove(artifact, params, context)


def _engine(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What the device needs. An older engine may not know what this one wrote, so this version is the least.

    A payload of machine code brings its engine along: there is no distribution to install, and no version of one.
    """
    distribution = import_module(f"edgec.runtime.engines.{payload['engine']}").DISTRIBUTION
    return {
        "name": payload["engine"],
        "distribution": distribution,
        "minimum_version": importlib.metadata.version(distribution) if distribution else "",
        "options": payload["options"],
    }


def _found(params: PackParams) -> dict[str, Any]:
    """What edgec made of what the user asked for."""
    return {
        "backend": params.backend,
        "precision": params.precision,
        "threads": params.threads,
        "target": asdict(params.target),
        "execution": asdict(params.execution),
        "model_sha256": params.model_sha256,
    }


def _memory(params: PackParams, facts: Mapping[str, Any]) -> int | None:
    """Bytes of memory that the model takes, at least: weights as the payload has them, and activations at their peak.

    For machine code of our own both are exact: the library, which holds the weights, and its arena. Of other engines it
    is a lower bound: they may hold weights in another form too, and what they need for themselves is not in it.
    """
    if "arena_bytes" in facts:
        return int(facts["library_bytes"] + facts["arena_bytes"])
    if params.activation_bytes is None or "weight_bytes" not in facts:
        return None
    in_integers = params.precision in ("int8", "mixed")
    return int(facts["weight_bytes"] + params.activation_bytes["int8" if in_integers else "float32"])


def _tool_versions() -> dict[str, str]:
    versions = {"edgec": __version__}
    for name in _TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a backend that was not used
    return versions


def _tolerances(golden: bytes, parity: Mapping[str, Any]) -> dict[str, float]:
    """The largest absolute difference from the golden outputs that a device may show, for each output.

    Another CPU runs other kernels, which round otherwise. It may be as far from this build's outputs as these were from
    the reference, and never less than what rounding alone explains. Where the payload could not be executed, the golden
    outputs are the reference's own, and the device may be as far from it as the reference is from the original.
    """
    from edgec.runtime.golden import read_golden
    from edgec.runtime.selftest import largest

    known = read_golden(golden)
    executed = parity.get("golden", {}).get("outputs_of", "payload") == "payload"
    compared = parity.get("lowering" if executed else "quantization") or {}
    seen = {item["name"]: item.get("max_abs") or 0.0 for item in compared.get("outputs", [])}
    tolerances = {}
    for name, first in known.samples[0][0][1].items():
        least = 0.0
        if name in known.steps:
            least = _ROUNDING_STEPS * known.steps[name]
        elif first.dtype.kind == "f":
            peak = max(largest(outputs[name]) for sample in known.samples for _, outputs in sample)
            least = _FLOAT_PRECISION * peak
        tolerances[name] = max(least, seen.get(name, 0.0))
    return tolerances


def _prove(artifact: Path, params: PackParams, context: StageContext) -> None:
    """Run the artifact's own checks, as a device would: in a process of its own."""
    here = [sys.executable, str(artifact)]
    environment = {**os.environ, **native.environment(params.target)}
    _run_own(artifact, "verify", here, environment)
    machine = machine_of(params.target, params.execution)
    if machine is not None:
        command, environment = machine.python([str(artifact)])
        _run_own(artifact, "selftest", command, environment, machine)
    elif params.execution.executes:
        _run_own(artifact, "selftest", here, environment)
    else:
        context.warn(f"The artifact did not test itself: {params.execution.reason}.")


def _run_own(
    artifact: Path,
    verb: str,
    program: Sequence[str],
    environment: Mapping[str, str],
    machine: Machine | None = None,
) -> None:
    """Run `program VERB`, here or on the emulated `machine`.

    Raises DeviceError when the device can't run the artifact at all, InternalError for all else.
    """
    where = f" on the emulated device ({machine.label})" if machine is not None else ""
    limit = _TIMEOUT if machine is None else _EMULATED_TIMEOUT
    try:
        done = subprocess.run(
            [*program, verb, *(("--threads", "1") if machine is not None else ())],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            cwd=artifact.parent,
            env=dict(environment),
        )
    except subprocess.TimeoutExpired as error:
        raise InternalError(
            f"The artifact did not finish its own `{verb}` in {limit:.0f} s{where}",
            f"{artifact.name} was written, then run to prove itself. It is not shipped.",
            "Please report it with the model if you may share it.",
        ) from error
    if done.returncode == 0:
        return
    said = (done.stderr.strip() or done.stdout.strip())[-2000:]
    if machine is not None and (done.returncode < 0 or done.returncode > 128):
        from edgec.runners.emulated import ended

        raise ended(machine, done.returncode, said)
    if machine is not None and done.returncode == DeviceError.exit_code:
        raise DeviceError(
            f"The artifact refuses to run{where}",
            said,
            f"The target promises what its own emulator.cpu, {machine.core}, does not have: take it out of the "
            "target's features, or name another core there (docs/targets.md).",
        )
    raise InternalError(
        f"The artifact failed its own `{verb}` with exit code {done.returncode}{where}",
        said,
        "It is not shipped. Please report it with the model if you may share it, and the output of `edgec doctor`.",
        {"command": verb, "exit_code": done.returncode},
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode(
        "utf-8", "backslashreplace"
    )


STAGE = Stage(name="pack", tools=_TOOLS, run=run)
