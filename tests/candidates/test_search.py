"""A search: every way to an artifact is tried or has a reason, the best is shipped with the front beside it."""

import json
import shutil
from pathlib import Path

import pytest

import edgec
from edgec.candidates.attempts import attempts
from edgec.errors import EdgecError, LimitNotMet, UsageError
from edgec.pipeline import plan
from edgec.runtime.bundle import Bundle
from edgec.spec import PRECISIONS, BuildSpec
from edgec.targets import load_target


def spec(**changes):
    return BuildSpec(**{"model": Path("m.onnx"), "search": PRECISIONS, "calibration": Path("photos"), **changes})


def names(found):
    """(backend, precision, profile, threads) of those that can be tried."""
    able = [each.spec for each in found if not isinstance(each.where, EdgecError)]
    return [(each.backend, each.precision, each.profile, each.threads) for each in able]


@pytest.fixture
def two_processors(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})


def test_a_search_is_over_backends_precisions_profiles_and_threads(two_processors):
    found = names(attempts(spec(), load_target("host")))
    assert ("tflite", "int8", "islands", 2) in found
    assert {precision for _, precision, _, _ in found} == set(PRECISIONS)
    assert [threads for *which, threads in found if which == ["tvm", "int8", "strict"]] == [1, 2, 3]
    assert len(set(found)) == len(found)


def test_what_a_backend_does_not_make_has_a_reason():
    (tvm,) = [each for each in attempts(spec(), load_target("host")) if each.name == "tvm fp16"]
    assert "tvm makes no fp16" in str(tvm.where)


def test_threads_are_searched_where_they_can_be_measured():
    assert {threads for *_, threads in names(attempts(spec(threads=3), load_target("host")))} == {3}
    assert {threads for *_, threads in names(attempts(spec(emulate=False), load_target("rpi4")))} == {None}


def test_without_data_only_what_needs_none_is_tried():
    found = attempts(spec(calibration=None), load_target("host"))
    assert {precision for _, precision, _, _ in names(found)} == {"int8-weights", "fp16", "float"}
    assert any("calibration data" in str(each.where) for each in found)


def test_searched_tiles_are_one_more_way_where_a_backend_has_them():
    found = attempts(spec(tune_seconds=1.0, threads=1, search=("int8",)), load_target("host"))
    assert [each.name for each in found if each.spec.tune_seconds] == [
        *("tvm int8 strict, 1 thread, searched tiles", "tvm int8 islands, 1 thread, searched tiles")
    ]
    assert "tvm int8 strict, 1 thread" in [each.name for each in found]


def test_what_int8_alone_can_do_leaves_the_others_out():
    found = attempts(spec(min_int8_macs=0.9), load_target("host"))
    assert {precision for _, precision, _, _ in names(found)} == {"int8"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_latency": 20.0}, "--max-latency 20ms can't be judged for rpi4"),
        ({"optimize": "energy"}, "energy"),
    ],
)
def test_what_needs_a_time_that_can_not_be_had_is_refused_before_any_work(changes, told):
    (only,) = attempts(spec(**changes), load_target("rpi4"))
    assert told in str(only.where)


def test_energy_needs_figures():
    (only,) = attempts(spec(optimize="energy"), load_target("host"))
    assert isinstance(only.where, UsageError)
    assert "watts_busy" in only.where.fix


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"search": ("int8", "fp16"), "precision": "float"}, "not among those to search"),
        ({"search": (), "optimize": "size", "backend": "tvm"}, "nothing to choose among"),
        ({"threads": -1}, "--threads"),
        ({"max_latency": 0.0}, "--max-latency"),
        ({"max_size": -5}, "--max-size"),
    ],
)
def test_nonsense_is_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        spec(**changes)


@pytest.fixture(scope="module")
def searched(digits, built_digits, tmp_path_factory):
    """A search over INT8 and float through OpenVINO, and where it left what."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(built_digits.store, folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEC_CACHE_DIR", str(folder / "store"))
        patch.setattr("os.sched_getaffinity", lambda process: {0, 1})
        how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "openvino"}
        how |= {"search": ("int8", "float"), "profile": "strict", "output": folder / "dist"}
        result = edgec.build(digits.model, optimize="accuracy", **how)
        with pytest.raises(LimitNotMet) as caught:
            edgec.build(digits.model, max_size=1000, **{**how, "output": folder / "refused"})
        planned = plan(_again(digits, folder))
    return result.builds[0], folder, caught.value, planned


def _again(digits, folder):
    return BuildSpec(
        digits.model,
        calibration=digits.calibration,
        recipe=digits.recipe,
        backend="openvino",
        search=("int8", "float"),
        profile="strict",
        output=folder / "dist",
    )


def test_the_best_is_shipped_with_its_threads_and_the_table_of_all(searched):
    built, _, _, _ = searched
    candidates = {item["name"]: item for item in built.choice["candidates"]}
    assert set(candidates) == {
        *("openvino int8 strict, 1 thread", "openvino int8 strict, 2 threads"),
        *("openvino float, 1 thread", "openvino float, 2 threads"),
    }
    (kept,) = [item for item in candidates.values() if item["status"] == "kept"]
    assert kept["precision"] == "float" == built.precision
    assert kept["accuracy"]["value"] == max(
        item["accuracy"]["value"] for item in candidates.values() if item["accuracy"]
    )
    assert Bundle.open(built.artifact.path).manifest["threads"] == kept["threads"] == built.latency["threads"]
    assert all(item["bytes"] or item["not_tried"] for item in candidates.values())


def test_the_others_of_the_front_lie_beside_it_with_what_was_measured_of_them(searched):
    built, folder, _, _ = searched
    others = [item for item in built.choice["candidates"] if item["front"] and item["status"] != "kept"]
    assert others, "INT8 is smaller, so it is on the front"
    front = folder / "dist" / "digits_cnn-host.front"
    found = {path.name for path in front.glob("*.edgec")}
    assert found == {f"digits_cnn-host-{item['name'].replace(',', '').replace(' ', '-')}.edgec" for item in others}
    for path in front.glob("*.edgec"):
        record = json.loads(path.with_suffix(".report.json").read_text())
        assert record["latency"]["threads"] == Bundle.open(path).manifest["threads"]
        assert record["build"]["artifact"]["bytes"] == path.stat().st_size


def test_a_limit_that_nothing_keeps_ships_nothing(searched):
    _, folder, error, _ = searched
    assert error.exit_code == 7
    assert {path.suffix for path in (folder / "refused").iterdir()} == {".html", ".json", ".md"}
    (built,) = error.result.builds
    assert built.status == "refused"
    assert built.artifact is None


def test_a_plan_of_a_search_finds_what_is_there(searched):
    *_, planned = searched
    stages = [(record.name, record.detail) for record in planned.stages]
    assert {("measure", "1 thread"), ("measure", "2 threads")} <= set(stages)
    assert all(record.cached for record in planned.stages)
    assert [name for name, reason in planned.candidates["host"] if not reason] == [
        *("openvino int8 strict, 1 thread", "openvino int8 strict, 2 threads"),
        *("openvino float, 1 thread", "openvino float, 2 threads"),
    ]
