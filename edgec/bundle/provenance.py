"""How an artifact was made, as an in-toto Statement v1 with SLSA provenance v1.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance. Neither
time nor path nor host is in it: equal builds have equal provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.runtime.agent.signatures import PREDICATE_TYPE, STATEMENT_TYPE

BUILD_TYPE = "urn:edgec:build:v1"
"""What externalParameters and internalParameters mean: docs/provenance.md."""

BUILDER = "urn:edgec:builder:local"
"""edgec on a machine of the user's own: SLSA's level 1, for nobody but the signer vouches for that machine."""

Materials = Sequence[tuple[str, str]]
"""(name, SHA-256) of everything that went into a build."""


def statement(
    members: Mapping[str, str],
    asked: Mapping[str, Any],
    found: Mapping[str, Any],
    materials: Materials,
    tools: Mapping[str, str],
) -> dict[str, Any]:
    """The statement about an artifact's members.

    members: name to SHA-256. asked: what the user asked for. found: what edgec made of that. tools: name to version.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(members.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(asked),
                "internalParameters": dict(found),
                "resolvedDependencies": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in materials],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": dict(tools)}},
        },
    }
