"""The zip archive that an artifact is, in the one layout that edgec writes.

Readers of zip files disagree: about which of two entries of one name counts, whether a file's own header or the
directory is right, where an archive begins that has bytes before or after it. What one of them checks another one then
does not run. So nothing is read here that can be read in two ways. An artifact is, without a gap and in this order:

    the line that names its interpreter
    for each member: a local header (30 bytes and the name), then its bytes, stored or deflated
    the directory: for each member, in the same order, 46 bytes and the name
    the end of the directory: 22 bytes, then the comment, which is the seal

without zip64, data descriptors, extra fields, comments of members or encryption. Python's zipfile would accept all of
these, and makes an object of every entry before anybody can count them.

The structures are those of PKWARE's APPNOTE.TXT 6.3.3, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zlib
from typing import BinaryIO, NamedTuple

INTERPRETER = b"#!/usr/bin/env python3\n"
"""How an artifact begins."""

MAX_MEMBERS = 4096
MAX_INFLATED = 256 << 20
"""Bytes that all deflated members may have together. Only text is deflated, so a small file can't claim all of a
device's memory."""

_END = struct.Struct("<4s4H2LH")  # mark, disk, directory's disk, entries here, entries, bytes, place, comment's bytes
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY_MARK, _LOCAL_MARK, _END_MARK, _ZIP64_LOCATOR = b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\7"
_LOCATOR_SIZE = 20
_STORED, _DEFLATED = 0, 8
_UNIX = 3
_MAX_NAME = 255  # bytes, as file systems have it
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_ENCRYPTED, _DESCRIPTOR = 0x1 | 0x40 | 0x2000, 0x8


class BadArchive(Exception):
    """In a sentence, why the bytes are not an artifact's archive."""


class Member(NamedTuple):
    """A file in the archive. place: where its bytes begin. stored: how many of them there are; size: how many they
    are inflated. crc: CRC-32 of the latter."""

    name: str
    deflated: bool
    place: int
    stored: int
    size: int
    crc: int


def members(stream: BinaryIO, end: int) -> dict[str, Member]:
    """The members by name, in the archive's order. end: where the archive's comment begins.

    Takes time and memory in proportion to the directory, which has at most MAX_MEMBERS entries.
    Raises BadArchive, OSError.
    """
    directory, place, count = _directory(stream, end)
    found: dict[str, Member] = {}
    offset, expected, inflated = 0, len(INTERPRETER), 0
    for _ in range(count):
        member, header, offset = _entry(directory, offset)
        if member.name in found:
            raise BadArchive(f"It holds {member.name} twice.")
        inflated += member.size if member.deflated else 0
        if inflated > MAX_INFLATED:
            raise BadArchive(
                f"It claims to inflate to {inflated >> 20} MiB of text; the limit is {MAX_INFLATED >> 20} MiB."
            )
        if member.place < expected:
            raise BadArchive(f"Its files overlap: {member.name} begins inside of what comes before it.")
        if member.place > expected:
            raise BadArchive(f"There are {member.place - expected} bytes before {member.name} that belong to no file.")
        stream.seek(member.place)
        if stream.read(len(header)) != header:
            raise BadArchive(f"The header of {member.name} is not what the directory says of it.")
        expected = member.place + len(header) + member.stored
        if expected > place:
            raise BadArchive(f"Its files overlap: {member.name} reaches into the directory.")
        found[member.name] = member._replace(place=member.place + len(header))
    if offset != len(directory):
        raise BadArchive(f"Its directory has {len(directory) - offset} bytes more than its {count} entries.")
    if expected != place:
        raise BadArchive(f"There are {place - expected} bytes before the directory that belong to no file.")
    if clash := sorted(name for name in found if any(f in found for f in _folders(name))):
        raise BadArchive(f"{clash[0]} lies in a folder that is a file.")
    stream.seek(0)
    if stream.read(len(INTERPRETER)) != INTERPRETER:
        raise BadArchive("It does not begin as an artifact does, with the line that names its interpreter.")
    return found


def content(stream: BinaryIO, member: Member) -> bytes:
    """The bytes of a member; no more memory is taken than it says that it has.

    Raises BadArchive, OSError.
    """
    stream.seek(member.place)
    data = stream.read(member.stored)
    if member.deflated:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, member.size + 1)
        except zlib.error as error:
            raise BadArchive(f"{member.name} can't be inflated: {error}.") from error
        if len(data) > member.size or inflater.unconsumed_tail:
            raise BadArchive(f"{member.name} inflates to more than the {member.size} bytes that it claims to have.")
        if not inflater.eof or inflater.unused_data:
            raise BadArchive(f"{member.name} does not end where its compressed bytes do.")
    if len(data) != member.size:
        raise BadArchive(f"{member.name} has {len(data)} bytes, and claims to have {member.size}.")
    if zlib.crc32(data) != member.crc:
        raise BadArchive(f"{member.name} does not have the CRC-32 that the directory says.")
    return data


