"""Who one is to a registry: what `docker login` and its like have left in Docker's config.json.

{"auths": {"HOST": {"auth": base64 of USER:PASSWORD, or "identitytoken"}},
 "credHelpers": {"HOST": NAME}, "credsStore": NAME}      docker-credential-NAME is asked, and keeps the secret
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LARGEST = 1 << 20
_HELPER_SECONDS = 60.0
_TOKEN = "<token>"  # what a helper says in the place of a user who has a refresh token and no password


@dataclass(frozen=True)
class Credentials:
    """user "" with a secret: that is a refresh token (OAuth 2). The secret is never shown."""

    user: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of a header Authorization (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def config_file() -> Path:
    """Where Docker's configuration is, or would be."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def credentials_for(host: str) -> Credentials | None:
    """Those for a registry; None where there are none, and it is asked as anybody.

    Raises InputError for a configuration that can't be read, and a helper that fails.
    """
    path = config_file()
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} can't be read", f"The system says: {error.strerror}.", "Check its mode.") from error
    try:
        config = json.loads(content) if len(content) <= _LARGEST else None
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"{error}") from error
    if not isinstance(config, dict):
        raise _malformed(path, "it is not an object, or too large")
    helper = _table(config, "credHelpers", path).get(host) or config.get("credsStore")
    if helper:
        return _from_helper(helper, host, path)
    return _from_auths(_table(config, "auths", path).get(host), path)


def _table(config: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    table = config.get(key)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise _malformed(path, f"{key!r} is not an object")
    return table


def _from_auths(entry: Any, path: Path) -> Credentials | None:
    if not entry:
        return None
    try:
        if token := entry.get("identitytoken"):
            return Credentials("", str(token))
        if "username" in entry and "password" in entry:
            return Credentials(str(entry["username"]), str(entry["password"]))
        user, colon, secret = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (AttributeError, KeyError, TypeError, binascii.Error, ValueError) as error:
        raise _malformed(path, "an entry of 'auths' holds no user and password") from error
    if not colon:
        raise _malformed(path, "an entry of 'auths' is not USER:PASSWORD in base64")
    return Credentials(user, secret)


def _from_helper(helper: Any, host: str, path: Path) -> Credentials | None:
    """Ask docker-credential-HELPER (github.com/docker/docker-credential-helpers): the host goes in, JSON comes out."""
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise _malformed(path, "the name of a credential helper holds more than letters, digits and . _ -")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = "It took too long." if isinstance(error, subprocess.TimeoutExpired) else f"The system says: {error}."
        raise InputError(
            f"{program} can't be asked for the password to {host}", why, f"Install it, or take it out of {path}."
        ) from error
    if done.returncode != 0:
        said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
        if "credentials not found" in said:
            return None
        raise InputError(
            f"{program} gave no password for {host}", f"It says: {said[:200]!r}.", f"Log in again: docker login {host}"
        )
    try:
        answer = json.loads(done.stdout[:_LARGEST])
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{program} gave no password for {host}", "What it printed is not what helpers print.", "Update it."
        ) from error
    return Credentials("" if user == _TOKEN else user, secret)


def _malformed(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} can't be understood", f"What is wrong: {why}.", "Correct it, or log in again: docker login HOST"
    )
