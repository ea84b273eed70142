"""The installed versions of one model, and which of them applications load.

    ROOT/models/NAME/
      a/ b/ …            slots: model.edgec, release.json, and the signature that vouched for it (model.edgec.dsse.json)
      current -> a       what applications load: this link alone decides
      previous -> b      where to go back to
      .staged/           a version that passed its checks and has no slot yet
      state.json         trial, failures, history (state.py)
      starts             a byte for each time that an application loaded the version on trial
      lock, use.lock     one agent at a time; applications that hold updates off (locks.py)

A slot is there whole or not at all: it is written under another name, had on the medium, and renamed. Every change of
what runs is one rename of one link. What several renames make is put in order by `recover`, which every command that
changes anything calls first, so that a run that was killed anywhere leaves nothing worse than work to do again:

- `current` always names a whole version, and is moved only to one that was checked.
- What shall happen is in state.json before it happens: the trial before the switch to it, the failure before the switch
  back. `recover` completes a switch back, and forgets a trial that was not begun.
- Nothing depends on the clock being right.
"""

from __future__ import annotations

import logging
import os
import string
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from ..errors import ArtifactFailure, Busy, InputError, StorageFailed, Untrusted
from . import storage
from .locks import held, is_held
from .release import Release, checked_model_name
from .slot_folder import (
    ARTIFACT,
    EVIDENCE,
    RELEASE,
    Slot,
    describe_anew,
    described,
    examined,
    fault_of,
    release_text,
    slot_in,
)
from .state import Damaged, State, Trial, read_state, write_state

STARTS = "starts"
NAMES = string.ascii_lowercase
_INCOMING, STAGED = ".incoming", ".staged"
_MARGIN = 64 << 10
"""Bytes that stay free besides the artifact: for the agent's own small files."""

_log = logging.getLogger("edgec.device")


