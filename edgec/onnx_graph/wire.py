"""The protobuf wire format, read from a file without trusting a byte of it.

Source: protobuf.dev/programming-guides/encoding. Only what ONNX uses: groups (wire types 3 and 4) were abolished before
ONNX existed. The file is read through a small window with pread(2), not mapped: a file that shrinks while it is read
gives an error here, where a mapping would end the process with SIGBUS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_GROUPS = (3, 4)
_WINDOW = 1 << 18
_LONGEST = 20  # bytes of a tag and a length, or of a tag and a value
_COUNTING = 1 << 20
_CONTINUED = bytes(range(128, 256))  # bytes of a varint that are not its last

FieldValue = tuple[int, int, int, int, int, int]
"""(field number, wire type, value, start of the payload, end of the payload, start of the tag); `value` is the varint,
or 0 for other wire types."""


class WireError(Exception):
    """The bytes at `position` are not protobuf."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(text)
        self.position = position
        self.text = text


class WireReader:
    """Reads messages from an open file of `size` bytes.

    budget: how many fields may be read in all; a file made of millions of two-byte fields is not a model.
    """

    def __init__(self, descriptor: int, size: int, budget: int) -> None:
        self._descriptor = descriptor
        self.size = size
        self._budget = budget
        self._data = b""
        self._base = 0

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, which the caller has checked to lie inside the file."""
        offset = start - self._base
        if offset >= 0 and end - self._base <= len(self._data):
            return self._data[offset : end - self._base]
        data = os.pread(self._descriptor, end - start, start)
        if len(data) != end - start:
            raise WireError(start, "the file became shorter while it was read")
        return data

    def fields(self, start: int, end: int) -> Iterator[FieldValue]:
        """The fields of the message that lies from `start` to `end`; raises WireError."""
        position = start
        while position < end:
            self._budget -= 1
            if self._budget < 0:
                raise WireError(position, "the file holds more fields than any model that edgec can take")
            tag_at = position
            tag, position = self._varint(position, end)
            number, wire = tag >> 3, tag & 7
            if number == 0 or tag >> 32:
                raise WireError(tag_at, f"{tag:#x} is not a field tag")
            value = 0
            first = position
            if wire == VARINT:
                value, position = self._varint(position, end)
            elif wire == BYTES:
                length, first = self._varint(position, end)
                position = first + length
            elif wire == FIXED64:
                position += 8
            elif wire == FIXED32:
                position += 4
            else:
                kind = "a group, which ONNX never uses" if wire in _GROUPS else f"of the unknown wire type {wire}"
                raise WireError(tag_at, f"field {number} is {kind}")
            if position > end:
                missing = position - end
                raise WireError(tag_at, f"field {number} ends {missing:,} bytes after the message that it is part of")
            yield number, wire, value, first, position, tag_at

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """The unsigned value of the varint at `position`, and the position after it."""
        offset = position - self._base
        if offset < 0 or offset + _LONGEST > len(self._data):
            self._data = os.pread(self._descriptor, _WINDOW, position)
            self._base = position
            offset = 0
        data = self._data
        limit = min(len(data), end - self._base)
        value = shift = 0
        while offset < limit:
            byte = data[offset]
            offset += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >> 64:
                    raise WireError(position, "a number of more than 64 bits")
                return value, self._base + offset
            shift += 7
            if shift >= 70:
                raise WireError(position, "a number of more than 10 bytes")
        raise WireError(position, "the data ends in the middle of a number")

    def count_varints(self, start: int, end: int) -> int:
        """How many varints a packed field holds; raises WireError when the last one is cut off."""
        count = 0
        for at in range(start, end, _COUNTING):
            piece = self.read(at, min(at + _COUNTING, end))
            count += len(piece.translate(None, _CONTINUED))
        if end > start and self.read(end - 1, end)[0] >= 128:
            raise WireError(end - 1, "the data ends in the middle of a number")
        return count

    def varints(self, start: int, end: int) -> Iterator[int]:
        """The values of a packed field."""
        position = start
        while position < end:
            value, position = self._varint(position, end)
            yield value


def signed(value: int) -> int:
    """A varint as int64 (two's complement)."""
    return value - (1 << 64) if value >> 63 else value


def encode_varint(value: int) -> bytes:
    """A number from 0 to 2^64 - 1 as a varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_bytes(number: int, payload: bytes) -> bytes:
    """A field of wire type BYTES."""
    return bytes_header(number, len(payload)) + payload


def bytes_header(number: int, length: int) -> bytes:
    """What stands before a payload of `length` bytes in a field of wire type BYTES."""
    return encode_varint(number << 3 | BYTES) + encode_varint(length)
