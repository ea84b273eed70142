"""Deploying to a board over ssh: the agent, whom it trusts, and the artifacts, each installed by the agent itself.

Before a byte of an artifact is sent, the board tells what it is and what it has, and judges by the same code as when it
installs (`edgec-device check`): what does not fit is refused then. Everything that decides is on the board: signatures
are verified there, with keys that were pinned there; the self-test and the health command run there; and what fails is
taken back there, with or without a connection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import ArtifactError, ConnectionLost, DeviceError, EdgecError, OutputError, ParityGateError
from edgec.runners.ssh_refusals import tail
from edgec.runtime.agent.signatures import SUFFIX, public_keys, short
from edgec.shipping.agent_program import NAME, Program
from edgec.shipping.boards.agent import AgentOnBoard, OnDevice, plain_name
from edgec.shipping.boards.hosts import Host
from edgec.shipping.boards.packages import Package
from edgec.shipping.boards.parallel import Sessions, Work
from edgec.shipping.boards.reports import BoardReport, ModelReport, Step, Tell

_WOULD = "would be installed"
_MARGIN = 2 << 20
"""Bytes that stay free on a board besides an artifact."""

_ONLY = """
cd "$1/trust/keys" && shift || exit
for each in *; do
    case " $* " in *" $each "*) ;; *) rm -f "$each" || exit ;; esac
