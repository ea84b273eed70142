"""Whether this machine can stand in for a target."""

from __future__ import annotations

import pytest

from edgec.runners import native
from edgec.targets import Target


def target(arch="x86_64", features=()):
    return Target("t", "A target", arch, tuple(features), 0, ("openvino",))


@pytest.fixture
def machine(monkeypatch):
    """This machine, pretending to be another."""

    def pretend(arch, features):
        monkeypatch.setattr(native.platform, "machine", lambda: arch)
        monkeypatch.setattr(native, "host_features", lambda: tuple(features))

    return pretend


def test_another_architecture_does_not_run(machine):
    machine("x86_64", ["avx2"])
    answer = native.suitability(target("aarch64"))
    assert not answer.runs
    assert "aarch64" in answer.reason


def test_a_missing_feature_is_named(machine):
    machine("x86_64", ["avx2"])
    answer = native.suitability(target(features=["avx2", "avx512_vnni"]))
    assert not answer.runs
    assert "avx512_vnni" in answer.reason
    assert "avx2," not in answer.reason


@pytest.mark.parametrize(
    ("features", "isa"),
    [
        (["avx", "avx2", "fma"], "AVX2"),
        (["avx2", "avx_vnni"], "AVX2_VNNI"),
        (["avx2", "avx512f", "avx512bw"], "AVX512_CORE"),
        (["avx2", "avx512bw", "avx512_vnni"], "AVX512_CORE_VNNI"),
    ],
)
def test_a_richer_machine_is_held_back_to_what_the_target_has(machine, features, isa):
    machine("x86_64", [*features, "amx_int8"])
    assert native.suitability(target(features=features)).runs
    assert native.environment(target(features=features)) == {"ONEDNN_MAX_CPU_ISA": isa}


def test_an_equal_machine_needs_no_holding_back(machine):
    machine("x86_64", ["avx2"])
    assert native.environment(target(features=["avx2"])) == {}
