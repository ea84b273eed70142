"""`edgec-device update` from a repository to what applications load, through real installations."""

import copy
import json
import random
import shutil
from datetime import UTC, datetime
from functools import partial

import pytest

from edgec.runtime.agent import compatibility
from edgec.runtime.agent import update as updating
from edgec.runtime.agent.commands import main
from edgec.runtime.agent.install import install
from edgec.runtime.agent.locks import held
from edgec.runtime.agent.rollout import bucket
from edgec.runtime.agent.signatures import verify_envelope
from edgec.runtime.agent.slots import Slots
from edgec.runtime.errors import Busy
from edgec.shipping.repository import releases
from edgec.shipping.repository.publishing import change
from edgec.shipping.signing.keys import generate
from tests.runtime.agent import servers
from tests.shipping.repositories import repository
from tests.shipping.small_artifacts import artifact, sign

FIRST = random.Random(1).randbytes(200_000)
NOW = datetime.now(UTC).replace(microsecond=0)
INSIDE = next(f"d{n}" for n in range(1000) if bucket(f"d{n}", "net", 2) < 0.1)
OUTSIDE = next(f"d{n}" for n in range(1000) if bucket(f"d{n}", "net", 2) >= 0.1)


@pytest.fixture(scope="session")
def first_release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first-release")
    return repository(folder, artifact(folder / "dist", weights=FIRST), now=NOW)


@pytest.fixture
def unchecked(monkeypatch):
    """No processes in which artifacts check themselves: most tests here are about other things."""
    monkeypatch.setattr(updating, "install", partial(install, check_artifact=lambda artifact, settings: None))
    monkeypatch.setattr(
        compatibility, "_installed", lambda python, names: compatibility._Installed((3, 11), {"numpy": "2"})
    )


@pytest.fixture
def world(first_release, tmp_path, capsys):
    """A repository with net 1 for this machine, on a server; and a device that was set up to follow it."""
    shutil.copytree(first_release.keys.parent, tmp_path / "publisher")
    published = type(first_release)(tmp_path / "publisher" / "repo", tmp_path / "publisher" / "keys")
    with servers.serving(published.folder) as server:
        yield World(published, server, tmp_path, capsys)


class World:
    def __init__(self, published, server, folder, capsys):
        self.repository, self.server, self.folder, self.capsys = published, server, folder, capsys
        self.root = folder / "device"
        root = folder / "root.json"
        root.write_bytes(published.root)
        self.command("init", "--target", "host", "--url", server.url, "--id", OUTSIDE, "--trust-root", str(root))

    def command(self, verb, *arguments):
        code = main([verb, "--root", str(self.root), "--json", *arguments])
        self.messages = self.capsys.readouterr()
        document = json.loads(self.messages.out)
        assert document.get("exit_code", 0) == code
        return document

    def update(self, *arguments):
        document = self.command("update", *arguments)
        self.server.asked, asked = [], self.server.asked
        document["asked"] = asked
        return document

    def configure(self, section, line):
        path = self.root / "device.conf"
        path.write_text(path.read_text().replace(f"[{section}]\n", f"[{section}]\n{line}\n"))

    def publish(self, weights=b"2", folder="newer", sign_with=None, **options):
        made = artifact(
            self.folder / folder, weights=weights, **{k: options.pop(k) for k in ("failing", "arch") if k in options}
        )
        if sign_with is not None:
            sign(made, sign_with)
        self.repository.publish(made, now=NOW, **options)

    def edit(self, edit):
        change(self.repository.folder, self.repository.ring, NOW, "net", edit)

    @property
    def version(self):
        """What applications load."""
        slot = Slots(self.root, "net").current()
        assert slot is None or slot.artifact.read_bytes()
        return slot and slot.release.version


def make_key(stem):
    """A new key's file; the public one lies beside it."""
    generate(stem.with_suffix(".key"), stem.with_suffix(".pub"))
    return stem.with_suffix(".key")


def test_a_device_installs_what_is_published_and_follows(world):
    first = world.update()
    (model,) = first["models"]
    assert (model["model"], model["status"], model["release"]["version"]) == ("net", "installed", 1)
    assert model["release"]["origin"] == f"tuf {world.server.url}"
    assert model["received_bytes"] == model["release"]["bytes"]
    assert world.version == 1
    world.publish()
    second = world.update()
    assert second["models"][0]["before"]["version"] == 1
    assert world.version == 2


