"""What `edgec publish` says of a repository, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgec.untrusted_text import clean


def share_of(model: str, rollout: float, before: int | None) -> str:
    """What share of a channel's devices a release is for, and what the others have: "10%, else net@2"."""
    from edgec.shipping.repository.releases import percent

    others = "nothing yet" if before is None else f"{model}@{before}"
    return percent(rollout) if rollout == 1 else f"{percent(rollout)}, else {others}"


def status_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The document of `inspection.status`: releases first, then who signs, then what needs a person."""
    yield f"{document['repository']}"
    for target, models in document["targets"].items():
        yield ""
        yield target
        for model, entry in models.items():
            yield from _model_lines(model, entry)
        if not models:
            yield "  nothing published"
    yield ""
    rows = [_role_row(role) for role in document["roles"]]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + f"  {row[4]}"
    if document["keys"] is not None:
        yield f"keys in {document['keys']}"
    if (pending := document["pending_root"]) is not None:
        yield ""
        yield f"root version {pending['version']} waits: {pending['signatures']} (edgec publish sign-root)"
    for warning in document["warnings"]:
        yield f"warning: {warning}"


def _model_lines(model: str, entry: Mapping[str, Any]) -> Iterator[str]:
    width = max((len(name) for name in entry["channels"]), default=0)
    newest = max(map(int, entry["releases"]), default=0)
    count = len(entry["releases"])
    yield f"  {model}  {count} release{'s' if count != 1 else ''}, newest {newest}"
    for name, now in entry["channels"].items():
        text = f"{now['version']}"
        if now["rollout"] < 1:
            text += f" to {share_of(model, now['rollout'], now['before'])}"
        yield f"    {name:<{width}}  {text}{'  paused' if now['paused'] else ''}"
    for version, reason in entry["revoked"].items():
        yield f"    revoked {version}: {clean(reason)}"


def _role_row(role: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    keys = role["keys"]
    signs = ", ".join(f"{key['file'] or key['id'][:12]}{'' if key['signed'] else ' (did not sign)'}" for key in keys)
    threshold = f"{role['threshold']} of {len(keys)}: " if len(keys) > 1 else ""
    return (
        role["name"],
        f"v{role['version']}",
        remaining(role["days_left"]),
        f"of {role['holds_for']}",
        threshold + signs,
    )


def remaining(days: float) -> str:
    """ "83 days left", "20 hours left", "40 minutes left", "expired"."""
    if days <= 0:
        return "expired"
    if days >= 2:
        return f"{days:.0f} days left"
    return f"{days * 24:.0f} hours left" if days * 24 >= 2 else f"{days * 24 * 60:.0f} minutes left"
