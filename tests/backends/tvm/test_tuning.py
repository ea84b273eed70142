"""Tiles that are searched for: the file that keeps them, what is measured, and that no result depends on them."""

from __future__ import annotations

import ctypes
import json
import os
import random
import time
from dataclasses import replace

import numpy as np
import pytest

import edgec
from edgec.backends.support import require_tile_search
from edgec.backends.tvm.tuning.database import (
    Database,
    DenseTile,
    DepthwiseTile,
    Entry,
    read,
    tile_document,
    tile_from,
    update,
)
from edgec.candidates.asked import require_able
from edgec.errors import UsageError
from edgec.ir import kinds
from edgec.ir.kinds import Padding2D
from edgec.spec import BuildSpec
from edgec.stage import StageContext
from edgec.stages import lower, tune
from edgec.targets import load_target
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from edgec.backends.tvm.building import build_program
from edgec.backends.tvm.isa import NEEDED, named
from edgec.backends.tvm.kernels import depthwise_tiles
from edgec.backends.tvm.kernels.dense import Dense
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.lowering import program_of
from edgec.backends.tvm.tuning import search, timing
from edgec.backends.tvm.tuning.tiles import candidates, fits, is_searched, shape_of, tile_of
from edgec.runtime.engines.tvm import load
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, TARGET, X86, differences, runs_here

runs = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")
KERNEL = "Dense(images=1)"
ENTRY = Entry(ISA, "a core", "time", KERNEL, DenseTile(4, 2), DenseTile(5, 4), 10.0, 8.0)
OTHER = Entry(
    ISA, "a core", "time", "Depthwise()", DepthwiseTile("rows", 1, 2, 3), DepthwiseTile("apart", 2, 1, 1), 2.0, 1.0
)
CPU = "this core"


# --- the database ---


def test_a_database_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "a.json"
    update(path, Database([OTHER, ENTRY, replace(ENTRY, cpu="another")]))
    assert read(path).entries == Database([replace(ENTRY, cpu="another"), ENTRY, OTHER]).entries
    assert read(path).text() == path.read_text(encoding="utf-8")


def test_what_a_file_holds_by_now_is_kept(tmp_path):
    path = tmp_path / "a.json"
    other, newer = replace(ENTRY, kernel="Dense(images=2)"), replace(ENTRY, tile=DenseTile(3, 3))
    update(path, Database([ENTRY, other]))
    update(path, Database([newer]))
    assert set(read(path).entries.values()) == {other, newer}


def test_the_own_processor_counts_before_others():
    mine = replace(ENTRY, cpu="b", tile=DenseTile(1, 1))
    database = Database([replace(ENTRY, cpu="a"), mine, replace(ENTRY, cpu="c"), replace(ENTRY, isa="neon", cpu="b")])
    assert database.of(ISA, "b") == {KERNEL: mine}
    assert database.of(ISA, "none of them")[KERNEL].cpu == "a"
    assert database.of("avx2", "b") == {}


def changed(*path, to):
    """The text of a database with something else at one place of its entry of a depthwise convolution."""
    document = json.loads(Database([OTHER]).text())
    inner = document["entries"][0]
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 3, "entries": []}',
        b'{"format": 2, "entries": [{}]}',
        b'{"format": 2, "entries": [[]]}',
        changed("kernel", to=1),
        changed("kernel", to="\ud800"),
        changed("default", to=None),
        changed("best", to=float("nan")),
        changed("best", to=10**400),
        changed("tile", to=[4, 2]),
        changed("tile", to={"family": "dense", "pixels": 4, "vectors": 2}),
        changed("tile", "family", to="float"),
        changed("tile", "family", to=["dense"]),
        changed("tile", "form", to=1),
        changed("tile", "height", to="2"),
        changed("tile", "height", to=2.0),
        changed("tile", "height", to=True),
        changed("tile", "more", to=1),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no database of tiles") as caught:
        read(path)
    assert str(path) in caught.value.what and caught.value.why and "--tune" in caught.value.fix
    assert path.read_bytes() == content


def test_a_file_of_an_older_format_is_told_as_such(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"format": 1, "entries": [{"tile": [4, 2]}]}')
    with pytest.raises(UsageError, match="is no database of tiles") as caught:
        read(path)
    assert "it is of format 1, and this edgec reads format 2" in caught.value.why and "remove it" in caught.value.fix


@pytest.mark.parametrize("entry", [ENTRY, OTHER])
def test_tiles_are_plain_data_and_back(entry):
    assert tile_from(json.loads(json.dumps(tile_document(entry.tile)))) == entry.tile


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        read(tmp_path / "a.json")


# --- what may be asked for ---


