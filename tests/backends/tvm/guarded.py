"""Memory that ends where it ends: what is read or written beyond the caller's arrays, or the arena, is a fault.

Every array lies against a page that may not be touched, once with its last byte and once with its first. The arena is
filled with 0xFF (NaN, in floats) before each run, in case somebody reads what nobody wrote.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping

import numpy as np

from edgec.runtime.engines.tvm import TVMEngine

_PAGE = mmap.PAGESIZE
_NO_ACCESS = 0  # PROT_NONE
_C = ctypes.CDLL(None, use_errno=True)


class _Region:
    """`size` bytes against a page that faults: behind them, or before them."""

    def __init__(self, size: int, at_end: bool) -> None:
        room = -(-max(size, 1) // _PAGE) * _PAGE
        self._map = mmap.mmap(-1, room + 2 * _PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for page in (start, start + _PAGE + room):
            assert _C.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), _NO_ACCESS) == 0
        self.address = start + _PAGE + (room - size if at_end else 0)
        self.bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.address))


class Guarded:
    """An engine whose runs happen in such memory, twice; the results have to be the same."""

    def __init__(self, engine: TVMEngine) -> None:
        self.engine = engine
        self._regions: dict[tuple[object, bool], _Region] = {}
        self._arena_size = len(engine._memory) - engine._library.edgec_model_describe().contents.arena_alignment

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        at_end, at_begin = (self._run(feeds, side) for side in (True, False))
        for name, array in at_end.items():
            np.testing.assert_array_equal(array, at_begin[name], err_msg=name)
        return at_end

    def _run(self, feeds: Mapping[str, np.ndarray], at_end: bool) -> dict[str, np.ndarray]:
        engine = self.engine
        for slot, border in enumerate(engine._inputs):
            given = np.ascontiguousarray(feeds[border.name], border.dtype)
            region = self._region(("input", slot), given.nbytes, at_end)
            region.bytes[:] = given.reshape(-1).view(np.uint8)
            engine._given[slot] = region.address
        made = {}
        for slot, border in enumerate(engine._outputs):
            result = np.empty(border.shape, border.dtype)
            made[border.name] = result, self._region(("output", slot), result.nbytes, at_end)
            engine._made[slot] = made[border.name][1].address
        arena = self._region("arena", self._arena_size, at_end)
        arena.bytes[:] = 0xFF
        inputs, outputs, _, pool = engine._arguments
        assert engine._run(inputs, outputs, arena.address, pool) == 0
        for result, region in made.values():
            result.reshape(-1).view(np.uint8)[:] = region.bytes
        return {name: result for name, (result, _) in made.items()}

    def _region(self, key: object, size: int, at_end: bool) -> _Region:
        if (key, at_end) not in self._regions:
            self._regions[key, at_end] = _Region(size, at_end)
        return self._regions[key, at_end]
