"""Publishing to a real registry and fetching from it; and what is refused when somebody was at its files."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import pytest

from edgec.errors import ArtifactError, DeviceError, Unreachable, UsageError
from edgec.runtime.agent.commands import main as edgec_device
from edgec.runtime.agent.locks import held
from edgec.runtime.agent.oci import documents
from edgec.runtime.agent.oci.reference import parse_reference
from edgec.runtime.agent.oci.registry import Registry
from edgec.runtime.agent.signatures import envelope_beside
from edgec.runtime.errors import Busy
from edgec.shipping.registry.fetching import fetch
from edgec.shipping.registry.publishing import publish
from edgec.shipping.registry.upload import Blob, Uploader
from edgec.shipping.signing import keys
from tests.shipping.registry.registries import PASSWORD, USER, real_registry
from tests.shipping.small_artifacts import artifact, sign


@pytest.fixture
def net(tmp_path, key):
    """An artifact that no other test has: a registry keeps equal bytes once, and some tests damage them."""
    return sign(artifact(tmp_path / "dist", weights=str(tmp_path).encode()), key[0])


def _digests(registry, reference, path):
    """(manifest, artifact, signature) that are published for `path`'s target, by digest."""
    manifest = publish([path], reference)[0].reference.digest
    layers = json.loads(registry.blob(manifest).read_bytes())["layers"]
    return manifest, *(layer["digest"] for layer in layers)


def _damage(registry, digest, change):
    file = registry.blob(digest)
    file.write_bytes(change(file.read_bytes()))


def test_what_is_published_is_fetched(real, net, key, tmp_path):
    _, reference = real
    (published,) = publish([net], reference, signed_by=[key[1]])
    assert (published.model, published.target, published.version, published.signed) == ("net", "host", 1, True)
    fetched = fetch(reference, tmp_path / "out", keys=[key[1]])
    assert fetched.path.name == "net-host.edgec"
    assert fetched.path.read_bytes() == net.read_bytes()
    assert envelope_beside(fetched.path).read_bytes() == envelope_beside(net).read_bytes()
    assert len(fetched.signers) == 1
    by_digest = fetch(str(published.reference), tmp_path / "again", keys=[key[1]], target="host")
    assert by_digest.path.read_bytes() == net.read_bytes()


def test_what_is_there_is_not_sent_again(real, net):
    _, reference = real
    first, second = publish([net], reference)[0], publish([net], reference)[0]
    assert first.changed and first.sent > first.bytes
    assert not second.changed and second.sent == 0
    assert second.reference == first.reference and second.version == 1


def test_each_target_has_its_own_and_keeps_it(real, net, tmp_path):
    _, reference = real
    board = artifact(tmp_path / "board", target="rpi4", arch="aarch64")
    publish([net, board], reference)
    assert [each.version for each in publish([artifact(tmp_path / "new", weights=b"2")], reference)] == [2]
    assert fetch(reference, tmp_path / "a", target="rpi4").path.read_bytes() == board.read_bytes()
    assert fetch(reference, tmp_path / "b", target="host").version == 2
    with pytest.raises(DeviceError, match="has nothing for rpi2") as caught:
        fetch(reference, tmp_path / "c", target="rpi2")
    assert "host, rpi4" in caught.value.why
    with pytest.raises(DeviceError, match="releases for several targets"):
        fetch(reference, tmp_path / "c")


