"""Any sequence of installations, starts, confirmations, rollbacks, kills and rot leaves a model that loads."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgec.runtime.agent import install as installing
from edgec.runtime.agent.settings import Settings
from edgec.runtime.agent.slots import Slots
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import InputError, RolledBack, SelftestFailed
from tests.runtime.agent import small

_CALLS = ("write", "fsync", "mkdir", "rename", "symlink", "unlink", "rmdir", "chmod", "fchmod")


class Killed(BaseException):
    """Nothing catches it, so nothing is cleaned up: as after SIGKILL."""


@contextlib.contextmanager
def killed_at(number: int | None):
    """End what runs in the block at this call that writes; None lets it run."""
    left = [number or -1]

    def wrapped(real):
        def call(*arguments, **keywords):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*arguments, **keywords)

        return call

    with contextlib.ExitStack() as patches, contextlib.suppress(Killed):
        for name in _CALLS:
            patches.enter_context(mock.patch.object(os, name, wrapped(getattr(os, name))))
        yield


_KILLS = st.one_of(st.none(), st.integers(1, 60))


class Device(RuleBasedStateMachine):
    """A device with one model. Versions 0 to 5 exist; health command and self-test answer as hypothesis wants."""

    def __init__(self):
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="edgec-slots-", dir=memory if os.access(memory, os.W_OK) else None))
        self.releases = [small.write_small(self.folder / f"{number}.edgec", f"version {number}") for number in range(6)]
        self.healthy = True
        self.installed_once = False
        self.patches = contextlib.ExitStack()
        for name, stub in {
            "check": lambda needs, target, python: [],
            "check_free_memory": lambda needs: None,
            "check_health": lambda slot, settings: None if self.healthy else "no camera",
        }.items():
            self.patches.enter_context(mock.patch.object(installing, name, stub))

    def teardown(self):
        self.patches.close()
        shutil.rmtree(self.folder)

    @initialize(keep=st.integers(2, 4), confirm=st.sampled_from(["health", "application"]), starts=st.integers(1, 3))
    def configure(self, keep, confirm, starts):
        root = self.folder / "root"
        command = ("true",) if confirm == "health" else ()
        self.settings = Settings(
            root, keep=keep, confirm=confirm, starts=starts, health_command=command, lock_wait=0, use_wait=0
        )
        self.slots = Slots(root, "net", keep)

    @rule(number=st.integers(0, 5), works=st.booleans(), healthy=st.booleans(), retry=st.booleans(), kill=_KILLS)
    def install(self, number, works, healthy, retry, kill):
        def check(artifact, settings):
            if not works:
                raise SelftestFailed("The self-test failed")

        self.healthy = healthy
        with killed_at(kill), contextlib.suppress(RolledBack, SelftestFailed):
            outcome = installing.install(
                self.settings.root,
                self.folder / f"{number}.edgec",
                self.releases[number],
                self.settings,
                retry=retry,
                check_artifact=check,
            )
            assert self.slots.current().release == outcome.release == self.releases[number]
        self.installed_once = self.installed_once or self.slots.current() is not None

    @rule(kill=_KILLS)
    def start(self, kill):
        with killed_at(kill):
            installing.started(self.settings.root, "net", self.settings)

    @rule(healthy=st.booleans(), kill=_KILLS)
    def end_the_trial(self, healthy, kill):
        self.healthy = healthy
        with killed_at(kill), contextlib.suppress(RolledBack):
            installing.settle(self.settings.root, "net", self.settings)

    @rule(kill=_KILLS)
    def confirm(self, kill):
        with killed_at(kill), self.slots.lock(0):
            self.slots.recover()
            self.slots.confirm()

    @rule(kill=_KILLS)
    def roll_back(self, kill):
        with killed_at(kill), contextlib.suppress(InputError):
            left, runs = installing.go_back(self.settings.root, "net", self.settings)
            assert self.slots.current().release == runs != left
            assert left.sha256 in self.slots.state().failed

    @rule()
    @precondition(lambda self: self.installed_once)
    def rot(self):
        """The running version's file loses its end, while there is another one."""
        with self.slots.lock(0):
            self.slots.recover()
            previous, current = self.slots.previous(), self.slots.current()
            if len(self.slots.installed()) > 1:
                current.artifact.write_bytes(current.artifact.read_bytes()[:-7])
                self.slots.recover()
                assert self.slots.current() != current
                assert previous is None or self.slots.current() == previous

    @rule()
    @precondition(lambda self: self.installed_once)
    def lose_the_state(self):
        (self.slots.folder / "state.json").write_bytes(b'{"schema": 1, "tri')

    @invariant()
    def the_model_loads(self):
        if self.installed_once:
            assert Bundle.open(self.slots.current().artifact)

    @invariant()
    def all_is_in_order_after_recover(self):
        if not self.installed_once:
            return
        with self.slots.lock(0):
            self.slots.recover()
            assert self.slots.recover() == []
        current, previous, state = self.slots.current(), self.slots.previous(), self.slots.state()
        assert previous is None or (previous != current and previous.release.sha256 not in state.failed)
        assert state.trial is None or state.trial.slot == current.name
        assert {path.name for path in self.slots.folder.glob(".*")} <= {".staged"}
        if current.release.sha256 in state.failed:
            assert all(slot.release.sha256 in state.failed for slot in self.slots.installed())


TestDevice = Device.TestCase
TestDevice.settings = settings(
    max_examples=40, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