@pytest.mark.parametrize("name", ["openvino", "tflite", "edgetpu"])
def test_other_backends_refuse_plainly(name):
    with pytest.raises(UsageError, match="no tiles to search for"):
        require_tile_search(name, load_target("host"), measured=False)


def test_a_target_that_is_elsewhere_can_be_built_with_tiles_but_not_searched():
    require_tile_search("tvm", load_target("rpi4"), measured=False)
    with pytest.raises(UsageError, match="on a rpi4 only") as caught:
        require_tile_search("tvm", load_target("rpi4"), measured=True)
    assert "--tuning" in caught.value.fix


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_is_refused(tmp_path, seconds):
    with pytest.raises(UsageError, match=f"--tune {seconds:g} leaves no time"):
        BuildSpec(tmp_path / "a.onnx", tune_seconds=seconds)


def test_float_builds_have_no_tiles_to_search(tmp_path):
    with pytest.raises(UsageError, match="--tune and --tuning say"):
        BuildSpec(tmp_path / "a.onnx", precision="float", tune_seconds=1.0, tuning=tmp_path / "a.json")


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_database_that_cant_be_read_is_told_before_any_work(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    spec = BuildSpec(tmp_path / "a.onnx", backend="tvm", tuning=path, output=tmp_path)
    with pytest.raises(UsageError, match="database of tiles"):
        require_able(spec, load_target("x86-64-vnni"))
    assert (path.read_text() if path.exists() else None) == content


# --- tiles ---


def graph_of(cases: Cases):
    """Products of several kinds: with windows, with a sum, over rows with a border, upright, transposed; and of each
    channel for itself."""
    x = cases.activations((1, 6, 11, 20))
    first = cases.product(kinds.Conv2D(padding=Padding2D(1, 1, 1, 1)), x, (3, 3, 20), 40)
    second = cases.product(kinds.Conv2D(), first, (1, 1, 40), 40)
    total = cases.sum(second, first)
    last = cases.product(kinds.Conv2D(padding=Padding2D(1, 0, 0, 1)), total, (2, 2, 40), 70)
    cases.result(last, "windows and a sum")
    upright = cases.activations((1, 40, 1, 12))
    cases.result(cases.product(kinds.Conv2D(), upright, (3, 1, 12), 33), "upright")
    for channels, window, stride in ((24, 3, 1), (72, 5, 2)):
        x = cases.activations((1, 9, 12, channels))
        kind = kinds.Conv2D((stride, stride), (1, 1), Padding2D(1, 1, 1, 1), channels)
        cases.result(cases.product(kind, x, (window, window, 1), channels), "depthwise")
    return cases.finish()


def tiled_kernels(program):
    return [step.kernel for step in program.steps if is_searched(step.kernel)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.skipif(not runs_here(name), reason="lacking")) for name in X86]
)
@pytest.mark.parametrize("odd", [0, 1])
def test_results_do_not_depend_on_tiles(tmp_path, odd, name):
    cases, isa = Cases(odd), named(name)
    graph = graph_of(cases)
    kernels = tiled_kernels(program_of(graph, isa))
    assert {type(kernel) for kernel in kernels} == {Dense, Depthwise}
    wanted, draw = (DenseTile(1, 1), DenseTile(2, 3))[odd], random.Random(odd)
    tiles = {}
    for kernel in kernels:
        if isinstance(kernel, Dense):
            tile = DenseTile(min(wanted.pixels, kernel.columns), min(wanted.vectors, kernel.vectors))
        else:
            tile = tile_of(draw.choice([each for each in depthwise_tiles.tiles(kernel, isa) if each != kernel]))
        tiles[shape_of(kernel)] = tile
    program = program_of(graph, isa, tiles)
    changed = tiled_kernels(program)
    assert [tile_of(kernel) for kernel in changed] == [tiles[shape_of(kernel)] for kernel in kernels]
    assert all(tile_of(one) != tile_of(other) for one, other in zip(changed, kernels, strict=True))
    path = tmp_path / "model.so"
    build_program(program, name, X86[name], path)
    found = differences(graph, load({path.name: path.read_bytes()}, {}, 2), cases.feeds(graph))
    assert not any(found.values()), found


