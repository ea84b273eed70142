"""A registry, asked over HTTP (distribution specification 1.1; authentication as Docker's registry does it).

    anybody     nothing is sent until the registry answers 401
    Basic       user and password go along (RFC 7617)
    Bearer      a server that the registry names gives a token for user and password, or for a refresh token

Passwords and tokens go to the registry and to the server of tokens alone, never where a redirect leads (registries send
those who ask for blobs on to their storage), and never over plain HTTP unless that was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from ...errors import Unreachable, Untrusted
from ..fetcher import Fetcher, Refused, Reply, TryAgain, check_length, followed, too_long
from .credentials import Credentials, credentials_for
from .documents import INDEX, LARGEST_MANIFEST, MANIFEST
from .reference import DIGEST, Reference

PULL = "pull"
PUSH = "pull,push"

_PARAMETER = re.compile(r'([a-zA-Z]+)\s*=\s*"([^"]*)"')
_LARGEST_TOKEN = 1 << 18
_LARGEST_ERROR = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429)
_CLIENT = "edgec"


class Registry:
    """The repository of a reference, and how one is let in there.

    plain_http: without TLS also where the registry is not on this machine.
    credentials: who one is, by host; asked for at the first 401.
    """

    def __init__(
        self,
        reference: Reference,
        fetcher: Fetcher | None = None,
        *,
        plain_http: bool = False,
        credentials: Callable[[str], Credentials | None] = credentials_for,
    ) -> None:
        self.reference = reference
        self.fetcher = fetcher or Fetcher()
        self._plain = plain_http or reference.is_loopback
        self._credentials = credentials
        self._authorization: dict[str, str] = {}  # scope: the header's value
        self.base = f"{'http' if self._plain else 'https'}://{reference.host}/v2/{reference.repository}/"

    def manifest(self, name: str) -> tuple[bytes, str, str]:
        """(bytes, media type, digest) of the manifest or index with this tag or digest.

        Raises Untrusted when the bytes are not those of the digest; Refused with status 404 when there is none.
        """
        url = urljoin(self.base, f"manifests/{name}")

        def attempt() -> tuple[bytes, str, str | None]:
            with self.ask("GET", url, {"Accept": f"{INDEX}, {MANIFEST}"}) as reply:
                content = whole(self.checked(reply), LARGEST_MANIFEST)
                return content, reply.headers.get("content-type", "").partition(";")[0].strip(), _announced(reply)

        content, media_type, announced = self.fetcher.persist(attempt)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if DIGEST.fullmatch(name) and name != digest:
            raise Untrusted(
                "The registry sent another manifest than was asked for",
                f"Asked for was {name}, and what came is {digest}.",
                "Nothing of it was kept. Look at the registry, and at who may write there.",
            )
        if announced and announced != digest:
            raise Untrusted(
                "The registry sent another manifest than it says",
                f"It calls it {announced[:80]}, and what came is {digest}.",
                "Try again. If that does not help, something on the way changes what the registry sends.",
            )
        return content, media_type, digest

    def blob(self, digest: str, start: int = 0) -> Reply:
        """A blob's bytes, not checked yet; from `start` on where the registry can do that (status 206)."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        return self.checked(self.ask("GET", urljoin(self.base, f"blobs/{digest}"), headers))

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        scope: str = PULL,
    ) -> Reply:
        """One request, with who one is where the registry asks for it; redirects of a GET are followed.

        Raises Unreachable, also when the registry does not let one in; other statuses are for the caller.
        """
        for attempt in (1, 2):
            reply = self._follow(method, url, headers or {}, body, scope)
            if reply.status != 401:
                return reply
            challenge = reply.headers.get("www-authenticate", "")
            said = _said(reply)
            reply.close()
            if attempt == 2 or not self._is_own(url):
                break
            self._log_in(challenge, scope)
        raise Refused(
            f"The registry {self.reference.host} does not let this user in",
            f"It asks for another user or password for {self.reference.repository} ({scope}).{said}",
            f"Log in: docker login {self.reference.host} (or podman, oras, skopeo, which keep it in the same file).",
            401,
        )

    def checked(self, reply: Reply) -> Reply:
        """The reply, when it is a success. Raises TryAgain, Refused."""
        if 200 <= reply.status < 300:
            if reply.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                reply.close()
                raise Unreachable(
                    f"{reply.url} comes compressed, though plain bytes were asked for",
                    "Digests are of the plain bytes.",
                    "Switch compression off for this registry, or for the proxy before it.",
                )
            return reply
        said = _said(reply)
        reply.close()
        if reply.status >= 500 or reply.status in _PASSING:
            raise TryAgain(
                f"The registry {self.reference.host} can't answer at the moment",
                f"It says: HTTP status {reply.status}.{said}",
                "Try again later. Look at the registry if that lasts.",
            )
        what = f"The registry has no {reply.url}" if reply.status == 404 else f"The registry refuses {reply.url}"
        fix = "Check what this user may do there."
        if reply.status == 404:
            fix = (
                "Check the name, and the tag or digest. Some registries say so, too, to those who may not read there: "
                f"docker login {self.reference.host}"
            )
        raise Refused(what, f"It says: HTTP status {reply.status}.{said}", fix, reply.status)

    def _follow(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, scope: str) -> Reply:
        place = url
        for _ in range(self.fetcher.limits.redirects + 1):
            sent = dict(headers)
            if scope in self._authorization and self._is_own(place):
                sent["Authorization"] = self._authorization[scope]
            reply = self.fetcher.ask(place, sent, method, body)
            if reply.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return reply
            reply.close()
            place = followed(place, reply)
        raise Unreachable(
            f"{url} leads from one address to the next",
            f"{self.fetcher.limits.redirects} redirects were followed, and there is one more.",
            "Look at the registry's configuration.",
        )

    def _is_own(self, url: str) -> bool:
        """Whether an address is the registry's own."""
        return _origin(url) == _origin(self.base)

    def _log_in(self, challenge: str, scope: str) -> None:
        """Get what the registry asked for in its header WWW-Authenticate."""
        kind, _, rest = challenge.partition(" ")
        known = self._credentials(self.reference.host)
        if kind.lower() == "basic" and known and known.user:
            self._authorization[scope] = known.basic
        elif kind.lower() == "bearer":
            asked = {key.lower(): value for key, value in _PARAMETER.findall(rest)}
            self._authorization[scope] = f"Bearer {self._token(asked, scope, known)}"

    def _token(self, asked: Mapping[str, str], scope: str, known: Credentials | None) -> str:
        """Ask the server of tokens (distribution's specifications "token" and "oauth")."""
        realm = asked.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._plain):
            raise Untrusted(
                f"The registry {self.reference.host} sends those who log in to where passwords are not safe",
                f"It names {realm[:200]!r} as its server of tokens, which is not https.",
                "Nothing was sent there. Look at the registry's configuration.",
            )
        if parts.scheme == "http" and parts.netloc != self.reference.host and self.reference.is_loopback:
            local = Reference(parts.netloc, "x", None).is_loopback
            known = known if local else None  # on this machine nobody listens; elsewhere somebody may
        query = {"service": asked.get("service", ""), "scope": f"repository:{self.reference.repository}:{scope}"}
        if known and not known.user:
            form = urlencode(
                {**query, "grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": known.secret}
            )
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = self.fetcher.ask(realm, headers, "POST", form.encode())
        else:
            url = realm + ("&" if parts.query else "?") + urlencode({**query, "client_id": _CLIENT})
            reply = self.fetcher.ask(url, {"Authorization": known.basic} if known else {})
        with reply:
            if reply.status in (400, 401, 403):
                raise Refused(
                    f"The registry {self.reference.host} does not let this user in",
                    f"Its server of tokens, {parts.netloc}, says: HTTP status {reply.status}.{_said(reply)}",
                    f"Log in: docker login {self.reference.host}",
                    reply.status,
                )
            content = whole(self.checked(reply), _LARGEST_TOKEN)
        try:
            answer = json.loads(content)
            token = answer.get("token") or answer["access_token"]
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            raise Unreachable(
                f"The server of tokens {parts.netloc} gave none", "Its answer holds no token.", "Look at that server."
            ) from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise Unreachable(
                f"The server of tokens {parts.netloc} gave none", "Its token is not one.", "Look at that server."
            )
        return token


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what decides who is asked (RFC 6454)."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        port = None
    return parts.scheme, parts.hostname, port


def whole(reply: Reply, most: int) -> bytes:
    """The body of a reply. Raises Untrusted when it has more than `most` bytes."""
    check_length(reply, most)
    data = bytearray()
    for block in reply.body:
        data += block
        if len(data) > most:
            raise too_long(reply.url, most)
    return bytes(data)


def _announced(reply: Reply) -> str | None:
    """The digest that the registry says that its answer has; other algorithms than SHA-256 are not looked at."""
    said = reply.headers.get("docker-content-digest", "")
    return said if said.startswith("sha256:") else None


def _said(reply: Reply) -> str:
    """What the registry tells of an error, in its own words, as the end of a sentence: the specification's `errors`."""
    with contextlib.suppress(Exception):  # whatever it is, it is not the error
        document: Any = json.loads(whole(reply, _LARGEST_ERROR))
        first = document["errors"][0]
        words = f"{first.get('code', '')} {first.get('message', '')}".strip()[:200]
        return " " + "".join(letter for letter in words if letter.isprintable()) + "." if words else ""
    return ""
