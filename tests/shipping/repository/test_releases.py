"""Channels, rollouts and revocations: rules on one document, tried by hand and at random."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgec.errors import UsageError
from edgec.runtime.agent.rollout import bucket, decide
from edgec.shipping.repository import releases

MODEL = "net"
CHANNELS = ("stable", "canary")


def empty():
    return {"schema": 1, "target": "rpi4", "models": {}}


def with_release(document, version):
    paths = {"artifact": f"rpi4/net/{version}.edgec", "signature": None, "chunks": None}
    return releases.add(document, MODEL, {"version": version, "sha256": f"{version:064d}", **paths})


def published(*versions, channel="stable"):
    """Versions published to all, one after the other."""
    document = empty()
    for version in versions:
        document = releases.assign(with_release(document, version), MODEL, channel, version, None)
    return document


def channel_of(document, name="stable"):
    return document["models"][MODEL]["channels"].get(name)


def test_rollout_leaves_the_rest_on_what_all_had():
    document = releases.assign(with_release(published(1), 2), MODEL, "stable", 2, 0.1)
    assert channel_of(document) == {"version": 2, "rollout": 0.1, "before": 1, "paused": False}
    document = releases.set_share(document, MODEL, "stable", 1.0)
    assert channel_of(document) == {"version": 2, "rollout": 1.0, "before": 1, "paused": False}


def test_first_release_may_go_to_a_part_while_the_rest_has_nothing_yet():
    document = releases.assign(with_release(empty(), 1), MODEL, "stable", 1, 0.1)
    assert channel_of(document) == {"version": 1, "rollout": 0.1, "before": None, "paused": False}
    fleet = [f"device-{number}" for number in range(200)]
    given = {device: decide(device, MODEL, document["models"][MODEL], "stable", None) for device in fleet}
    assert {each.version for each in given.values()} == {1, None}
    assert all((given[device].version == 1) == (bucket(device, MODEL, 1) < 0.1) for device in fleet)
    left_out = next(each for each in given.values() if each.version is None)
    assert left_out.reason == "version 1 is rolled out to 10 % of the devices, and this is not one of them yet"
    to_all = releases.assign(with_release(document, 2), MODEL, "stable", 2, None)
    assert channel_of(to_all) == {"version": 2, "rollout": 1.0, "before": None, "paused": False}
    with pytest.raises(UsageError, match="would be left without a release"):
        releases.revoke(document, MODEL, 1, "why")


def test_no_partial_rollout_on_top_of_another():
    document = releases.assign(with_release(published(1), 2), MODEL, "stable", 2, 0.1)
    document = with_release(document, 3)
    with pytest.raises(UsageError, match="net@2 is only at 10%"):
        releases.assign(document, MODEL, "stable", 3, 0.1)
    to_all = releases.assign(document, MODEL, "stable", 3, 1.0)
    assert channel_of(to_all)["before"] == 1  # what all had: 2 never reached them


def test_revoking_gives_back_what_was_before():
    document = releases.assign(with_release(published(1), 2), MODEL, "stable", 2, 0.1)
    document = releases.revoke(document, MODEL, 2, "wrong labels")
    assert channel_of(document) == {"version": 1, "rollout": 1.0, "before": None, "paused": False}
    assert document["models"][MODEL]["revoked"] == {"2": "wrong labels"}
    with pytest.raises(UsageError, match="net@2 is revoked"):
        releases.assign(document, MODEL, "stable", 2, None)


def test_revoking_never_leaves_a_channel_empty_unless_told():
    with pytest.raises(UsageError, match="would be left without a release"):
        releases.revoke(published(1), MODEL, 1, "why")
    assert channel_of(releases.revoke(published(1), MODEL, 1, "why", leave_empty=True)) is None
    other = with_release(published(1), 2)
    assert channel_of(releases.revoke(other, MODEL, 1, "why", to=2))["version"] == 2
    with pytest.raises(UsageError, match="can't take the place"):
        releases.revoke(other, MODEL, 1, "why", to=1)


def test_revoking_what_most_devices_have():
    document = releases.assign(with_release(published(1), 2), MODEL, "stable", 2, 0.1)
    with pytest.raises(UsageError, match="90% of the devices"):
        releases.revoke(document, MODEL, 1, "why")
    document = releases.set_share(document, MODEL, "stable", 1.0)
    assert channel_of(releases.revoke(document, MODEL, 1, "why"))["before"] is None


def test_promotion_and_unknown_names():
    document = releases.assign(with_release(published(1), 2), MODEL, "canary", 2, None)
    promoted = releases.promote(document, MODEL, None, "canary", "stable", 0.1)
    assert channel_of(promoted) == {"version": 2, "rollout": 0.1, "before": 1, "paused": False}
    with pytest.raises(UsageError, match="no release in channel 'canari'") as raised:
        releases.promote(document, MODEL, None, "canari", "stable", None)
    assert "Did you mean 'canary'?" in raised.value.why
    with pytest.raises(UsageError, match="There is no net@9"):
        releases.promote(document, MODEL, 9, "canary", "stable", None)
    with pytest.raises(UsageError, match="has no model 'nets'"):
        releases.set_share(document, "nets", "stable", 1.0)


def test_pruning_keeps_what_channels_name_and_the_newest():
    document = releases.assign(published(1, 2, 3, 4, 5), MODEL, "canary", 1, None)
    document = releases.revoke(document, MODEL, 3, "why")
    pruned, paths = releases.prune(document, 1)
    assert list(pruned["models"][MODEL]["releases"]) == ["1", "4", "5"]  # 4: what channel stable had before
    assert paths == ["rpi4/net/2.edgec", "rpi4/net/3.edgec"]
    assert pruned["models"][MODEL]["revoked"] == {"3": "why"}
    for known in (document, pruned):
        with pytest.raises(UsageError, match="net@3 is revoked"):
            releases.refuse_revoked(known, MODEL, document["models"][MODEL]["releases"]["3"]["sha256"])
        releases.refuse_revoked(known, MODEL, document["models"][MODEL]["releases"]["2"]["sha256"])
    assert releases.newest_version([pruned], MODEL) == 5
    assert set(releases.revoke(pruned, MODEL, 2, "on devices yet")["models"][MODEL]["revoked"]) == {"2", "3"}
    with pytest.raises(UsageError, match="There is no net@6"):
        releases.revoke(pruned, MODEL, 6, "why")


class Publisher(RuleBasedStateMachine):
    """Whatever a publisher does in whatever order: what holds, holds, and a refusal changes nothing."""

    def __init__(self):
        super().__init__()
        self.document = published(1)
        self.newest = 1

    def attempt(self, edit, *arguments, **options):
        before = repr(self.document)
        try:
            self.document = edit(self.document, MODEL, *arguments, **options)
        except UsageError as error:
            assert error.what and error.why and error.fix
            assert repr(self.document) == before

    version = st.integers(1, 8)
    channel = st.sampled_from(CHANNELS)
    share = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0])

    @rule(channel=channel, share=st.none() | share)
    def publish(self, channel, share):
        self.newest = releases.newest_version([self.document], MODEL) + 1
        self.document = with_release(self.document, self.newest)
        self.attempt(releases.assign, channel, self.newest, share)

    @rule(channel=channel, share=share)
    def rollout(self, channel, share):
        self.attempt(releases.set_share, channel, share)

    @rule(channel=channel, paused=st.booleans())
    def pause(self, channel, paused):
        self.attempt(releases.set_paused, channel, paused)

    @rule(version=st.none() | version, source=channel, channel=channel, share=st.none() | share)
    def promote(self, version, source, channel, share):
        self.attempt(releases.promote, version, source, channel, share)

    @rule(version=version, to=st.none() | version, leave_empty=st.booleans())
    def revoke(self, version, to, leave_empty):
        self.attempt(releases.revoke, version, "why", to=to, leave_empty=leave_empty)

    @rule(keep=st.integers(1, 3))
    def prune(self, keep):
        self.document, _ = releases.prune(self.document, keep)

    @invariant()
    def channels_name_what_is_there(self):
        entry = self.document["models"][MODEL]
        for now in entry["channels"].values():
            for named in (now["version"], now["before"]):
                assert named is None or (str(named) in entry["releases"] and str(named) not in entry["revoked"])
            assert now["version"] != now["before"]

    @invariant()
    def versions_only_ascend(self):
        assert releases.newest_version([self.document], MODEL) == self.newest

    @invariant()
    def every_device_is_told_what_is_there(self):
        entry = self.document["models"][MODEL]
        for channel, now in entry["channels"].items():
            for device in ("a", "b", "c"):
                version = decide(device, MODEL, entry, channel, None).version
                expected = now["version"] if bucket(device, MODEL, now["version"]) < now["rollout"] else now["before"]
                assert version == (now["before"] if now["paused"] else expected)


TestPublisher = Publisher.TestCase
TestPublisher.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