@pytest.mark.parametrize("name", NEEDED)
def test_candidates_fit_and_are_none_twice(name):
    isa = named(name)
    kernels = tiled_kernels(program_of(graph_of(Cases(0)), isa))
    assert sum(isinstance(kernel, Dense) for kernel in kernels) >= 4
    assert sum(isinstance(kernel, Depthwise) for kernel in kernels) >= 2
    for kernel in kernels:
        found = candidates(kernel, isa)
        assert found and len(set(found)) == len(found) and kernel not in found
        assert all(fits(each, tile_of(each), isa) for each in (kernel, *found))
    wide = kernels[0]
    refused = [(0, 1), (wide.columns + 1, 1), (1, 0), (1, wide.vectors + 1), (-1, 1), (16, 8)]
    assert not any(fits(wide, DenseTile(*tile), isa) for tile in refused)
    deep = kernels[-1]
    form = deep.form
    refused = [("", 1, 1, 1), (form, 0, 1, 1), (form, 9, 1, 1), (form, 1, 0, 1), (form, 1, 1, -1), (form, 1, 4, 4)]
    assert fits(deep, DepthwiseTile(form, 1, 1, 1), isa)
    assert not any(fits(deep, DepthwiseTile(*tile), isa) for tile in refused)
    assert not fits(wide, tile_of(deep), isa) and not fits(deep, tile_of(wide), isa), "of another family"


@pytest.mark.parametrize("name", NEEDED)
def test_constants_are_as_long_as_any_variant_wants(name):
    """Timed kernels may read nothing else."""
    isa = named(name)
    graph = graph_of(Cases(0))
    works = search.works_of(program_of(graph, isa), isa)
    assert {type(work.kernel) for work in works} == {Dense, Depthwise}
    for work in works:
        shape = shape_of(work.kernel)
        for variant in candidates(work.kernel, isa)[-2:]:
            program = program_of(graph, isa, {shape: tile_of(variant)})
            steps = [step for step in program.steps if is_searched(step.kernel) and shape_of(step.kernel) == shape]
            assert steps and all(tile_of(step.kernel) == tile_of(variant) for step in steps)
            wanted = [place.size for place in steps[0].operands]
            assert all(operand.size >= size for operand, size in zip(work.operands, wanted, strict=True))
            if isinstance(variant, Depthwise):
                assert variant.constants(isa) in wanted


def test_constants_are_no_denormal_numbers():
    """Their products would take so long that tiles are chosen by them."""
    operand = timing.Operand.of_constants(bytes(range(100)), 160)
    memory = timing.Memory([operand, timing.Operand(64)], 256)
    taken = {}

    def function(constants, arena, begin, end):
        taken[constants.value] = ctypes.string_at(constants.value, operand.size)

    memory.caller(function, 1)(40, False)
    assert len(taken) == timing.copies_of([operand]) == 16
    for content in taken.values():
        assert content[:64] == bytes(range(64))
        assert np.all(np.abs(np.frombuffer(content[64:], np.float32) - 0.747) < 0.001)


# --- the stage ---


def first_dense(works):
    return next(work for work in works if isinstance(work.kernel, Dense))


def run_stage(model, out, known=None, seconds=None, journal=None):
    """Messages, tiles, database."""
    out.mkdir()
    texts = []
    context = StageContext("tune", out, lambda event: texts.append(getattr(event, "text", "")), journal)
    params = tune.TuneParams(TARGET, model.name, CPU, seconds)
    tune.run(model.parent, (known or Database()).text(), params, context)
    return texts, json.loads((out / "tiles.json").read_text()), read(out / "tuning.json")


@runs
def test_a_search_takes_what_is_faster_for_sure(model, tmp_path, monkeypatch):
    """With figures that are known: the clock's own differ from run to run."""
    asked = []

    def measured(work, variants, *rest):
        asked.append(shape_of(work.kernel))
        return variants[0], 100.0, 90.0 if len(asked) % 2 else 98.0

    monkeypatch.setattr(search, "_timed", measured)
    texts, tiles, database = run_stage(model, tmp_path / "a", seconds=100.0)
    entries = {entry.kernel: entry for entry in database.entries.values()}
    assert set(entries) == set(asked) == set(tiles) and len(asked) >= 2, "one of one tile is not asked for"
    assert all((entries[kernel].tile == entries[kernel].default_tile) == bool(n % 2) for n, kernel in enumerate(asked))
    assert [entries[kernel].best for kernel in asked[:2]] == [90.0, 100.0]
    assert f"{-(-len(asked) // 2)} get another tile" in texts[-1]
    count = len(asked)
    _, again, same = run_stage(model, tmp_path / "b", database, 100.0)
    assert (again, same.text(), len(asked)) == (tiles, database.text(), count), "what is known is not measured again"


@runs
def test_a_search_that_was_killed_goes_on_from_its_journal(model, tmp_path, monkeypatch):
    asked = []

    def measured(work, variants, *rest):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(work)
        return variants[0], 100.0, 50.0

    journal = tmp_path / "journal"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(search, "_timed", measured)
        run_stage(model, tmp_path / "a", seconds=100.0, journal=journal)
    monkeypatch.setattr(search, "_timed", lambda work, *rest: pytest.fail("again") if work in asked else None)
    _, _, database = run_stage(model, tmp_path / "b", seconds=100.0, journal=journal)
    assert [entry.best for entry in database.entries.values() if entry.best] == [50.0]