def test_other_tools_find_provenance_and_platform(real, net):
    """An index with platforms, an artifact type, and referrers: here by the tag for registries that know none."""
    registry, reference = real
    (published,) = publish([net], reference)
    client = Registry(parse_reference(reference))
    index = json.loads(client.manifest("stable")[0])
    assert index["manifests"][0]["platform"]["os"] == "linux"
    manifest = json.loads(client.manifest(published.reference.digest)[0])
    assert manifest["artifactType"] == documents.ARTIFACT_TYPE
    assert [layer["mediaType"] for layer in manifest["layers"]] == [documents.ARTIFACT, documents.ENVELOPE]
    listed = json.loads(client.manifest(published.reference.digest.replace(":", "-"))[0])["manifests"]
    assert [each["artifactType"] for each in listed] == [documents.PROVENANCE]
    referrer = json.loads(client.manifest(listed[0]["digest"])[0])
    assert referrer["subject"]["digest"] == published.reference.digest
    statement = json.loads(registry.blob(referrer["layers"][0]["digest"]).read_bytes())
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (apt-get install skopeo)")
def test_skopeo_copies_it_and_the_copy_can_be_fetched(real, net, key, tmp_path):
    _, reference = real
    board = sign(artifact(tmp_path / "board", target="rpi4", arch="aarch64"), key[0])
    publish([net, board], reference)
    elsewhere = reference.replace("/net:", "/mirror:")
    insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--all", *insecure, f"docker://{reference}", f"docker://{elsewhere}"], check=True
    )
    assert fetch(elsewhere, tmp_path / "out", target="host", keys=[key[1]]).path.read_bytes() == net.read_bytes()


def test_a_large_file_goes_in_chunks(real, tmp_path):
    _, reference = real
    place = tmp_path / "large"
    place.write_bytes(bytes(range(256)) * 1000)
    client = Registry(parse_reference(reference))
    uploader, blob = Uploader(client, chunk=100_000), Blob.of(place)
    assert uploader.blob(blob)
    with client.blob(blob.digest) as reply:
        assert b"".join(reply.body) == place.read_bytes()
    assert not uploader.blob(blob)


# What does not fit together


def test_a_tag_leads_to_one_model_and_each_target_once(real, net, tmp_path):
    _, reference = real
    with pytest.raises(UsageError, match="for one target, host"):
        publish([net, artifact(tmp_path / "b", weights=b"2")], reference)
    other = artifact(tmp_path / "c", name="other")
    with pytest.raises(UsageError, match="is another model"):
        publish([net, other], reference)
    publish([net], reference)
    with pytest.raises(UsageError, match="holds another model: net"):
        publish([other], reference)


def test_numbers_do_not_go_back(real, net, tmp_path):
    _, reference = real
    publish([net], reference, version=7)
    new = artifact(tmp_path / "new", weights=b"2")
    for number in (6, 7):
        with pytest.raises(UsageError, match="can't be published"):
            publish([new], reference, version=number)
    assert publish([new], reference)[0].version == 8


def test_nothing_of_others_is_replaced(real, net, tmp_path):
    _, reference = real
    uploader = Uploader(Registry(parse_reference(reference)))
    empty = Blob.of(b"{}")
    uploader.blob(empty)
    config = empty.described("application/vnd.oci.image.config.v1+json").to_json()
    image = {"schemaVersion": 2, "mediaType": documents.MANIFEST, "config": config, "layers": []}
    uploader.manifest("stable", json.dumps(image).encode(), documents.MANIFEST)
    with pytest.raises(UsageError, match="edgec did not publish"):
        publish([net], reference)
    with pytest.raises(ArtifactError, match="not an artifact of edgec's: a container's image"):
        fetch(reference, tmp_path / "out")


# Somebody was at the registry's files


