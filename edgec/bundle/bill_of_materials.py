"""What an artifact is made of, as a CycloneDX 1.6 bill of materials with a model card (ML-BOM).

https://cyclonedx.org/docs/1.6/json. Like everything in an artifact, its bytes depend on its content alone: there is no
time in it, and its serial number is derived from the rest.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.bundle.provenance import Materials
from edgec.digest import digest_of

_LICENCE = re.compile(r"licen[cs]e", re.IGNORECASE)
_TASK = ("task", "pipeline_tag")
"""Keys of a model's metadata under which exporters write what it is for."""

_MOST_TEXT = 1000  # characters of a model's own metadata that are taken over
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no reader of the document should have to cope with: control characters, lone surrogates."""


@dataclass(frozen=True)
class Described:
    """The artifact: what it is called, and what the documents of the build say of it.

    precision, target, backend: as in the manifest. contract: inputs and outputs. parity: parity.json. metadata: what
    the model says of itself (ONNX's metadata_props). engine: distribution and version; "" for machine code.
    """

    name: str
    target: str
    backend: str
    precision: str
    contract: Mapping[str, Any]
    parity: Mapping[str, Any]
    metadata: Mapping[str, str]
    engine: tuple[str, str]


def bill_of_materials(
    described: Described, members: Mapping[str, str], materials: Materials, tools: Mapping[str, str]
) -> dict[str, Any]:
    """The document. members: the payload's files, name to SHA-256. tools: name to version."""
    components = [
        *(_material(name, sha256, described) for name, sha256 in materials if name != "target"),
        *_engine(*described.engine),
        *(_file(name, sha256) for name, sha256 in sorted(members.items())),
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "artifact",
                "name": _clean(described.name),
                "description": f"{described.precision} for {described.target} through {described.backend}",
                "licenses": _licences(described.metadata),
                "modelCard": _model_card(described, materials),
            },
            "tools": {"components": [_tool(name, version) for name, version in sorted(tools.items())]},
        },
        "components": components,
        "dependencies": [
            {"ref": "artifact", "dependsOn": [component["bom-ref"] for component in components]},
        ],
    }
    return {**document, "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, digest_of(document)).urn}


def _model_card(described: Described, materials: Materials) -> dict[str, Any]:
    task = next((described.metadata[key] for key in _TASK if described.metadata.get(key)), None)
    data = [name for name, _ in materials if name in ("calibration", "evaluation")]
    parameters: dict[str, Any] = {
        **({"task": _clean(task)} if task is not None else {}),
        **({"datasets": [{"ref": name} for name in data]} if data else {}),
        "inputs": _tensors(described.contract["inputs"]),
        "outputs": _tensors(described.contract["outputs"]),
    }
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": list(_measured(described.parity))},
        "properties": [{"name": "edgec:precision", "value": described.precision}],
    }


def _tensors(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {"format": f"{_clean(item['name'])}: {item['dtype']}[{'x'.join(map(str, item['shape']))}]"} for item in specs
    ]


def _measured(parity: Mapping[str, Any]) -> list[dict[str, str]]:
    """The user's metric, and how far the artifact's outputs are from the original model's (docs/parity.md)."""
    found = []
    metric = parity.get("metric")
    if metric is not None:
        for whose in ("original", "reference", "artifact"):
            if metric.get(whose) is not None:
                found.append({"type": _clean(metric["name"]), "value": f"{metric[whose]:g}", "slice": whose})
    for output in (parity.get("total") or {}).get("outputs", ()):
        for key, title in _FIGURES.items():
            if output.get(key) is not None:
                name = _clean(output["name"])
                found.append({"type": title, "value": f"{output[key]:g}", "slice": f"output {name}"})
    return found


_FIGURES = {
    "sqnr_db": "SQNR against the original model, dB",
    "max_abs": "largest absolute difference from the original model",
    "top1_agreement": "share of confident decisions that are the original model's",
}
"""Figure of parity.json to what it is."""


def _material(name: str, sha256: str, described: Described) -> dict[str, Any]:
    if name == "model":
        kind = {"type": "machine-learning-model", "name": f"{_clean(described.name)} (original)"}
        return {**kind, "bom-ref": name, "hashes": _hashes(sha256), "licenses": _licences(described.metadata)}
    return {"type": "data", "name": _clean(name), "bom-ref": _clean(name), "hashes": _hashes(sha256)}


def _engine(distribution: str, version: str) -> list[dict[str, Any]]:
    if not distribution:
        return []
    return [
        {
            "type": "library",
            "bom-ref": "engine",
            "name": distribution,
            "version": version,
            "purl": _purl(distribution, version),
            "scope": "required",
            "description": "runs the payload on the device; this version or a later one",
        }
    ]


def _file(name: str, sha256: str) -> dict[str, Any]:
    return {"type": "file", "bom-ref": name, "name": name, "hashes": _hashes(sha256)}


def _tool(name: str, version: str) -> dict[str, Any]:
    return {"type": "application", "name": name, "version": version, "purl": _purl(name, version)}


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _purl(name: str, version: str) -> str:
    kind = "generic" if name == "edgec" else "pypi"
    return f"pkg:{kind}/{re.sub(r'[-_.]+', '-', name).lower()}@{version.replace('+', '%2B')}"


def _licences(metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the model says of its licence, in its own words: edgec does not judge which one they mean."""
    for key in sorted(metadata):
        if _LICENCE.fullmatch(key) and (words := _clean(metadata[key]).strip()):
            return [{"license": {"name": words}}]
    return [{"license": {"name": "unknown: the model does not say"}}]


def _clean(text: str) -> str:
    return _UNSAFE.sub("?", text[:_MOST_TEXT])