def _directory(stream: BinaryIO, end: int) -> tuple[bytes, int, int]:
    """(the directory's bytes, where it begins, how many entries it has)."""
    at = end - _END.size
    if at < len(INTERPRETER):
        raise BadArchive("It is too short to hold anything.")
    stream.seek(at)
    mark, disk, first_disk, here, count, size, place, comment = _END.unpack(stream.read(_END.size))
    if mark != _END_MARK:
        raise BadArchive("What is before its seal is not the end of a zip archive's directory.")
    if end + comment != stream.seek(0, io.SEEK_END):
        raise BadArchive(f"Its comment claims to have {comment} bytes, and has others.")
    stream.seek(max(at - _LOCATOR_SIZE, 0))
    if stream.read(len(_ZIP64_LOCATOR)) == _ZIP64_LOCATOR or count == 0xFFFF or 0xFFFFFFFF in (size, place):
        raise BadArchive("It uses zip64, which artifacts never do.")
    if disk or first_disk or here != count:
        raise BadArchive("It claims to be one part of several.")
    if count > MAX_MEMBERS:
        raise BadArchive(f"It holds {count} files; an artifact never holds more than {MAX_MEMBERS}.")
    if size > count * (_ENTRY.size + _MAX_NAME):
        raise BadArchive(f"Its directory of {count} files has {size} bytes, which is more than they need.")
    if place + size != at:
        raise BadArchive("Its directory is not where it claims to be: there are bytes before the archive, or after it.")
    stream.seek(place)
    return stream.read(size), place, count


def _entry(directory: bytes, offset: int) -> tuple[Member, bytes, int]:
    """(the member, the local header that it has to have, where the next entry begins); `place` is that header's."""
    try:
        fields = _ENTRY.unpack_from(directory, offset)
    except struct.error:
        raise BadArchive("Its directory ends in the middle of an entry.") from None
    mark, made_by, needs, flags, method, time, date, crc, stored, size, name_size, extra, comment = fields[:13]
    disk, _internal, external, place = fields[13:]
    following = offset + _ENTRY.size + name_size
    raw = directory[offset + _ENTRY.size : following]
    if mark != _ENTRY_MARK or len(raw) != name_size:
        raise BadArchive("Its directory holds something that is not an entry.")
    name = raw.decode("latin-1")
    if len(raw) > _MAX_NAME:
        raise BadArchive(f"It holds a file whose name has {len(raw)} bytes; the limit is {_MAX_NAME}.")
    if not _NAME.fullmatch(name):
        raise BadArchive(f"It holds a file with a name that is not allowed: {name!r}.")
    if flags & _ENCRYPTED:
        raise BadArchive(f"{name} is encrypted.")
    if flags & _DESCRIPTOR:
        raise BadArchive(f"{name} states its size behind its bytes (a data descriptor), which artifacts never do.")
    if flags:
        raise BadArchive(f"{name} has flags that artifacts do not use: {flags:#06x}.")
    if method not in (_STORED, _DEFLATED):
        raise BadArchive(f"{name} is compressed in a way that artifacts do not use (method {method}).")
    if 0xFFFFFFFF in (stored, size, place):
        raise BadArchive(f"{name} uses zip64, which artifacts never do.")
    if extra or comment or disk:
        raise BadArchive(f"{name} has extra fields or a comment, which artifacts never have.")
    if made_by >> 8 != _UNIX or not stat.S_ISREG(external >> 16):
        raise BadArchive(f"{name} is not a plain file.")
    if stored > size + (size >> 10) + 64 or (method == _STORED and stored != size):  # deflate adds 5 bytes in 16 KiB
        raise BadArchive(f"{name} states two different sizes.")
    header = _LOCAL.pack(_LOCAL_MARK, needs, flags, method, time, date, crc, stored, size, name_size, 0) + raw
    return Member(name, method == _DEFLATED, place, stored, size, crc), header, following


def is_allowed(name: str) -> bool:
    """Whether a member may have this name: relative, in plain letters, no part of it hidden, and not too long."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def _folders(name: str) -> list[str]:
    """The folders that a name lies in: "a/b/c" gives "a" and "a/b"."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