def test_a_changed_byte_is_refused(real, net, tmp_path):
    registry, reference = real
    _, blob, _ = _digests(registry, reference, net)
    _damage(registry, blob, lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(ArtifactError, match="What the registry sent is not") as caught:
        fetch(reference, tmp_path / "out")
    assert "another SHA-256" in caught.value.why
    assert not any((tmp_path / "out").iterdir())


def test_a_blob_that_was_cut_off_is_refused(real, net, tmp_path):
    registry, reference = real
    _, blob, _ = _digests(registry, reference, net)
    _damage(registry, blob, lambda data: data[:200])
    with pytest.raises(Unreachable, match="ends too early"):
        fetch(reference, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if not path.name.endswith(".part")]


def test_a_blob_that_grew_is_refused(real, net, tmp_path):
    registry, reference = real
    _, blob, _ = _digests(registry, reference, net)
    _damage(registry, blob, lambda data: data + b"more")
    with pytest.raises(ArtifactError, match="sends more than"):
        fetch(reference, tmp_path / "out")


def test_a_blob_that_is_gone_is_named(real, net, tmp_path):
    registry, reference = real
    _, blob, _ = _digests(registry, reference, net)
    registry.blob(blob).unlink()
    with pytest.raises(Unreachable, match="The registry has no"):
        fetch(reference, tmp_path / "out")


def test_a_manifest_that_was_swapped_is_refused(real, net, tmp_path):
    """Under the digest that the index names there is the manifest of another artifact."""
    registry, reference = real
    manifest, *_ = _digests(registry, reference, net)
    other, *_ = _digests(registry, reference + "2", _strangers(tmp_path))
    registry.blob(manifest).write_bytes(registry.blob(other).read_bytes())
    with pytest.raises((ArtifactError, Unreachable)):
        fetch(reference, tmp_path / "out")


def _strangers(folder):
    return sign(artifact(folder / "other", weights=f"other {folder}".encode()), _new_key(folder))


def _new_key(folder):
    keys.generate(folder / "stranger", folder / "stranger.pub")
    return folder / "stranger"


def test_a_signature_of_another_artifact_is_refused(real, net, key, tmp_path):
    registry, reference = real
    _, _, envelope = _digests(registry, reference, net)
    other = sign(artifact(tmp_path / "other", weights=b"2"), key[0])
    _damage(registry, envelope, lambda data: envelope_beside(other).read_bytes().ljust(len(data)))
    with pytest.raises(ArtifactError):
        fetch(reference, tmp_path / "out", keys=[key[1]])


def test_who_signed_is_asked(real, key, tmp_path):
    _, reference = real
    publish([_strangers(tmp_path)], reference)
    with pytest.raises(ArtifactError, match="by none of the trusted keys"):
        fetch(reference, tmp_path / "out", keys=[key[1]])
    assert not any((tmp_path / "out").iterdir())


def test_a_signature_is_asked_for(real, key, tmp_path):
    _, reference = real
    publish([artifact(tmp_path / "plain")], reference)
    with pytest.raises(ArtifactError, match="is not signed") as caught:
        fetch(reference, tmp_path / "out", keys=[key[1]])
    assert "edgec sign" in caught.value.fix
    assert fetch(reference, tmp_path / "out").signers == ()


# Who one is


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with real_registry(tmp_path_factory.mktemp("guarded"), authenticated=True) as made:
        yield made


def _log_in(monkeypatch, folder, **entry):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(entry))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


def test_a_registry_with_passwords_lets_in_who_logged_in(guarded, net, tmp_path, monkeypatch):
    reference = f"{guarded.address}/models/net"
    with pytest.raises(Unreachable, match="does not let this user in") as caught:
        publish([net], reference)
    assert "docker login" in caught.value.fix
    auth = base64.b64encode(f"{USER}:wrong".encode()).decode()
    _log_in(monkeypatch, tmp_path / "docker", auths={guarded.address: {"auth": auth}})
    with pytest.raises(Unreachable, match="does not let this user in"):
        publish([net], reference)
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    _log_in(monkeypatch, tmp_path / "docker", auths={guarded.address: {"auth": auth}})
    publish([net], reference)
    assert fetch(reference, tmp_path / "out").version == 1