class Slots:
    """The versions of `model` on this device. keep: how many, the running one among them.

    What only reads works without a lock and for any user. What changes anything needs `lock`, and `recover` first.
    """

    def __init__(self, root: Path, model: str, keep: int = 2) -> None:
        self.model = checked_model_name(model)
        self.folder = root / "models" / model
        self.keep = keep

    # --- reading

    def current(self) -> Slot | None:
        """What applications load; None where there is nothing, or nothing that can be read."""
        return self._linked("current")

    def previous(self) -> Slot | None:
        """What `roll_back` goes back to."""
        return self._linked("previous")

    def installed(self) -> list[Slot]:
        """All slots that hold a version, by name. Raises StorageFailed where the folder can't be read."""
        return [slot for name in self._names() if _is_name(name) and (slot := slot_in(self.folder / name)) is not None]

    def staged(self) -> Slot | None:
        """A version that waits for its slot."""
        return slot_in(self.folder / STAGED)

    def find(self, sha256: str) -> Slot | None:
        """The slot that holds an artifact; None where none does."""
        return next((slot for slot in self.installed() if slot.release.sha256 == sha256), None)

    def state(self) -> State:
        """What is remembered; an empty state where it can't be read any more. Raises StateUnreadable."""
        try:
            return read_state(self._state)
        except Damaged:
            return State()

    def starts(self) -> int:
        """How often the device and its applications have started with the version on trial."""
        trial = self.state().trial
        try:
            loads = (self.folder / STARTS).stat().st_size
        except OSError:
            loads = 0
        return loads + (trial.starts if trial else 0)

    def in_use(self) -> bool:
        """Whether an application holds updates off at the moment."""
        return is_held(self.use_lock)

    @property
    def use_lock(self) -> Path:
        return self.folder / "use.lock"

    # --- locks

    def lock(self, wait: float) -> AbstractContextManager[int]:
        """Be the only agent at work on this model. Makes the model's folder. Raises Busy after `wait` seconds."""
        storage.make_folder(self.folder)
        busy = Busy(
            f"Another edgec-device is at work on {self.model}",
            f"It holds {self.folder / 'lock'}, and still did after {wait:g} s.",
            "Try again when it is done; nothing was changed.",
        )
        return held(self.folder / "lock", wait, busy, mode=0o600)

    def unused(self, wait: float) -> AbstractContextManager[int]:
        """Keep applications from loading while slots change. Raises Busy when they hold updates off for longer."""
        busy = Busy(
            f"An application holds updates of {self.model} off",
            f"It holds {self.use_lock}, and still did after {wait:g} s.",
            "Try again later: what was fetched and checked is kept ready, and the version that runs was not touched.",
            {"staged": self.staged() is not None},
        )
        return held(self.use_lock, wait, busy)

    # --- changing

    def recover(self, deep: bool = True) -> list[str]:
        """Put in order what a killed run, a power cut or a failing storage has left; returns what was done, in words.

        deep: hash every version. Otherwise only sizes are compared.

        Raises StateUnreadable (nothing is touched then), StorageFailed.
        """
        if not self.folder.is_dir():
            return []
        done: list[str] = []
        state, lost = self._readable_state()
        if lost:
            done.append(lost)
        self._remove_leftovers()
        whole, unreadable = self._whole(deep, state, done)
        if lost:
            known = [slot for name in ("previous", "current") if (slot := self._among(whole, name)) is not None]
            state = replace(state, confirmed=tuple(slot.release.sha256 for slot in known))
        current = self._recover_current(whole, state, done)
        self._recover_previous(whole, current, state, done)
        for name in NAMES:
            if name not in whole and name not in unreadable and os.path.lexists(self.folder / name):
                storage.remove(self.folder / name)
        trial = state.trial
        if trial and (current is None or (current.name, current.release.sha256) != (trial.slot, trial.sha256)):
            state = replace(state, trial=None)
            done.append("a switch that was not completed is forgotten")
        if state.trial is None and os.path.lexists(self.folder / STARTS):
            storage.remove(self.folder / STARTS)
        for text in done:
            _log.warning("%s: recovered: %s", self.model, text)
            state = state.with_event("recovered", current.release if current else None, text)
        if done:
            self._write(state)
        return done

    def stage(self, file: Path, release: Release, move: bool = False, evidence: bytes | None = None) -> Slot:
        """Bring a version onto the device's storage, beside those that are installed.

        move: `file` is the agent's own, and is not needed afterwards. evidence: the signature that vouches for it.

        Raises Untrusted when the file's SHA-256 is not the release's, StorageFailed; neither leaves anything behind.
        """
        staged = self.staged()
        if staged is not None and staged.release.sha256 == release.sha256 and fault_of(staged, deep=True) is None:
            return staged
        storage.remove(self.folder / STAGED)
        if not (move and storage.can_be_moved(file, self.folder)):
            self._make_room(release.bytes)
        incoming = self.folder / _INCOMING
        try:
            storage.remove(incoming)
            storage.make_folder(incoming)
            digest = (storage.move_new if move else storage.copy_new)(file, incoming / ARTIFACT)
            if digest != release.sha256:
                raise Untrusted(
                    f"{file.name} is not what was announced: its SHA-256 differs",
                    f"It is {digest}, and {release.sha256} is expected.",
                    "Fetch it again; if that does not help, the copy there was changed.",
                )
            if evidence is not None:
                storage.write_new(incoming / EVIDENCE, evidence)
            storage.write_new(incoming / RELEASE, release_text(release))
            storage.sync_folder(incoming)
            storage.move(incoming, self.folder / STAGED)
        except ArtifactFailure:
            _remove_if_possible(incoming)
            raise
        return Slot(self.folder / STAGED, release)

    def describe(self, slot: Slot, release: Release) -> Slot:
        """Note what became known of a version that is there: a repository's number of one that came as a file, say."""
        if release.version is None or release == slot.release:
            return slot
        storage.replace_file(slot.folder / RELEASE, release_text(release))
        return Slot(slot.folder, release)

    def discard(self) -> None:
        """Remove the version that is staged."""
        storage.remove(self.folder / STAGED)

    def place(self) -> Slot:
        """Give the staged version a slot: a free one, or that of the version that is needed least."""
        staged = self.staged()
        if staged is None:
            raise InputError("No version is staged", f"{self.folder / STAGED} is not there.", "Install one first.")
        folder = self.folder / self._name_for_new()
        self._vacate(folder)
        storage.move(staged.folder, folder)
        return Slot(folder, staged.release)

    def switch(self, slot: Slot, limit: int) -> None:
        """Let applications load `slot`, on trial. limit: the starts that it is given.

        What runs now is where to go back to, unless it is on trial itself, and a better one is known.
        """
        state, current = self.state(), self.current()
        storage.remove(self.folder / STARTS)
        trial = Trial(slot.name, slot.release.sha256, 0, limit)
        self._write(replace(state, trial=trial).with_event("switched", slot.release))
        if current is not None and current.name != slot.name and current.release.sha256 not in state.failed:
            before = self.previous()
            if before is None or before.name == slot.name or current.release.sha256 in state.confirmed:
                storage.point(self.folder / "previous", current.name)
        storage.point(self.folder / "current", slot.name)
        self._let_applications_count()

    def confirm(self) -> Slot | None:
        """The version that runs is good: it is no longer on trial. Older ones than are kept are removed."""
        current, state = self.current(), self.state()
        if current is None:
            return None
        if state.trial is not None or current.release.sha256 not in state.confirmed:
            self._write(state.with_confirmed(current.release.sha256).with_event("confirmed", current.release))
            storage.remove(self.folder / STARTS)
        self.collect()
        return current

    def roll_back(self, why: str, to: Slot | None = None, needed: bool = False) -> Slot | None:
        """The version that runs failed: remember that, and go back to the one before, or to `to`.

        needed: without a version to go back to, nothing is remembered either.

        Returns what runs now: None where there is no other version that is whole. Then the one that failed stays.
        """
        current, state = self.current(), self.state()
        if current is None:
            return None
        whole, _ = self._whole(True, state, [])
        target = (
            to if to is not None else self._fallback(whole, state.with_failed(current.release.sha256, why), current)
        )
        if target is not None and target.name not in whole:
            target = None
        if target is None and needed:
            return None
        state = state.with_failed(current.release.sha256, why)
        if target is not None:
            # What an operator names is wanted, whatever became of it before.
            state = replace(
                state, failed={key: text for key, text in state.failed.items() if key != target.release.sha256}
            )
        event = "rolled back" if target is not None else "failed"
        state = replace(state, trial=None).with_event(event, current.release, why)
        written = self._written(state, or_else=target is not None)
        if target is not None:
            storage.point(self.folder / "current", target.name)
            self._recover_previous(whole, target, state, [])
        if not written:
            _log.warning("%s: removing %s, so that there is room to note that it failed", self.model, current.release)
            self._vacate(current.folder)
            self._write(state)
        storage.remove(self.folder / STARTS)
        return target

    def count_start(self) -> int:
        """The device, or an application, starts with the version on trial; returns how often that was."""
        state = self.state()
        if state.trial is not None:
            self._write(replace(state, trial=replace(state.trial, starts=state.trial.starts + 1)))
        return self.starts()

    def note_failed(self, release: Release, why: str) -> None:
        """Remember that a version failed before it was switched to."""
        self._write(self.state().with_failed(release.sha256, why).with_event("refused", release, why))

    def collect(self, keep: int | None = None) -> list[Slot]:
        """Remove versions beyond those that are kept, the ones needed least first; returns them."""
        removed = []
        while len(slots := self.installed()) > max(keep or self.keep, 2):
            victims = self._by_need(slots)
            if not victims:
                break
            self._vacate(victims[0].folder)
            removed.append(victims[0])
        return removed

    # --- how

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def _write(self, state: State) -> None:
        write_state(self._state, state)

    def _written(self, state: State, or_else: bool) -> bool:
        """Write the state. or_else: storage that does not take it is no reason to let a version run that failed."""
        try:
            self._write(state)
        except StorageFailed:
            if not or_else:
                raise
            return False
        return True

    def _linked(self, link: str) -> Slot | None:
        try:
            name = str((self.folder / link).readlink())
        except OSError:
            return None
        return slot_in(self.folder / name) if _is_name(name) else None

    def _among(self, whole: dict[str, Slot], link: str) -> Slot | None:
        slot = self._linked(link)
        return whole.get(slot.name) if slot else None

    def _names(self) -> list[str]:
        with storage.storing(self.folder, "read"):
            try:
                return sorted(path.name for path in self.folder.iterdir())
            except FileNotFoundError:
                return []

    def _readable_state(self) -> tuple[State, str]:
        """The state, and in words what became of one that is damaged; that is put aside."""
        try:
            return read_state(self._state), ""
        except Damaged as error:
            aside = self.folder / "state.json.damaged"
            storage.remove(aside)
            storage.move(self._state, aside)
            return State(), f"state.json was damaged ({error}); what failed before is forgotten"

    def _remove_leftovers(self) -> None:
        for name in self._names():
            if name.startswith(".") and (name != STAGED or self.staged() is None):
                storage.remove(self.folder / name)

    def _whole(self, deep: bool, state: State, done: list[str]) -> tuple[dict[str, Slot], set[str]]:
        """The slots that are whole, by name; and the names of those that can't be read, which may pass."""
        whole, unreadable = {}, set()
        for name in filter(_is_name, self._names()):
            folder = self.folder / name
            try:
                slot, fault = examined(folder, deep, state)
            except StorageFailed as failure:
                unreadable.add(name)
                done.append(f"slot {name} is not used: {failure.what}. {failure.why}")
                continue
            if slot is not None:
                whole[name] = slot
                if described(folder) != slot.release and describe_anew(slot):
                    done.append(f"{RELEASE} of slot {name} was lost, and is made again from the artifact")
            elif fault:
                done.append(f"slot {name} {fault}")
        return whole, unreadable

    def _recover_current(self, whole: dict[str, Slot], state: State, done: list[str]) -> Slot | None:
        """Let `current` name a version that is whole and has not failed, where there is one."""
        link = self.folder / "current"
        current = self._among(whole, "current")
        if current is not None and current.release.sha256 not in state.failed:
            return current
        fallback = self._fallback(whole, state, current)
        if fallback is None and current is not None:
            return current  # it failed, and there is no better one
        if fallback is None and whole:
            fallback = self._fallback(whole, replace(state, failed={}), None)  # better one that failed than none
        if fallback is None:
            if not os.path.lexists(link):
                return None  # nothing was ever installed
            storage.remove(link)
            done.append("no version is left that is whole")
            return None
        storage.point(link, fallback.name)
        done.append(f"{fallback.release} runs again")
        return fallback

    def _recover_previous(self, whole: dict[str, Slot], current: Slot | None, state: State, done: list[str]) -> None:
        """Let `previous` name a version that proved good and is not the one that runs; without one there is no link."""
        link = self.folder / "previous"
        there = self._among(whole, "previous")
        if there is not None and there != current and there.release.sha256 not in state.failed:
            return
        good = self._fallback(whole, state, current, only=state.confirmed)
        if good is not None:
            storage.point(link, good.name)
        elif os.path.lexists(link):
            storage.remove(link)
            storage.sync_folder(self.folder)

    def _fallback(
        self, whole: dict[str, Slot], state: State, current: Slot | None, only: Iterable[str] | None = None
    ) -> Slot | None:
        """The best version beside `current` that has not failed: `previous`, else the last that proved good."""
        order = list(state.confirmed)
        previous = self._among(whole, "previous")
        others = [
            slot
            for slot in whole.values()
            if slot != current
            and slot.release.sha256 not in state.failed
            and (only is None or slot.release.sha256 in order)
        ]
        rank = {sha256: index for index, sha256 in enumerate(order)}
        return max(others, key=lambda slot: (slot == previous, rank.get(slot.release.sha256, -1)), default=None)

    def _by_need(self, slots: Iterable[Slot]) -> list[Slot]:
        """The versions that may be removed, the one needed least first: failed ones, then those that never proved good,
        then the oldest. Never the running one, nor the one to go back to while that is on trial."""
        state, current, previous = self.state(), self.current(), self.previous()
        kept = {current} if current and current.release.sha256 in state.confirmed else {current, previous}
        order = {sha256: index for index, sha256 in enumerate(state.confirmed)}

        def need(slot: Slot) -> tuple[bool, bool, int]:
            sha256 = slot.release.sha256
            return slot == previous, sha256 not in state.failed, order.get(sha256, -1)

        return sorted((slot for slot in slots if slot not in kept), key=need)

    def _name_for_new(self) -> str:
        taken = [name for name in NAMES if os.path.lexists(self.folder / name)]
        victims = self._by_need(self.installed())
        if len(taken) >= self.keep and victims:
            return victims[0].name
        return next(name for name in NAMES if name not in taken)

    def _vacate(self, folder: Path) -> None:
        """Remove a slot; before that, the link that names it."""
        link = self.folder / "previous"
        if link.is_symlink() and str(link.readlink()) == folder.name:
            storage.remove(link)
            storage.sync_folder(self.folder)
        storage.remove(folder)

    def _make_room(self, size: int) -> None:
        """Have room for `size` bytes: if need be, without the versions that are needed least."""
        while (free := storage.free_bytes(self.folder)) < size + _MARGIN:
            victims = self._by_need(self.installed())
            if not victims:
                raise StorageFailed(
                    f"There is no room for a new version of {self.model}: the storage is full",
                    f"It needs {(size + _MARGIN) / 1e6:.2f} MB, and {free / 1e6:.2f} MB are free. "
                    "What runs was not touched.",
                    f"Make room on the file system of {self.folder}.",
                )
            _log.warning("%s: removing %s: the storage has no room beside it", self.model, victims[0].release)
            with self.unused(0):
                self._vacate(victims[0].folder)

    def _let_applications_count(self) -> None:
        """Give applications of the folder's group a file to count their starts in. A cut before this loses counts of
        applications only; those of the device are in state.json."""
        storage.write_new(self.folder / STARTS, b"", 0o664)


def _is_name(name: str) -> bool:
    return len(name) == 1 and name in NAMES


def _remove_if_possible(folder: Path) -> None:
    """Clean up after a failure, which is what shall be told: storage that fails here too is left to `recover`."""
    try:
        storage.remove(folder)
    except StorageFailed:
        _log.debug("%s is left to the next run", folder)
