"""`edgec publish` and `edgec fetch` as people type them."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgec.cli.fetch import command as fetch_command
from edgec.cli.publish import command as publish_command
from edgec.errors import ArtifactError, EdgecError, UsageError
from edgec.shipping.signing import keys
from tests.shipping.repositories import artifact, repository


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with a folder of keys and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEC_KEYS_DIR", str(tmp_path / "keys"))
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEC_REPO", raising=False)
    return tmp_path


def run(command, words):
    result = CliRunner().invoke(command, words.split(), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def publish(words):
    return run(publish_command, words).stdout


def fetch(words):
    return run(fetch_command, words)


def test_life_of_a_repository(place):
    artifact(place / "dist")
    artifact(place / "dist", target="host")
    assert "keys" in publish("init --repo fleet")
    (folder,) = (place / "keys").iterdir()
    assert folder.name.startswith("fleet-")
    assert "net@1" in publish("dist/net-rpi4.edgec dist/net-host.edgec --repo fleet")
    assert "as before: 100%" in publish("--repo fleet dist/net-rpi4.edgec")
    artifact(place / "dist", weights=b"2")
    assert "net@2  rpi4  stable 10%" in publish("dist/net-rpi4.edgec --repo fleet --rollout 10%")
    changed = publish("rollout net 50% --repo fleet --target rpi4")
    assert changed == "rpi4 net stable: net@2 10%, else net@1 -> net@2 50%, else net@1\n"
    assert "(paused)" in publish("pause net --repo fleet -t rpi4")
    assert publish("pause net --repo fleet -t rpi4") == "no channel changed\n"
    assert publish("resume net --repo fleet -t rpi4").endswith("50%, else net@1\n")
    assert publish("promote net@2 --repo fleet --to beta -t rpi4") == "rpi4 net beta: nothing -> net@2\n"
    assert "net@2 50%, else net@1 -> net@1" in publish("revoke net@2 --repo fleet --reason wrong --to 1")
    assert publish("check --repo fleet").startswith("sound: root version 1, ")
    assert "signed timestamp" in publish("refresh --repo fleet")
    assert "root version 2 is published" in publish("rotate timestamp --repo fleet")
    assert "timestamp-2.key" in publish("status --repo fleet")
    assert "rpi4 net@2 is gone" in publish("prune --keep 1 --repo fleet")
    (folder / "root.key").rename(place / "safe.key")
    assert "1 of 1" not in publish("rotate root --repo fleet --key safe.key")
    document = json.loads(publish("status --repo fleet --json"))
    assert document["targets"]["rpi4"]["net"]["revoked"] == {"2": "wrong"}
    assert [role["name"] for role in document["roles"]] == [
        *("root", "timestamp", "snapshot", "targets", "rpi4", "host")
    ]
    assert all(len(line) <= 120 for line in publish("status --repo fleet").splitlines() if not line.startswith("keys"))


def test_first_release_to_a_part(place):
    """What the README shows: the others are said to have nothing yet, and a client finds the repository sound."""
    artifact(place / "dist")
    publish("init --repo fleet")
    assert "net@1  rpi4  stable 10%, else nothing yet  " in publish("dist/net-rpi4.edgec --repo fleet --rollout 10%")
    assert "stable  1 to 10%, else nothing yet\n" in publish("status --repo fleet")
    assert publish("check --repo fleet").startswith("sound: ")
    changed = publish("rollout net 100% --repo fleet")
    assert changed == "rpi4 net stable: net@1 10%, else nothing yet -> net@1\n"
    (one,) = json.loads(publish("dist/net-rpi4.edgec --repo fleet --json"))["published"]
    assert (one["rollout"], one["before"]) == (1.0, None)


def test_root_keys_of_several_people(place):
    for name in ("a", "b"):
        keys.generate(place / f"{name}.key", place / f"{name}.pub")
    assert "waits" in publish("init --repo fleet --root-key a.pub --root-key b.pub --threshold 2")
    with pytest.raises(UsageError, match="Nobody is there to look at the root"):
        publish("sign-root --repo fleet --key a.key")
    assert "1 of 2 signatures" in publish("sign-root --repo fleet --key a.key --yes")
    carried = place / "carried.json"
    carried.write_bytes((place / "fleet" / ".edgec" / "pending-root.json").read_bytes())
    assert "has 2 signatures" in publish("sign-root carried.json --key b.key --yes")
    assert "root version 1 is published" in publish("sign-root --repo fleet --signed carried.json")
    artifact(place / "dist")
    assert "net@1" in publish("dist/net-rpi4.edgec --repo fleet")
    assert "root version 2 waits" in publish("rotate root --threshold 1 --repo fleet --key a.key")
    assert json.loads(publish("sign-root --repo fleet --discard --json"))["discarded"]
    assert json.loads(publish("status --repo fleet --json"))["pending_root"] is None


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("dist/net-rpi4.edgec --repo none", "none holds no repository"),
        ("dist/none.edgec --repo fleet", "dist/none.edgec can't be read"),
        ("dist/net-rpi4.edgec --repo fleet --rollout 10", "'10' is not a share of devices"),
        ("dist/net-rpi4.edgec --repo fleet --rollout 101%", "'101%' is not a share of devices"),
        ("dist/net-rpi4.edgec --repo fleet --channel 3", "'3' can't be the name of a channel"),
        ("dist/net-rpi4.edgec --repo fleet --channel a/b", "'a/b' can't be the name of a channel"),
        ("dist/net-rpi4.edgec --repo fleet --require-signed", "dist/net-rpi4.edgec is not signed"),
        ("dist/space.edgec --repo fleet", "'my net' can't be the name of a model in a repository"),
        ("dist/root.edgec --repo fleet", "'root' can't be the name of a target in a repository"),
        ("dist/net-rpi4.edgec dist/other.edgec --repo fleet", "both net for rpi4"),
        ("rollout nett 10% --repo fleet", "The repository has no model 'nett'"),
        ("rollout net 10% --repo fleet -t rpi5", "The repository has no target 'rpi5'"),
        ("revoke net --repo fleet --reason x", "net does not say which version"),
        ("revoke net@x --repo fleet --reason x", "'net@x' is not a release"),
        ("revoke net@1 --repo fleet --reason x", "would be left without a release"),
        ("rotate --repo fleet", "It is not said whose keys are to change"),
        ("rotate rpi5 --repo fleet", "The repository has no role 'rpi5'"),
        ("rotate timestamp --remove abc --repo fleet", "timestamp has no key abc"),
        ("rotate --expires timestamp --repo fleet", "--expires 'timestamp' has no '='"),
        ("init --repo fleet", "fleet holds a repository already"),
        ("init --repo new --threshold 2", "The threshold of root can't be 2"),
        ("init --repo new --expires nobody=2d", "A new repository has no role 'nobody'"),
        ("init --repo new --keys new/keys", "lies inside the repository"),
        ("sign-root --repo fleet --yes", "No root of fleet waits for signatures"),
        ("sign-root", "It is not said which root is to be signed"),
        ("refresh --repo fleet --key none.key", "The key none.key can't be read"),
        ("prune --repo fleet --keep 0", "--keep 0 keeps nothing"),
    ],
)
def test_wrong_use_says_what_why_and_what_to_do(place, words, what):
    artifact(place / "dist")
    artifact(place / "dist", weights=b"2", file="other.edgec")
    artifact(place / "dist", target="host", file="host.edgec")
    artifact(place / "dist", name="my net", file="space.edgec")
    artifact(place / "dist", target="root", file="root.edgec")
    publish("init --repo fleet")
    publish("dist/net-rpi4.edgec --repo fleet")
    before = sorted(place.rglob("*"))
    with pytest.raises(EdgecError) as raised:
        publish(words)
    assert what in raised.value.what
    assert raised.value.why and raised.value.fix
    assert sorted(place.rglob("*")) == before


def test_misspelt_command(place):
    result = CliRunner().invoke(publish_command, ["stauts"])
    assert result.exit_code == 2 and "Did you mean 'status'?" in result.stderr


def test_check_exits_with_nine(place):
    made = repository(place, artifact(place / "1"), now=datetime.now(UTC) - timedelta(days=3))
    result = CliRunner().invoke(publish_command, ["check", "--repo", str(made.folder)], standalone_mode=False)
    assert result.return_value == 9
    assert "problem: clients refuse the metadata: timestamp.json is expired" in result.stdout
    with pytest.raises(ArtifactError):
        (made.folder / "metadata" / "timestamp.json").write_text("{}")
        publish(f"check --repo {made.folder}")


def test_fetching_what_was_published(place):
    made = repository(place, artifact(place / "1"))
    new = artifact(place / "2", weights=b"2")
    made.publish(new, channel="canary")
    known = f"--repo {made.folder} --trust-root {made.folder}/metadata/1.root.json -t rpi4"
    assert fetch(f"{known} -o got").stdout.startswith("got/net-rpi4.edgec  net@1  ")
    assert (place / "got" / "net-rpi4.edgec").read_bytes() == (place / "1" / "net-rpi4.edgec").read_bytes()
    assert "was there already" in fetch(f"{known} -o got net@1").stdout
    document = json.loads(fetch(f"{known} -o got net@canary --json").stdout)
    assert document["fetched"][0]["version"] == 2
    assert (place / "got" / "net-rpi4.edgec").read_bytes() == new.read_bytes()
    for words, what in {
        "nett": "rpi4 has no model 'nett'",
        "net@9": "There is no net@9",
        "net@beta": "no release in channel 'beta'",
        "net@": "'net@' is not a release",
        "net --signed-by 1/none.pub": "net for rpi4 is not signed",
    }.items():
        with pytest.raises(UsageError) as raised:
            fetch(f"{known} -o other {words}")
        assert what in raised.value.what
    with pytest.raises(UsageError, match="has nothing for the target 'rpi5'"):
        fetch(known.replace("rpi4", "rpi5"))
    with pytest.raises(UsageError, match="holds no repository"):
        fetch(f"--repo {place}/2 --trust-root {made.folder}/metadata/1.root.json -t rpi4")


def test_fetching_is_not_deceived(place):
    made = repository(place, artifact(place / "1"))
    stranger = repository(place / "s", artifact(place / "1"))
    known = f"--repo {made.folder} -t rpi4 -o got"
    with pytest.raises(ArtifactError):
        fetch(f"{known} --trust-root {stranger.folder}/metadata/1.root.json")
    (payload,) = (made.folder / "targets" / "rpi4" / "net").glob("*.1.edgec")
    content = bytearray(payload.read_bytes())
    content[100] ^= 1
    payload.write_bytes(content)
    with pytest.raises(ArtifactError, match="is not the file that was signed"):
        fetch(f"{known} --trust-root {made.folder}/metadata/1.root.json")
    assert not (place / "got" / "net-rpi4.edgec").exists()


def _documented():
    """The commands that docs/publishing.md shows, without the remarks beside them."""
    page = Path(__file__).resolve().parents[2] / "docs" / "publishing.md"
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith(("    edgec publish ", "    edgec fetch ")):
            yield re.split(r" {3,}", line.strip())[0]


@pytest.mark.parametrize("line", sorted(set(_documented())))
def test_documented_commands_are_understood(line):
    _, verb, *words = shlex.split(line)
    command = publish_command if verb == "publish" else fetch_command
    result = CliRunner().invoke(
        command, [*words, "--help"]
    )  # flags that are not there are refused before help is shown
    assert result.exit_code == 0, result.output