def die(variants, **rest):
    """In place of `timing.fastest`: the second variant ends the process, of the others the last is the fastest."""
    if any(kernel.width == 2 for kernel in variants):
        os._exit(3)
    return search.Timed(len(variants) - 1, 10.0, 10.0 - variants[-1].width)


@runs
def test_variants_of_a_depthwise_convolution_are_timed():
    works = search.works_of(program_of(graph_of(Cases(0)), named(ISA)), named(ISA))
    work = next(work for work in works if isinstance(work.kernel, Depthwise))
    variants = candidates(work.kernel, named(ISA))[:2]
    chosen, default, best = search._timed(work, variants, ISA, TARGET, time.monotonic() + 60)
    assert chosen in variants and default > 1 and best > 1


@runs
def test_a_variant_that_crashes_loses_only_itself(model, monkeypatch):
    work = first_dense(search.works_of(program_of(graph_of(Cases(0)), named(ISA)), named(ISA)))
    variants = [replace(work.kernel, width=width) for width in (1, 2, 3)]
    monkeypatch.setattr(search, "fastest", die)
    found = search._timed(work, variants, ISA, TARGET, time.monotonic() + 60)
    assert found == (variants[2], 10.0, 7.0)
    assert search._timed(work, variants[1:2], ISA, TARGET, time.monotonic() + 60) is None
    with pytest.raises(search.OutOfTime):
        search._timed(work, variants, ISA, TARGET, time.monotonic())


@runs
def test_entries_that_do_not_fit_are_ignored_and_told(model, tmp_path):
    works = search.works_of(program_of(lowered(model), named(ISA)), named(ISA))
    shapes = [shape_of(work.kernel) for work in works]
    odd = [
        replace(ENTRY, kernel=shapes[0], tile=DenseTile(99, 1)),
        replace(ENTRY, kernel=shapes[1], tile=DenseTile(1, 1)),
        ENTRY,
    ]
    texts, tiles, database = run_stage(model, tmp_path / "a", Database(odd))
    assert tiles == {shapes[1]: {"family": "dense", "pixels": 1, "vectors": 1}}
    assert any("ignored: 99 x 1 for" in text for text in texts)
    assert len(database.entries) == 3, "they may fit another model"


def lowered(path):
    from edgec.backends.tvm.lowering import lowered_graph
    from edgec.onnx_graph.graph import load_model

    return lowered_graph(load_model(path))


@runs
def test_the_same_database_gives_the_same_bytes(model, tmp_path):
    """A real search, of a few kernels."""
    began = time.monotonic()
    _, _, database = run_stage(model, tmp_path / "search", seconds=5.0)
    assert time.monotonic() - began < 30, "it stops when the time is over"
    assert all(entry.cpu == CPU and 0 < entry.best <= entry.default for entry in database.entries.values())
    kernel = shape_of(search.works_of(program_of(lowered(model), named(ISA)), named(ISA))[0].kernel)
    database = database.merged([Entry(ISA, CPU, "time", kernel, DenseTile(1, 1), DenseTile(2, 1), 2.0, 1.0)])
    made = []
    for name in ("a", "b"):
        run_stage(model, tmp_path / f"tune-{name}", database)
        out = tmp_path / name
        out.mkdir()
        params = lower.LowerParams("tvm", TARGET, "int8", model.name)
        lower.run(model.parent, params, StageContext("lower", out, lambda event: None), tmp_path / f"tune-{name}")
        made.append((out / "payload" / "model.so").read_bytes())
    assert made[0] == made[1]
    plain = tmp_path / "plain"
    plain.mkdir()
    lower.run(model.parent, params, StageContext("lower", plain, lambda event: None))
    assert (plain / "payload" / "model.so").read_bytes() != made[0]


@runs
def test_a_build_writes_its_database_and_reads_it(digits, tmp_path):
    how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "tvm", "output": tmp_path}
    how |= {"targets": "x86-64-vnni", "search_seconds": 1.0}
    edgec.build(digits.model, **how, tune_seconds=4.0)
    place = tmp_path / "digits_cnn-x86-64-vnni.tuning.json"
    content = place.read_bytes()
    read(place)
    again = edgec.build(digits.model, **how, tuning=place)
    names = [stage.name for stage in again.builds[0].stages]
    assert names.index("quantize") < names.index("tune") < names.index("lower")
    assert place.read_bytes() == content
