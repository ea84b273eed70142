"""What is published is what TUF's own client gets; versions, channels, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgec.errors import ArtifactError, UsageError
from edgec.shipping.repository import releases
from edgec.shipping.repository.publishing import change
from edgec.shipping.repository.transaction import Transaction
from edgec.shipping.signing import keys
from edgec.shipping.signing.envelope import sign
from tests.shipping.repositories import artifact, repository


def test_reference_client_gets_what_was_published(tmp_path, device):
    files = [artifact(tmp_path / "dist"), artifact(tmp_path / "dist", target="host")]
    made = repository(tmp_path, *files)
    one = device(made)
    assert one.version() == 1
    release = one.releases()["models"]["net"]["releases"]["1"]
    assert one.fetch(release["artifact"]) == files[0].read_bytes()
    assert release["needs"] == {
        "arch": "aarch64",
        "cpu_features": ["asimd"],
        "min_glibc": "2.17",
        "memory_bytes": None,
        "format_version": 1,
        "python": "3.9",
        "engine": {"name": "tflite", "distribution": "ai-edge-litert", "minimum_version": "2.1.0"},
    }
    assert one.releases("host")["models"]["net"]["releases"]["1"]["bytes"] == files[1].stat().st_size


def test_same_artifact_twice_changes_nothing(tmp_path):
    file = artifact(tmp_path / "dist")
    made = repository(tmp_path, file)
    before = sorted(path.name for path in made.folder.rglob("*"))
    (again,) = made.publish(file, share=0.1)
    assert (again.version, again.is_new, again.changed, again.rollout) == (1, False, False, 1.0)
    assert sorted(path.name for path in made.folder.rglob("*")) == before


def test_versions_ascend_together_on_all_targets(tmp_path):
    made = repository(tmp_path, artifact(tmp_path / "1"))
    published = made.publish(artifact(tmp_path / "2", weights=b"2"), artifact(tmp_path / "2", target="host"))
    assert [each.version for each in published] == [2, 2]


def test_damaged_artifact_is_not_published(tmp_path, device):
    made = repository(tmp_path, artifact(tmp_path / "1"))
    bad = artifact(tmp_path / "2", weights=b"2")
    content = bytearray(bad.read_bytes())
    content[content.index(b"2")] ^= 1
    bad.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        made.publish(artifact(tmp_path / "3", target="host"), bad)
    assert device(made).version() == 1
    assert not (made.folder / "targets" / "host").exists()


@pytest.fixture
def key(tmp_path):
    keys.generate(tmp_path / "maker.key", tmp_path / "maker.pub")
    return keys.signer(str(tmp_path / "maker.key"))


def test_signature_is_published_beside_its_artifact(tmp_path, device, key):
    made = repository(tmp_path)
    file = artifact(tmp_path / "1")
    envelope = sign(file, [key]).envelope
    made.publish(file, signed_by=[tmp_path / "maker.pub"])
    one = device(made)
    assert one.fetch(one.releases()["models"]["net"]["releases"]["1"]["signature"]) == envelope.read_bytes()


def test_release_that_is_signed_later_gets_its_signature(tmp_path, device, key):
    file = artifact(tmp_path / "1")
    made = repository(tmp_path, file)
    one = device(made)
    assert one.releases()["models"]["net"]["releases"]["1"]["signature"] is None
    envelope = sign(file, [key]).envelope
    (again,) = made.publish(file)
    assert (again.version, again.is_new, again.changed) == (1, False, True)
    assert one.fetch(one.releases()["models"]["net"]["releases"]["1"]["signature"]) == envelope.read_bytes()
    assert not made.publish(file)[0].changed


def test_signature_that_does_not_fit_is_refused(tmp_path, key):
    made = repository(tmp_path)
    file = artifact(tmp_path / "1")
    with pytest.raises(UsageError, match="is not signed"):
        made.publish(file, require_signed=True)
    envelope = sign(file, [key]).envelope
    keys.generate(tmp_path / "other.key", tmp_path / "other.pub")
    with pytest.raises(ArtifactError, match="none of the trusted keys"):
        made.publish(file, signed_by=[tmp_path / "other.pub"])
    artifact(tmp_path / "1", weights=b"built anew")
    with pytest.raises(ArtifactError, match="is the signature of another file"):
        made.publish(file)
    envelope.write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="not a DSSE envelope"):
        made.publish(file)
    assert made.ring.folder and not (made.folder / "targets").exists()


def test_artifact_that_changes_while_it_is_published(tmp_path, monkeypatch):
    made = repository(tmp_path, artifact(tmp_path / "1"))
    file = artifact(tmp_path / "2", weights=b"2")
    commit = Transaction.commit

    def change_before(transaction):
        file.write_bytes(file.read_bytes() + b"x")
        commit(transaction)

    monkeypatch.setattr(Transaction, "commit", change_before)
    with pytest.raises(ArtifactError, match="changed while it was being published"):
        made.publish(file)
    assert not list((made.folder / "targets" / "rpi4" / "net").glob("*.2.edgec"))


def test_promotion_and_revocation_spare_targets_without_that_version(tmp_path, device):
    made = repository(tmp_path, artifact(tmp_path / "1"), artifact(tmp_path / "1", target="host"))
    made.publish(artifact(tmp_path / "2", weights=b"2"))
    now = datetime.now(UTC)
    changes = change(
        made.folder,
        made.ring,
        now,
        "net",
        lambda document: releases.promote(document, "net", 2, "", "beta", None),
        fits=releases.has(2),
    )
    assert [each.target for each in changes] == ["rpi4"]
    changes = change(
        made.folder,
        made.ring,
        now,
        "net",
        lambda document: releases.revoke(document, "net", 2, "why", to=1),
        fits=releases.ever_had(2),
    )
    assert {each.target for each in changes} == {"rpi4"}
    assert device(made).version() == device(made).version(target="host") == 1