done
"""
"""Removes the keys that a board trusts besides those in these files."""


@dataclass(frozen=True)
class Order:
    """What shall be on every board.

    program: the agent. trust: public keys in PEM that are pinned on boards that trust none yet. replace_trust: also on
    those that trust others, whose keys are removed. unsigned: boards that trust none take artifacts without a look at
    signatures. retry: also artifacts that failed there before. dry_run: only look.
    """

    packages: Sequence[Package]
    program: Program
    trust: Sequence[bytes] = ()
    replace_trust: bool = False
    unsigned: bool = False
    retry: bool = False
    dry_run: bool = False


def deploying(order: Order) -> Work:
    """What brings `order` to a board."""
    return lambda host, sessions, tell, report: deploy(host, order, sessions, tell, report)


def deploy(host: Host, order: Order, sessions: Sessions, tell: Tell, report: BoardReport) -> None:
    """Bring `order` to one board; `report` is filled as far as it gets. Raises EdgecError for the board as a whole."""
    try:
        _deploy(host, order, sessions, tell, report)
    except EdgecError:
        for model in report.models:
            if model.result == _WOULD:
                model.result, model.after = "not begun", model.before
        raise


def _deploy(host: Host, order: Order, sessions: Sessions, tell: Tell, report: BoardReport) -> None:
    tell(Step(host, "connecting"))
    with sessions.open(host, making=not order.dry_run) as agent:
        report.root = agent.root
        report.agent = {"before": agent.before.version, "after": agent.before.version}
        newer = agent.needs(order.program)
        if newer:
            tell(Step(host, "sending the device agent"))
            agent.send(order.program)
        tell(Step(host, "looking at the board"))
        told = _checked(agent, order.packages)
        report.device = {**told["device"], "free_bytes": told["free_bytes"]}
        chosen = _choose(order, told, report)
        pins = _keys_to_pin(host, order, [choice.package for _, choice in chosen], told["trusted"])
        bare = order.unsigned and not told["trusted"] and not pins
        wanted = [(model, choice) for model, choice in chosen if model.result != "unchanged"]
        _check_room(agent, [choice for _, choice in wanted], told["free_bytes"])
        if order.dry_run:
            return
        lacking = any(isinstance(each.error, OnDevice) and each.error.kind == "EngineMissing" for each in report.models)
        if newer and (chosen or lacking):  # the agent tells there which Python it may use: edgec-device init --python
            agent.keep()
            report.agent = {**report.agent, "after": order.program.version}
        if chosen:
            _prepare(agent, told, pins)
        flags = [*(["--unsigned"] if bare else []), *(["--retry"] if order.retry else [])]
        for model, choice in wanted:
            _install(host, agent, model, choice, flags, tell)


@dataclass(frozen=True)
class _Choice:
    """The artifact for a board.

    name: of the file there, while it is on its way. slot: the file on the board that is the same; "" where none is.
    """

    package: Package
    name: str
    slot: str


def _checked(agent: AgentOnBoard, packages: Sequence[Package]) -> dict[str, Any]:
    """What the board tells of itself, and of each package."""
    agent.board.put({"releases.json": json.dumps([each.release.to_json() for each in packages]).encode()})
    return agent.ask("check", f"{agent.board.folder}/releases.json")


def _choose(order: Order, told: Mapping[str, Any], report: BoardReport) -> list[tuple[ModelReport, _Choice]]:
    """For each model the artifact that this board shall have, in the order in which they were named.

    Of several that fit, for several targets, it is the one that uses most of the CPU's features.
    """
    chosen: list[tuple[ModelReport, _Choice]] = []
    judged = list(zip(order.packages, told["releases"], strict=True))
    for name in dict.fromkeys(package.release.model for package in order.packages):
        candidates = [(package, found) for package, found in judged if package.release.model == name]
        before = told["models"].get(name, {}).get("current")
        fitting = [each for each in candidates if each[1]["fits"]]
        if not fitting:
            error = _unfit(report.host, candidates)
            report.models.append(ModelReport(name, None, before, before, "refused", error=error))
            continue
        package, found = max(fitting, key=lambda each: len(each[0].release.needs["cpu_features"]))
        same = before is not None and before["sha256"] == package.release.sha256
        result, after = ("unchanged", before) if same else (_WOULD, package.release.to_json())
        model = ModelReport(name, package.path, before, after, result, notes=found["notes"])
        report.models.append(model)
        failed = told["models"].get(name, {}).get("failed", {})
        if not same and not order.retry and (why := failed.get(package.release.sha256)) is not None:
            model.result, model.after, model.error = "refused", before, _failed_before(report.host, package, why)
        else:
            file = plain_name(package.path, ("releases.json", NAME, *(choice.name for _, choice in chosen)))
            chosen.append((model, _Choice(package, file, found["slot"] or "")))
    return chosen


def _unfit(host: Host, candidates: Sequence[tuple[Package, Mapping[str, Any]]]) -> EdgecError:
    """Why no artifact of a model fits."""
    first = candidates[0][1]["error"]
    if len(candidates) == 1:
        return OnDevice(first["what"], first["why"], first["fix"], {}, first["kind"], first["exit_code"])
    return DeviceError(
        f"None of {len(candidates)} artifacts of {candidates[0][0].release.model} fits {host.name}",
        "\n".join(f"{package.path}: {found['error']['what']}." for package, found in candidates),
        "Build it for a target that the board satisfies (`edgec targets` lists them).",
    )


def _failed_before(host: Host, package: Package, why: str) -> EdgecError:
    return OnDevice(
        f"{package.path} failed on {host.name} before, and is not tried again",
        why,
        "Deploy another build; or, if the board was at fault, this one with --retry",
        {},
        "RolledBack",
        ParityGateError.exit_code,
    )


def _keys_to_pin(host: Host, order: Order, packages: Sequence[Package], trusted: Sequence[str]) -> dict[str, bytes]:
    """Name and content of the files with the keys that the board shall trust from now on; none where nothing changes.

    packages: for this board. trusted: ids of the keys that it trusts now.

    Raises ArtifactError when the board trusts nobody and shall trust nobody, or trusts others.
    """
    if not packages:
        return {}
    files = {f"{public_keys([pem])[0].keyid[:16]}.pub": pem for pem in order.trust}
    wanted = {key.keyid for key in public_keys(order.trust)}
    if (bare := next((each for each in packages if each.envelope is None), None)) and (trusted or wanted):
        raise ArtifactError(
            f"{host.name} takes signed artifacts only, and {bare.path} is not signed",
            "It trusts keys; artifacts without a signature are for boards that trust none.",
            f"Sign it: edgec sign {bare.path} --key KEY",
        )
    if not wanted and not trusted and not order.unsigned:
        raise ArtifactError(
            f"{host.name} trusts no key yet",
            "Whose signatures it takes is pinned there by the first deployment.",
            "Name the public key that the artifacts were signed with: --trust-key KEY.pub. On a bench where anything "
            "goes: --unsigned",
        )
    if trusted and not order.replace_trust and not wanted <= set(trusted):
        raise ArtifactError(
            f"{host.name} trusts other keys than {', '.join(map(short, sorted(wanted)))}",
            f"Pinned there: {', '.join(map(short, trusted))}. A deployment does not change that unasked.",
            "If the board shall trust the new key and no other from now on: --replace-trust",
        )
    pins = order.replace_trust or not trusted
    _check_signers(host, packages, wanted if pins else trusted)
    return files if pins and wanted != set(trusted) else {}


def _check_signers(host: Host, packages: Sequence[Package], trusted: Collection[str]) -> None:
    """Learn before anything is sent that a signature is by nobody whom the board will trust; whether it is good, the
    board finds out. Raises ArtifactError."""
    for package in packages:
        if package.envelope is None or not trusted:
            continue
        if not package.signers & set(trusted):
            raise ArtifactError(
                f"{package.path} is signed by nobody whom {host.name} trusts",
                f"It is signed by {', '.join(map(short, sorted(package.signers))) or 'nobody'}; trusted there: "
                f"{', '.join(map(short, sorted(trusted)))}.",
                "Sign it with a key that the board trusts: edgec sign FILE.edgec --key KEY",
            )


def _prepare(agent: AgentOnBoard, told: Mapping[str, Any], pins: Mapping[str, bytes]) -> None:
    """Have the agent's folder on the board, and the keys in these files trusted there, and no others.

    Cut off anywhere, the board trusts the old keys, the new ones, or both.
    """
    if told["initialized"] and not pins:
        return
    agent.board.put(pins)
    agent.ask("init", *(word for name in pins for word in ("--trust-key", f"{agent.board.folder}/{name}")))
    if pins and told["trusted"]:
        done = agent.board.run(["sh", "-c", _ONLY, "sh", agent.root, *pins])
        if done.code != 0:
            raise DeviceError(
                f"Keys that {agent.board.host} trusted can't be removed there",
                f"{agent.root}/trust/keys: {tail(done.said)}",
                "Let the folder belong to the user there.",
            )


def _check_room(agent: AgentOnBoard, choices: Sequence[_Choice], free: int) -> None:
    sent = [choice.package for choice in choices if not choice.slot]
    size = sum(package.release.bytes for package in sent)
    if sent and size + _MARGIN > free:
        host = agent.board.host
        raise OutputError(
            f"{host} has no room for {', '.join(str(package.path) for package in sent)}",
            f"{size / 1e6:.1f} MB are to be sent, and {free / 1e6:.1f} MB are free in {agent.root} there.",
            f"Make room there; versions that are not needed go with: ssh {host} {agent.root}/bin/{NAME} prune --root "
            f"{agent.root}",
        )


def _install(
    host: Host, agent: AgentOnBoard, model: ModelReport, choice: _Choice, flags: Sequence[str], tell: Tell
) -> None:
    """Send one artifact, as far as the board does not have it, and let the agent install it. flags: for the agent.

    What fails there is told in `model`, and does not stop other models. Raises ConnectionLost.
    """
    package, name = choice.package, choice.name
    begun = time.monotonic()
    model.after, model.result = model.before, "failed"
    try:
        envelope = {} if package.envelope is None else {f"{name}{SUFFIX}": package.envelope}
        if choice.slot:
            agent.board.put(envelope)
            agent.link(choice.slot, name)
        else:
            size = package.release.bytes
            agent.board.put(
                {name: package.path, **envelope},
                lambda done: tell(Step(host, f"sending {model.model}", min(done, size), size)),
            )
            model.sent = size
        tell(Step(host, f"installing {model.model}"))
        told = agent.ask("install", f"{agent.board.folder}/{name}", "--move", "--origin", "ssh", *flags, alone=True)
        model.after, model.result = told["release"], {"current": "unchanged"}.get(told["status"], told["status"])
        model.notes = told["notes"]
    except ConnectionLost:
        model.result = "connection lost"
        raise
    except EdgecError as error:
        model.error = error
        if (runs := error.details.get("runs")) is not None:
            model.result, model.after = "rolled back", runs
    finally:
        model.seconds = time.monotonic() - begun
