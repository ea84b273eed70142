"""A registry, or somebody on the way to it, that is not what it should be: refused each in its own words, in bounded
memory, with nothing left behind and no password told."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from edgec.runtime.agent.fetcher import Refused
from edgec.runtime.agent.oci import documents, pull
from edgec.runtime.agent.oci.credentials import Credentials, credentials_for
from edgec.runtime.agent.oci.documents import (
    ARTIFACT,
    ARTIFACT_TYPE,
    ENVELOPE,
    INDEX,
    MANIFEST,
    MODEL,
    TARGET,
    TITLE,
    VERSION,
)
from edgec.runtime.agent.oci.reference import parse_reference
from edgec.runtime.errors import ArtifactFailure, DeviceUnfit, InputError, Unreachable, Untrusted

DATA = bytes(range(256)) * 400
FACTS = {MODEL: "net", TARGET: "host", VERSION: "1"}
DIGEST = "sha256:" + "0" * 64
SIZE = len(DATA)


def layer(digest=DIGEST, size=SIZE, kind=ARTIFACT, **more):
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def manifest(*layers, facts=FACTS, **more):
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "layers": list(layers),
        "annotations": facts,
        **more,
    }


def index(*entries, **more):
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries), **more}


def entry(size=10, facts=FACTS, **more):
    return {"mediaType": MANIFEST, "digest": DIGEST, "size": size, "annotations": facts, **more}


def publish(bad, data=DATA, **more):
    """An artifact of these bytes under the tag; returns its digest."""
    digest = bad.blob(data)
    described = bad.manifest(manifest(layer(digest, len(data), **more)))
    bad.manifest(index({**described, "annotations": FACTS}), "stable", media_type=INDEX)
    return digest


def fetched(bad, folder, **how):
    registry = bad.registry(**how)
    return pull.fetch(registry, pull.find(registry, "host"), folder, unsigned=True)


def test_what_is_as_it_should_be_is_fetched(bad, tmp_path):
    publish(bad)
    assert fetched(bad, tmp_path).read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["net-host.edgec"]


# Documents

MANIFESTS = {
    "a container's image": (
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
        },
        "image.config.v1+json', not an artifact",
    ),
    "a config that is a list": ({"schemaVersion": 2, "mediaType": MANIFEST, "config": []}, "not an artifact"),
    "another type inside": (manifest(layer(), mediaType="text/html"), "It is 'text/html'"),
    "an old schema": (manifest(layer(), schemaVersion=1), "schema version 2"),
    "no layer": (manifest(), "no layer with an artifact"),
    "layers that are none": (manifest(layers={}), "'layers' is no list"),
    "many layers": (manifest(*[layer()] * 2000), "'layers' is no list"),
    "two artifacts": (manifest(layer(), layer()), "two layers"),
    "another layer": (manifest(layer(), layer(kind="application/x-sh")), "layer of the type 'application/x-sh'"),
    "a layer that is text": (manifest("evil"), "layer of the type 'None'"),
    "MD5": (manifest(layer("md5:" + "0" * 32)), "only SHA-256 is taken"),
    "a digest with a path": (manifest(layer("sha256:../../../etc/passwd")), "only SHA-256 is taken"),
    "a digest that goes on": (manifest(layer(DIGEST + "\n")), "only SHA-256 is taken"),
    "no size": (manifest(layer(size=None)), "claims that"),
    "size below zero": (manifest(layer(size=-1)), "claims that"),
    "size of all storage": (manifest(layer(size=1 << 60)), "claims that"),
    "a truth as size": (manifest(layer(size=True)), "claims that"),
    "a huge signature": (manifest(layer(), layer(kind=ENVELOPE, size=1 << 30)), "claims that"),
    "annotations that are a list": (manifest(layer(), facts=[1]), "annotations are not text"),
    "annotations that are numbers": (manifest(layer(), facts={**FACTS, VERSION: 1}), "annotations are not text"),
    "no version": (manifest(layer(), facts={MODEL: "net", TARGET: "host"}), f"{VERSION} is missing"),
    "version below zero": (manifest(layer(), facts={**FACTS, VERSION: "-1"}), "not a name or number"),
    "version in other digits": (manifest(layer(), facts={**FACTS, VERSION: "\u0661"}), "not a name or number"),
    "version without end": (manifest(layer(), facts={**FACTS, VERSION: "9" * 5000}), "not a name or number"),
    "model with a path": (manifest(layer(), facts={**FACTS, MODEL: "../../root"}), "not a name or number"),
    "absolute model": (manifest(layer(), facts={**FACTS, MODEL: "/etc/cron.d/x"}), "not a name or number"),
    "model for a terminal": (manifest(layer(), facts={**FACTS, MODEL: "\x1b[2J"}), "not a name or number"),
    "target with NUL": (manifest(layer(), facts={**FACTS, TARGET: "a\0b"}), "not a name or number"),
    "title with a path": (manifest(layer(annotations={TITLE: "../../.bashrc"})), "not a name or number"),
    "absolute title": (manifest(layer(annotations={TITLE: "/etc/passwd"})), "not a name or number"),
    "nested": (b"[" * 100_000, "not JSON"),
    "not UTF-8": (b'{"\xff": 1}', "not JSON"),
    "a list": (b"[]", "not a manifest"),
}


@pytest.mark.parametrize(("document", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_would_mislead_is_refused(document, message):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Untrusted) as caught:
        documents.read_manifest(content, MANIFEST, parse_reference("localhost/net"))
    assert message in caught.value.why
    assert caught.value.why.isprintable() and caught.value.fix


INDEXES = {
    "no list": (index(manifests={}), "no list of"),
    "without end": (index(*[entry()] * 2000), "no list of"),
    "a manifest of another type": (index(entry(mediaType="text/html")), "lists a 'text/html'"),
    "a target twice": (index(entry(), entry(digest="sha256:" + "1" * 64)), "two releases for one target"),
    "a huge manifest": (index(entry(size=1 << 30)), "claims that"),
    "a model with a path": (index(entry(facts={**FACTS, MODEL: "a/../../b"})), "not a name or number"),
}


@pytest.mark.parametrize(("document", "message"), INDEXES.values(), ids=INDEXES)
def test_an_index_that_would_mislead_is_refused(document, message):
    with pytest.raises(Untrusted) as caught:
        documents.read_index(json.dumps(document).encode(), INDEX, parse_reference("localhost/net"))
    assert message in caught.value.why


def test_entries_of_other_tools_are_passed_over():
    others = [{"artifactType": "x"}, "evil", None, {"mediaType": MANIFEST, "digest": 5}, entry(artifactType="x")]
    listed = documents.read_index(json.dumps(index(*others)).encode(), INDEX, parse_reference("localhost/net"))
    assert listed == []


def test_a_media_type_that_the_registry_makes_up_is_refused(bad, tmp_path):
    publish(bad)
    path = bad.path("manifests/stable")
    bad.content[path] = ("application/vnd.oci.image.manifest.v1+json", bad.content[path][1])
    with pytest.raises(Untrusted, match="does not hold what edgec publishes") as caught:
        fetched(bad, tmp_path)
    assert "sent as" in caught.value.why


def test_an_index_and_a_manifest_that_contradict_each_other_are_refused(bad, tmp_path):
    digest = bad.blob(DATA)
    described = bad.manifest(manifest(layer(digest)))
    lying = {**described, "annotations": {**FACTS, VERSION: "9"}}
    bad.manifest(index(lying), "stable", media_type=INDEX)
    with pytest.raises(Untrusted, match="contradicts itself") as caught:
        fetched(bad, tmp_path)
    assert "net 9 for host" in caught.value.why


def test_a_manifest_for_another_target_is_not_for_this_device(bad, tmp_path):
    digest = bad.blob(DATA)
    described = bad.manifest(manifest(layer(digest)))
    registry = bad.registry(f"models/net@{described['digest']}")
    with pytest.raises(DeviceUnfit, match="is for host, and not for rpi4"):
        pull.find(registry, "rpi4")


def test_a_manifest_that_was_swapped_is_refused(bad, tmp_path):
    publish(bad)
    (under,) = [path for path in bad.content if "manifests/sha256" in path and bad.content[path][0] == MANIFEST]
    bad.content[under] = (MANIFEST, json.dumps(manifest(layer(bad.blob(b"evil"), 4))).encode())
    with pytest.raises(Untrusted, match="another manifest than was asked for"):
        fetched(bad, tmp_path)


def test_a_digest_that_the_registry_announces_wrongly_is_refused(bad, tmp_path):
    publish(bad)
    media_type, data = bad.content[bad.path("manifests/stable")]
    headers = {"Content-Type": media_type, "Docker-Content-Digest": DIGEST}
    bad.answers[bad.path("manifests/stable")] = lambda handler: handler.reply(200, data, headers)
    with pytest.raises(Untrusted, match="another manifest than it says"):
        fetched(bad, tmp_path)


# Bytes


def _endless(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", INDEX)
    handler.end_headers()
    for _ in range(640):
        handler.wfile.write(bytes(100_000))
    handler.close_connection = True


@pytest.mark.parametrize("path", ["manifests/stable", "blob"])
def test_bytes_without_end_are_refused(bad, tmp_path, path):
    digest = publish(bad)
    bad.answers[bad.path(path if path != "blob" else f"blobs/{digest}")] = _endless
    with pytest.raises(Untrusted, match="longer than it may be" if path != "blob" else "sends more than"):
        fetched(bad, tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 0


def test_a_length_that_is_too_large_is_refused_before_anything_comes(bad, tmp_path):
    publish(bad)
    headers = {"Content-Type": INDEX, "Content-Length": str(1 << 40)}
    bad.answers[bad.path("manifests/stable")] = lambda handler: handler.reply(200, b"", headers)
    with pytest.raises(Untrusted, match="longer than it may be"):
        fetched(bad, tmp_path)


def _cut(after):
    """Break the line after so many bytes, whenever the whole blob is asked for."""

    def answer(handler):
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        status = 206 if start else 200
        headers = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(DATA) - start)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(DATA[start : start + after])
        handler.close_connection = True

    return answer


def test_a_line_that_breaks_is_gone_on_with(bad, tmp_path):
    digest = publish(bad)
    bad.answers[bad.path(f"blobs/{digest}")] = _cut(40_000)
    assert fetched(bad, tmp_path).read_bytes() == DATA
    ranges = [headers.get("Range") for _, path, headers in bad.asked if "blobs" in path]
    assert ranges == [None, "bytes=40000-", "bytes=80000-"]


def test_a_line_that_always_breaks_is_given_up_and_gone_on_with_next_time(bad, tmp_path):
    digest = publish(bad)
    answer = bad.path(f"blobs/{digest}")

    def first_bytes_only(handler):
        if handler.headers.get("Range"):
            handler.reply(503)
        else:
            _cut(1000)(handler)

    bad.answers[answer] = first_bytes_only
    with pytest.raises(Unreachable, match="can't answer at the moment"):
        fetched(bad, tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == DATA[:1000]
    bad.answers[answer] = _cut(len(DATA))
    assert fetched(bad, tmp_path).read_bytes() == DATA


def test_a_registry_without_ranges_sends_all_again(bad, tmp_path):
    digest = publish(bad)
    (tmp_path / f".{digest[7:]}.part").write_bytes(DATA[:500])
    assert fetched(bad, tmp_path).read_bytes() == DATA


def test_a_part_that_is_wrong_is_not_gone_on_with_twice(bad, tmp_path):
    digest = publish(bad)
    bad.answers[bad.path(f"blobs/{digest}")] = _cut(len(DATA))
    (tmp_path / f".{digest[7:]}.part").write_bytes(b"evil")
    assert fetched(bad, tmp_path).read_bytes() == DATA


def test_another_part_than_was_asked_for_is_refused(bad, tmp_path):
    digest = publish(bad)
    (tmp_path / f".{digest[7:]}.part").write_bytes(DATA[:500])
    headers = {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
    bad.answers[bad.path(f"blobs/{digest}")] = lambda handler: handler.reply(206, DATA, headers)
    with pytest.raises(Untrusted, match="another part than was asked for"):
        fetched(bad, tmp_path)


def test_a_changed_byte_is_refused_also_after_a_second_look(bad, tmp_path):
    digest = publish(bad)
    evil = DATA[:-1] + b"!"
    (tmp_path / f".{digest[7:]}.part").write_bytes(DATA[:500])
    bad.answers[bad.path(f"blobs/{digest}")] = lambda handler: handler.reply(200, evil)
    with pytest.raises(Untrusted, match="What the registry sent is not"):
        fetched(bad, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_the_registry_says_is_shown_without_what_terminals_obey(bad):
    with pytest.raises(Refused) as caught:
        pull.find(bad.registry(), "host")
    assert "MANIFEST_UNKNOWN not [31mhere" in caught.value.why


# Who one is


def _asked(bad, path):
    return [headers.get("Authorization") for _, asked, headers in bad.asked if asked.partition("?")[0] == path]


def _guard(bad, path, wanted, challenge):
    """Let in only who sends `wanted`."""
    media_type, data = bad.content[path]

    def answer(handler):
        if handler.headers.get("Authorization") == wanted:
            handler.reply(200, data, {"Content-Type": media_type})
        else:
            handler.reply(401, b"{}", {"WWW-Authenticate": challenge})

    bad.answers[path] = answer


@pytest.mark.parametrize("known", [None, Credentials("me", "secret"), Credentials("", "refresh")])
def test_a_token_is_asked_for_where_the_registry_says(bad, tmp_path, known):
    publish(bad)
    challenge = f'Bearer realm="http://{bad.address}/token",service="reg",scope="repository:models/net:pull"'
    for path in list(bad.content):
        _guard(bad, path, "Bearer t0ken", challenge)
    bad.answers["/token"] = lambda handler: handler.reply(200, b'{"token": "t0ken"}')
    assert fetched(bad, tmp_path, credentials=lambda host: known).read_bytes() == DATA
    method, path, headers = next(each for each in bad.asked if each[1].startswith("/token"))
    assert (method == "POST") == (known == Credentials("", "refresh"))
    assert headers.get("Authorization") == (known.basic if known and known.user else None)
    assert method == "POST" or "scope=repository%3Amodels%2Fnet%3Apull" in path
    assert len([each for each in bad.asked if each[1].startswith("/token")]) == 1


def test_who_is_not_let_in_is_told_so_once(bad, tmp_path):
    publish(bad)
    bad.answers[bad.path("manifests/stable")] = lambda handler: handler.reply(
        401, b"", {"WWW-Authenticate": "Basic realm=x"}
    )
    with pytest.raises(Refused, match="does not let this user in"):
        fetched(bad, tmp_path, credentials=lambda host: Credentials("me", "secret"))
    assert len(bad.asked) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\r\\nX-Evil: 1"}', b"[" * 90_000]
)
def test_a_token_that_is_none_is_refused(bad, tmp_path, answer):
    publish(bad)
    _guard(bad, bad.path("manifests/stable"), "never", f'Bearer realm="http://{bad.address}/token"')
    bad.answers["/token"] = lambda handler: handler.reply(200, answer)
    with pytest.raises(Unreachable, match="gave none"):
        fetched(bad, tmp_path)


def test_a_password_is_not_sent_to_where_it_can_be_read(bad, tmp_path):
    """The registry is on this machine, and names a server of tokens elsewhere without TLS; or one that is no server."""
    publish(bad)
    for realm in ("file:///etc/passwd", "ftp://evil", ""):
        _guard(bad, bad.path("manifests/stable"), "never", f'Bearer realm="{realm}"')
        with pytest.raises(Untrusted, match="where passwords are not safe"):
            fetched(bad, tmp_path, credentials=lambda host: Credentials("me", "secret"))


def test_a_redirect_gets_no_password(bad, tmp_path):
    """Registries send those who ask for blobs to their storage, which is somebody else."""
    from tests.shipping.registry.registries import made_up_registry

    digest = publish(bad)
    basic = Credentials("me", "secret").basic
    with made_up_registry() as storage:
        storage.content["/elsewhere"] = ("application/octet-stream", DATA)
        path = bad.path(f"blobs/{digest}")
        for each in list(bad.content):
            _guard(bad, each, basic, "Basic realm=x")
        to = {"Location": f"http://{storage.address}/elsewhere"}
        bad.answers[path] = lambda handler: handler.reply(307, b"", to)
        known = {"credentials": lambda host: Credentials("me", "secret")}
        found = fetched(bad, tmp_path, **known)
        assert found.read_bytes() == DATA
        assert _asked(bad, path) == [basic]
        assert _asked(storage, "/elsewhere") == [None]
        bad.answers[path] = lambda handler: handler.reply(307, b"", {"Location": "file:///etc/passwd"})
        found.unlink()
        with pytest.raises(Unreachable, match="does not follow"):
            fetched(bad, tmp_path, **known)
        bad.answers[path] = lambda handler: handler.reply(307, b"", {"Location": path})
        with pytest.raises(Unreachable, match="from one address to the next"):
            fetched(bad, tmp_path, **known)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://r.example/v2/x", True),
        ("https://R.example:443/v2/x", True),
        ("https://r.example:8443/v2/x", False),
        ("http://r.example/v2/x", False),
        ("https://r.example.evil/v2/x", False),
        ("https://r.example@evil/v2/x", False),
        ("https://r.example:99999999/x", False),
    ],
)
def test_passwords_go_to_the_registry_alone(url, own):
    from edgec.runtime.agent.oci.registry import Registry

    assert Registry(parse_reference("r.example/net"))._is_own(url) == own


def test_the_password_is_in_no_text():
    assert "secret" not in repr(Credentials("me", "secret"))


@pytest.mark.parametrize(
    "config",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"auths": []}',
        b'{"auths": {"h:1": "x"}}',
        b'{"auths": {"h:1": {"auth": "***"}}}',
        b'{"auths": {"h:1": {"auth": "bm9jb2xvbg=="}}}',
        b'{"credHelpers": {"h:1": "../../evil"}}',
        b'{"credsStore": "x; id"}',
        b'{"credsStore": 5}',
        b'{"credsStore": "that-nobody-has"}',
    ],
)
def test_a_configuration_that_is_none_is_named(tmp_path, monkeypatch, config):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(InputError) as caught:
        credentials_for("h:1")
    assert all((caught.value.what, caught.value.why, caught.value.fix))


def test_passwords_of_one_registry_are_not_for_another(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auths = {"h:1": {"auth": base64.b64encode(b"me:sec:ret").decode()}, "h:2": {"identitytoken": "t"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    assert credentials_for("h:1") == Credentials("me", "sec:ret")
    assert credentials_for("h:2") == Credentials("", "t")
    assert credentials_for("h:3") is None


# References


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("registry.example/models/net", ("registry.example", "models/net", "latest", None)),
        ("oci://r.example:5000/net:v1.2", ("r.example:5000", "net", "v1.2", None)),
        ("localhost/a/b-c__d.e:x", ("localhost", "a/b-c__d.e", "x", None)),
        (f"[::1]:5000/net@{DIGEST}", ("[::1]:5000", "net", None, DIGEST)),
        (f"r.example/net:x@{DIGEST}", ("r.example", "net", "x", DIGEST)),
    ],
)
def test_references_are_read_as_written(text, parts):
    found = parse_reference(text)
    assert (found.host, found.repository, found.tag, found.digest) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("", "net", "models/net", "r.example/", "r.example/Net", "r.example/../net", "r.example/a//b"),
        *("r.example/net:", "r.example/net:a b", "r.example/net@sha256:12", "r.example/net@md5:" + "0" * 32),
        *(
            "https://r.example/net",
            "user:pw@r.example/net",
            "r.example/net?x",
            "-r.example/net",
            "r.example/" + "a" * 300,
        ),
        *("r.example/net\n", "r.example/a/" + "-" * 200, "r.example:99999999/net"),
    ],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InputError, match="not a reference"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("localhost:1", "http"),
        ("127.0.0.1:1", "http"),
        ("[::1]:1", "http"),
        ("10.0.0.1", "https"),
        ("r.example", "https"),
    ],
)
def test_without_tls_goes_nothing_but_to_this_machine(host, scheme):
    from edgec.runtime.agent.oci.registry import Registry

    reference = parse_reference(f"{host}/net")
    assert Registry(reference).base.startswith(f"{scheme}://")
    assert Registry(reference, plain_http=True).base.startswith("http://")


def test_release_numbers_do_not_go_back(bad):
    from edgec.runtime.agent.release import Release

    publish(bad)
    found = pull.find(bad.registry(), "host")
    running = Release("net", 1, found.content.artifact.digest[7:], 1, "host", None, "file")
    pull.check_order(found, running, older=False)
    pull.check_order(found, replace(running, version=None, sha256="1" * 64), older=False)
    for other in (replace(running, version=2), replace(running, sha256="1" * 64)):
        with pytest.raises(Untrusted, match="than the one that runs"):
            pull.check_order(found, other, older=False)
        pull.check_order(found, other, older=True)


def test_every_refusal_has_three_parts(bad, tmp_path):
    with pytest.raises(ArtifactFailure) as caught:
        fetched(bad, tmp_path)
    assert all((caught.value.what, caught.value.why, caught.value.fix))