def test_a_program_that_keeps_passwords_is_asked(guarded, net, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "docker-credential-vault"
    program.parent.mkdir()
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    program.write_text(f"#!/bin/sh\nread host; [ \"$host\" = {guarded.address} ] && [ $1 = get ] && echo '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    _log_in(monkeypatch, tmp_path / "docker", credHelpers={guarded.address: "vault"})
    assert publish([net], f"{guarded.address}/models/helped")[0].changed


# A device


@pytest.fixture
def device(tmp_path, key):
    root = tmp_path / "device"
    assert edgec_device(["init", "--root", str(root), "--target", "host", "--trust-key", str(key[1])]) == 0
    return root


def _installed(root):
    release = json.loads((root / "models/net/current/release.json").read_text())
    return release["version"], release["origin"]


def _install(root, reference, *more):
    return edgec_device(["install", "--root", str(root), "--oci", reference, "--quiet", *more])


def test_a_device_takes_its_own_from_a_tag(real, net, device, tmp_path, key, capsys):
    _, reference = real
    board = sign(artifact(tmp_path / "board", target="rpi4", arch="aarch64"), key[0])
    published = {each.target: each for each in publish([net, board], reference)}
    assert _install(device, reference) == 0
    assert _installed(device) == (1, f"oci {published['host'].reference}")
    assert [path.name for path in (device / "downloads/oci").iterdir()] == ["lock"]
    capsys.readouterr()
    assert _install(device, reference) == 0
    assert "ran already" in capsys.readouterr().out
    out = tmp_path / "fetched"
    assert edgec_device(["fetch", "--root", str(device), "--oci", reference, "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(out / "net-host.edgec")


def test_two_agents_do_not_write_into_one_download(real, net, device, capsys):
    _, reference = real
    publish([net], reference)
    conf = device / "device.conf"
    conf.write_text(conf.read_text().replace("[limits]", "[limits]\nlock_wait = 0"))
    lock = device / "downloads/oci/lock"
    lock.parent.mkdir(parents=True)
    with held(lock, 0, Busy("busy")):
        assert _install(device, reference) == 75
    assert "Another edgec-device downloads from a registry" in capsys.readouterr().err
    assert _install(device, reference) == 0


def test_a_tag_that_was_moved_back_is_not_followed(real, net, device, tmp_path, key, capsys):
    _, reference = real
    publish([net], reference)
    old = Registry(parse_reference(reference)).manifest("stable")[0]
    publish([sign(artifact(tmp_path / "new", weights=b"2"), key[0])], reference)
    assert _install(device, reference) == 0
    Uploader(Registry(parse_reference(reference))).manifest("stable", old, documents.INDEX)
    capsys.readouterr()
    assert _install(device, reference) == 9
    said = capsys.readouterr().err
    assert "offers an older release than the one that runs: 1 after 2" in said
    assert "--older" in said
    assert _installed(device)[0] == 2
    assert _install(device, reference, "--older") == 0
    assert _installed(device)[0] == 1


def test_another_artifact_under_the_same_number_is_not_followed(real, net, device, tmp_path, key, capsys):
    _, reference = real
    publish([net], reference)
    assert _install(device, reference) == 0
    elsewhere = reference.replace("/net:", "/other:")
    publish([sign(artifact(tmp_path / "new", weights=b"2"), key[0])], elsewhere)
    assert _install(device, elsewhere) == 9
    assert "another release 1 than the one that runs" in capsys.readouterr().err


def test_an_artifact_under_another_name_is_refused(real, net, device, key, capsys):
    """Well signed, for another model than the registry says: it would take that model's slot."""
    _, reference = real
    (published,) = publish([net], reference)
    client = Registry(parse_reference(reference))
    document = json.loads(client.manifest(published.reference.digest)[0])
    document["annotations"][documents.MODEL] = "brakes"
    lying = json.dumps(document).encode()
    digest = Blob.of(lying).digest
    Uploader(client).manifest(digest, lying, documents.MANIFEST)
    assert _install(device, str(client.reference.at(digest))) == 9
    assert "is not what the registry calls it" in capsys.readouterr().err
    assert not list((device / "downloads/oci").glob("*.edgec*"))


def test_a_device_runs_nothing_that_strangers_signed(real, device, tmp_path, capsys):
    _, reference = real
    publish([_strangers(tmp_path)], reference)
    assert _install(device, reference) == 9
    assert "by none of the trusted keys" in capsys.readouterr().err
    assert not list((device / "downloads/oci").glob("*.edgec*"))
    publish([artifact(tmp_path / "plain", weights=b"3")], reference)
    assert _install(device, reference) == 9
    assert "is not signed" in capsys.readouterr().err
    assert not (device / "models/net/current").exists()