def test_an_update_without_news_is_two_requests_and_installs_nothing(unchecked, world):
    world.update()
    again = world.update()
    assert again["models"][0]["status"] == "current"
    assert [path for path, _ in again["asked"]] == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_person_reads_what_happened(unchecked, world, capsys):
    assert main(["update", "--root", str(world.root)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("net 1 runs now, before it nothing (")
    assert main(["update", "--root", str(world.root)]) == 0
    assert capsys.readouterr().out == "net 1 runs: version 1 is what the channel stable has\n"


def test_only_what_changed_is_downloaded(unchecked, world):
    world.update()
    world.publish(FIRST[:100_000] + b"another" + FIRST[100_000:])
    model = world.update()["models"][0]
    assert model["status"] == "installed"
    assert model["received_bytes"] + model["reused_bytes"] == model["release"]["bytes"]
    assert model["reused_bytes"] > 0.5 * model["release"]["bytes"]


def test_fetch_downloads_and_leaves_the_rest_for_an_update_without_a_line(unchecked, world):
    fetched = world.command("fetch")["models"][0]
    assert fetched["status"] == "fetched" and fetched["file"].startswith(str(world.root / "downloads"))
    assert world.version is None
    world.server.asked.clear()
    assert world.update()["models"][0]["received_bytes"] == 0
    assert world.version == 1


def test_a_rollout_reaches_the_devices_whose_turn_it_is(unchecked, world):
    world.update()
    world.publish(share=0.1)
    assert "not one of them yet" in world.update()["models"][0]["reason"]
    assert world.version == 1
    world.configure("device", f"# {OUTSIDE}")
    path = world.root / "device.conf"
    path.write_text(path.read_text().replace(f"id = {OUTSIDE}", f"id = {INSIDE}"))
    world.update()
    assert world.version == 2


def test_a_revoked_version_is_left_and_the_one_before_is_not_downloaded_again(unchecked, world):
    world.update()
    world.publish()
    world.update()
    world.edit(lambda document: releases.revoke(document, "net", 2, "it sees cats everywhere"))
    model = world.update()["models"][0]
    assert "it sees cats everywhere" in model["reason"]
    assert (world.version, model["received_bytes"]) == (1, 0)


def test_a_revoked_version_is_not_gone_back_to(unchecked, world):
    world.update()
    world.publish()
    world.update()
    world.edit(lambda document: releases.revoke(document, "net", 2, "it sees cats everywhere"))
    world.update()
    (why,) = Slots(world.root, "net").state().failed.values()
    assert why == "Revoked: it sees cats everywhere"
    assert world.command("rollback")["exit_code"] == 2
    assert world.version == 1
    assert world.update()["models"][0]["status"] == "current"


def test_a_revoked_version_is_better_than_one_that_fails(unchecked, world):
    world.update()
    world.publish()
    world.update()
    world.edit(lambda document: releases.revoke(document, "net", 2, "it sees cats everywhere"))
    world.configure("health", "command = false")
    assert world.update()["error"]["kind"] == "RolledBack"
    assert world.version == 2


def test_a_pinned_version_stays(unchecked, world):
    world.update()
    world.publish()
    world.configure("device", "pin = net@1")
    assert "pinned" in world.update()["models"][0]["reason"]
    assert world.version == 1


def test_a_version_that_fails_its_self_test_is_not_tried_again(world):
    world.update()
    world.publish(failing=True)
    failed = world.update()
    assert (failed["exit_code"], failed["models"][0]["status"]) == (6, "failed")
    assert world.version == 1
    again = world.update()
    assert "is not tried again" in again["error"]["what"]
    assert all("edgec" not in path for path, _ in again["asked"])
    assert world.update("--retry")["error"]["kind"] == "SelftestFailed"


def test_a_failure_is_said_once(unchecked, world, capsys):
    world.update()
    world.configure("health", "command = false")
    world.publish()
    assert main(["update", "--root", str(world.root)]) == 6
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("failed, and net 1") == told.err.count("The health command failed") == 1
    assert "why: The health command failed. It ended with code 1." in told.err


@pytest.fixture
def owner(unchecked, world):
    """The key file of who makes the artifacts, which the device trusts beside the repository's keys; net 1 runs."""
    world.update()
    maker = make_key(world.folder / "maker")
    public = maker.with_suffix(".pub")
    world.command("init", "--trust-key", str(public))
    return maker


def test_a_device_with_keys_asks_for_their_signature_too(owner, world):
    world.publish(sign_with=owner)
    assert world.update()["models"][0]["status"] == "installed"
    slot = Slots(world.root, "net").current()
    assert slot.release.version == 2
    envelope = (slot.folder / "model.edgec.dsse.json").read_bytes()
    assert verify_envelope(envelope, slot.artifact, [owner.with_suffix(".pub")]).sha256 == slot.release.sha256


def refused_for_its_signature(world):
    """What the device says; nothing of the artifact was asked for, and what ran runs on."""
    document = world.update()
    assert (document["exit_code"], document["error"]["kind"]) == (9, "Untrusted")
    assert not any(path.endswith((".edgec", ".chunks")) for path, _ in document["asked"])
    assert world.version == 1
    return document["error"]["what"]


def test_a_release_without_a_signature_of_its_own_is_refused_by_a_device_with_keys(owner, world):
    world.publish()
    assert "was published without a signature of its own" in refused_for_its_signature(world)
    assert Slots(world.root, "net").state().failed == {}
    world.publish(sign_with=owner)  # the same bytes: the signature is added to the release
    assert world.update()["models"][0]["release"]["version"] == world.version == 2


def test_a_release_signed_by_others_is_refused_by_a_device_with_keys(owner, world):
    world.publish(sign_with=make_key(world.folder / "stranger"))
    assert "is signed, but by none of the trusted keys" in refused_for_its_signature(world)


def test_a_release_with_the_signature_of_another_file_is_refused(owner, world):
    """As the repository's keys alone could publish it."""
    world.publish(FIRST, folder="first", sign_with=owner)
    world.publish(sign_with=owner)

    def swap(document):
        listed = copy.deepcopy(document)
        versions = listed["models"]["net"]["releases"]
        versions["2"]["signature"] = versions["1"]["signature"]
        return listed

    world.edit(swap)
    assert "is of another file" in refused_for_its_signature(world)


def test_a_signature_is_asked_for_also_of_what_was_fetched_before(unchecked, world):
    world.command("fetch")
    world.command("init", "--trust-key", str(make_key(world.folder / "maker").with_suffix(".pub")))
    assert "without a signature of its own" in world.update()["error"]["what"]
    assert world.version is None


def test_what_does_not_fit_is_not_downloaded(unchecked, world):
    world.update()
    world.publish(arch="riscv64")
    refused = world.update()
    assert (refused["exit_code"], refused["error"]["kind"]) == (10, "DeviceUnfit")
    assert not any("edgec" in path or "chunks" in path for path, _ in refused["asked"])
    assert world.version == 1


def test_a_lost_network_leaves_what_runs_and_the_next_run_goes_on(unchecked, world, monkeypatch):
    monkeypatch.setattr(updating, "_limits", lambda settings: servers.QUICK)
    world.update()
    world.publish(bytes(range(256)) * 1000)
    world.server.break_off(r"2\.edgec", servers.first_then(servers.cut_off(100_000), servers.status(503)))
    lost = world.update()
    assert (lost["exit_code"], world.version) == (69, 1)
    world.server.faults.clear()
    done = world.update()["models"][0]
    assert done["resumed_bytes"] > 0
    assert world.version == 2


def test_one_model_that_fails_leaves_the_others_to_their_luck(unchecked, world):
    other = artifact(world.folder / "other", name="other", weights=b"x")
    world.repository.publish(other, now=NOW)
    world.server.break_off(r"net/.*edgec", servers.changed)
    document = world.update()
    assert document["exit_code"] == 9
    assert document["error"]["what"] == "1 of 2 models could not be brought up to date"
    assert [(each["model"], each["status"]) for each in document["models"]] == [
        ("net", "failed"),
        ("other", "installed"),
    ]
    assert Slots(world.root, "other").current().release.version == 1


def test_models_are_chosen_by_pattern_and_by_name(unchecked, world):
    world.repository.publish(artifact(world.folder / "other", name="other", weights=b"x"), now=NOW)
    world.configure("device", "models = oth*")
    assert [each["model"] for each in world.update()["models"]] == ["other"]
    assert [each["model"] for each in world.update("net")["models"]] == ["net"]
    assert world.update("nett")["exit_code"] == 2


def test_a_version_that_waits_for_applications_is_not_downloaded_again(unchecked, world, monkeypatch):
    world.update()
    world.configure("limits", "use_wait = 0")
    world.publish()
    with held(Slots(world.root, "net").use_lock, 0, Busy(""), shared=True):
        assert world.update()["exit_code"] == 75
    assert world.version == 1
    assert world.update()["models"][0]["received_bytes"] == 0
    assert world.version == 2


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda root: (root / "trust" / "root.json").unlink(), "does not know whom to trust"),
        (lambda root: (root / "device.conf").write_text("[device]\ntarget = host\n"), "follows no repository"),
        (lambda root: (root / "device.conf").unlink(), "is not a device's folder"),
    ],
)
def test_a_device_that_was_not_set_up_says_what_is_missing(unchecked, world, spoil, what):
    spoil(world.root)
    document = world.update()
    assert document["exit_code"] == 2
    assert what in document["error"]["what"]
