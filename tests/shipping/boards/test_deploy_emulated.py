"""Deploying to an emulated Raspberry Pi 5: a real sshd, behind which every Python is the root's, under QEMU, with the
target's core. Agent, engine and self-test run there as ARM code."""

from __future__ import annotations

import shlex

from edgec.shipping.agent_program import program
from edgec.shipping.boards import deploy, parallel
from edgec.shipping.boards.hosts import Host
from edgec.shipping.boards.packages import read_packages
from edgec.shipping.signing import keys
from tests import boards
from tests.shipping import small_artifacts


def python_of(machine, folder):
    """A folder for PATH whose python3 is the machine's; it starts itself again under its own name."""
    folder.mkdir()
    wrapper = folder / "python3"
    (qemu, *words), environment = machine.python([])
    setting = [f"{name}={value}" for name, value in environment.items()]
    command = shlex.join(["env", *setting, qemu, "-0", str(wrapper), *words])
    wrapper.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    wrapper.chmod(0o755)
    return folder


def test_an_emulated_board(another_board, rpi5_machine, digits_for_rpi5, tmp_path):
    keys.generate(tmp_path / "own.key", tmp_path / "own.pub")
    artifact = tmp_path / digits_for_rpi5.name
    artifact.write_bytes(digits_for_rpi5.read_bytes())
    small_artifacts.sign(artifact, tmp_path / "own.key")
    trust = [(tmp_path / "own.pub").read_bytes()]
    order = deploy.Order(read_packages([artifact], unsigned=False), program(), trust)
    another_board(PATH=f"{python_of(rpi5_machine, tmp_path / 'bin')}:/usr/bin:/bin")
    host = Host(boards.HOST, str(tmp_path / "root"))
    ((report,), _) = parallel.on_boards([host], deploy.deploying(order), 1, lambda step: None)
    (model,) = report.models
    assert report.errors == [] and model.result == "installed"
    assert report.device["arch"] == "aarch64" and "asimddp" in report.device["cpu_features"]
    installed = tmp_path / "root" / "models" / "digits_cnn" / "current" / "model.edgec"
    assert installed.read_bytes() == artifact.read_bytes()
