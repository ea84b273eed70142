"""Where an artifact is executed: natively, on an emulated device, or nowhere, and what is said of it."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from edgec.emulator.machine import Machine
from edgec.errors import ToolMissing
from edgec.runners import native
from edgec.runners.execution import NATIVE, Execution, choose, described, machine_of
from edgec.targets import host_features, load_target
from tests.runners.fake_machine import FakeMachine, FakeQemu, FakeRoot

X86 = "x86_64"
EMULATED = Execution("qemu", "qemu-aarch64:cortex-a72", "1.2.3", "d" * 64)


@pytest.fixture
def here(monkeypatch):
    """Pretend that this machine is another one."""

    def set_machine(arch):
        monkeypatch.setattr(native.platform, "machine", lambda: arch)

    set_machine(X86)
    return set_machine


@pytest.fixture
def device(monkeypatch):
    """What Machine.of finds; nothing may be asked for without it."""

    def set_device(machine):
        def of(target):
            if isinstance(machine, Exception):
                raise machine
            return machine

        monkeypatch.setattr(Machine, "of", of)

    set_device(AssertionError("nobody may look for an emulator"))
    return set_device


def test_this_machine_where_it_can_stand_in(here, device):
    target = replace(load_target("rpi4"), arch=X86, features=())
    assert choose(target, "no engine", emulate=True) == NATIVE


def test_an_arm_machine_needs_no_emulator_for_its_own_kind(here, device, monkeypatch):
    here("aarch64")
    monkeypatch.setattr(native, "host_features", lambda: ("asimd", "crc32"))
    assert choose(load_target("rpi4"), "", emulate=True) == NATIVE


def test_an_arm_machine_whose_engines_would_take_other_kernels_is_emulated_where_that_can_be(here, device, monkeypatch):
    here("aarch64")
    device(FakeMachine(core="cortex-a72"))
    monkeypatch.setattr(native, "host_features", lambda: ("asimd", "asimddp", "crc32"))
    assert choose(load_target("rpi4"), "", emulate=True).place == "qemu"
    assert choose(load_target("rpi4"), "", emulate=False) == NATIVE
    assert choose(load_target("rpi4"), "no engine", emulate=True) == NATIVE
    assert choose(replace(load_target("rpi4"), emulator=None), "", emulate=True) == NATIVE


def test_an_arm_machine_that_lacks_a_feature_is_emulated(here, device, monkeypatch):
    here("aarch64")
    device(FakeMachine(core="cortex-a76"))
    monkeypatch.setattr(native, "host_features", lambda: ("asimd",))
    assert choose(load_target("rpi5"), "", emulate=True).label == "qemu-aarch64:cortex-a76"


def test_the_emulator_where_this_machine_can_not(here, device):
    device(FakeMachine())
    assert choose(load_target("rpi4"), "", emulate=True) == EMULATED


def test_what_is_part_of_a_key_names_no_place(here, device):
    device(FakeMachine())
    assert not [value for value in asdict(choose(load_target("rpi4"), "", emulate=True)).values() if "/" in value]


def test_a_missing_emulator_is_an_error_and_no_fallback(here, device):
    device(ToolMissing("There is no root"))
    with pytest.raises(ToolMissing):
        choose(load_target("rpi4"), "", emulate=True)


@pytest.mark.parametrize(
    ("name", "against", "emulate", "why"),
    [
        ("rpi4", "", False, "and --no-emulate leaves out its emulator"),
        ("rpi4", "it has no such engine", True, "; it has no such engine"),
    ],
)
def test_what_is_not_executed_says_why(here, device, name, against, emulate, why):
    found = choose(load_target(name), against, emulate)
    assert not found.executes
    assert (found.place, found.label) == ("none", "none")
    assert found.reason.startswith("the target is aarch64, and this machine is x86_64")
    assert found.reason.endswith(why)


def test_a_target_without_an_emulator(here, device):
    target = replace(load_target("rpi4"), emulator=None)
    assert choose(target, "", emulate=True).reason == "the target is aarch64, and this machine is x86_64"


def test_a_feature_that_is_missing_here(here, device, monkeypatch):
    target = replace(load_target("host"), arch=X86, features=("amx_int8",))
    monkeypatch.setattr(native, "host_features", lambda: tuple(set(host_features()) - {"amx_int8"}))
    assert choose(target, "", emulate=True).reason == "this machine's CPU lacks amx_int8, which the target has"


def test_the_device_is_found_again_where_it_is_needed(here, device):
    machine = FakeMachine()
    device(machine)
    assert machine_of(load_target("rpi4"), EMULATED) is machine
    assert machine_of(load_target("rpi4"), NATIVE) is None


@pytest.mark.parametrize("other", [FakeMachine(qemu=FakeQemu(version="9.0")), FakeMachine(root=FakeRoot(digest="e"))])
def test_a_device_that_changed_meanwhile_is_not_taken_for_the_first(here, device, other):
    device(other)
    with pytest.raises(ToolMissing, match="changed while the build ran"):
        machine_of(load_target("rpi4"), EMULATED)


EMULATOR = {"name": "qemu-aarch64", "version": "7.2.22", "core": "cortex-a72", "root": "d"}


@pytest.mark.parametrize(
    ("parity", "words"),
    [
        ({"runner": "native", "executed_samples": 64}, "this machine, 64 samples"),
        ({"runner": "native", "executed_samples": 1}, "this machine, 1 sample"),
        (
            {"runner": "qemu-aarch64:cortex-a72", "executed_samples": 31, "emulator": EMULATOR},
            "qemu-aarch64 7.2.22 as cortex-a72, 31 samples; emulated: says nothing about speed",
        ),
        (
            {
                "runner": "qemu-aarch64:cortex-a72",
                "executed_samples": 8,
                "emulator": EMULATOR,
                "idle_accelerator": "Edge TPU",
            },
            "qemu-aarch64 7.2.22 as cortex-a72, 8 samples; emulated: says nothing about speed; "
            "the Edge TPU did not run",
        ),
        ({"runner": "none", "executed_samples": 0, "not_executed": "no room"}, "not executed: no room"),
    ],
)
def test_where_it_was_executed_is_said_in_a_line(parity, words):
    known = {"emulator": None, "idle_accelerator": None, "not_executed": ""}
    assert described({"samples": 64, **known, **parity}) == words


def test_the_document_of_an_emulated_device():
    assert EMULATED.emulator == {"name": "qemu-aarch64", "version": "1.2.3", "core": "cortex-a72", "root": "d" * 64}
    assert NATIVE.emulator is None
