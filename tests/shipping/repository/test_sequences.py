"""Long sequences of commands in random order: an old and a new client of TUF's own accept each state."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from edgec.errors import UsageError
from edgec.shipping.repository import releases, rotation
from edgec.shipping.repository.inspection import check
from edgec.shipping.repository.publishing import change
from edgec.shipping.repository.rotation import KeyChange
from edgec.shipping.repository.upkeep import prune, refresh
from tests.shipping.repositories import artifact, repository

NOW = datetime.now(UTC)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_state_is_accepted(tmp_path, device, seed):
    draw = random.Random(seed)
    made = repository(tmp_path, artifact(tmp_path / "0"))
    old = device(made)
    count = 0

    def publish():
        nonlocal count
        count += 1
        targets = draw.sample(["rpi4", "host", "rpi5"], draw.randint(1, 2))
        files = [artifact(tmp_path / str(count), target=target, weights=b"%d" % count) for target in targets]
        made.publish(*files, channel=draw.choice(["stable", "canary"]), share=draw.choice([None, 0.1, 1.0]))

    def edit(function):
        channel = draw.choice(["stable", "canary"])
        change(made.folder, made.ring, NOW, "net", lambda document: function(document, channel), ["rpi4"])

    commands = (
        publish,
        publish,
        lambda: edit(lambda document, channel: releases.set_share(document, "net", channel, draw.choice([0.5, 1.0]))),
        lambda: edit(lambda document, channel: releases.set_paused(document, "net", channel, draw.random() < 0.5)),
        lambda: edit(lambda document, channel: releases.promote(document, "net", None, "canary", channel, None)),
        lambda: edit(lambda document, channel: releases.revoke(document, "net", draw.randint(1, 5), "why")),
        lambda: refresh(made.folder, made.ring, NOW, draw.choice([[], ["root"], ["targets"], ["snapshot", "rpi4"]])),
        lambda: rotation.rotate(
            made.folder,
            made.ring,
            NOW,
            draw.choice(["root", "targets", "snapshot", "timestamp", "rpi4"]),
            KeyChange(compromised=draw.random() < 0.5),
        ),
        lambda: prune(made.folder, made.ring, NOW + timedelta(days=2), draw.choice([None, 1, 3])),
    )
    refused = 0
    for step in range(40):
        try:
            draw.choice(commands)()
        except UsageError as error:
            assert error.what and error.why and error.fix
            refused += 1
        if step % 4 == 0:
            assert old.releases() == device(made).releases()
            assert check(made.folder, NOW).problems == ()
    assert refused < 20
    (stable,) = [now for name, now in old.releases()["models"]["net"]["channels"].items() if name == "stable"]
    assert old.fetch(f"rpi4/net/{stable['version']}.edgec").startswith(b"#!")
