"""`edgec bench` as its user meets it: what it prints, what it refuses, and what Ctrl-C leaves."""

from __future__ import annotations

import json

import pytest

from edgec.bundle.write import write_bundle
from edgec.cli.bench_names import distinct
from edgec.cli.bench_table import lines
from edgec.runtime.bundle import Bundle
from tests.benchmark_command.interruption import interrupted
from tests.cli.test_command_line import edgec


@pytest.fixture(scope="module")
def original(cnn):
    """The model that the artifact was built from."""
    return cnn.path.parents[1] / "source" / "model.onnx"


def document(**changes):
    """A measurement."""
    whole = {
        "path": "dist/a.edgec",
        "baseline": False,
        "name": "a",
        "precision": "int8",
        "engine": "tvm",
        "engine_version": "1",
        "threads": 1,
        "machine": "x86_64",
        "batch": 1,
        "load_ms": 12.0,
        "first_ms": 3.0,
        "latency_ms": {"p50": 1.0, "p90": 1.1, "p95": 1.2, "p99": 1.3, "max": 2.0, "mean": 1.05, "least": 0.9},
        "per_second": 950.0,
        "cpu_ms": 0.99,
        "peak_bytes": 50 << 20,
        "start_bytes": 30 << 20,
        "runs": 500,
        "turns": 50,
        "waiting": 0.0,
        "noisy": False,
        "ratio": None,
        "profile": None,
        "profile_note": "not asked for",
        "error": None,
    }
    return {**whole, **changes}


def ratio(verdict, low=0.4, high=0.5, of_medians=0.45, busy=False):
    cpu = {"of_medians": 0.7, "low": 0.6, "high": 0.8}
    wall = {"of_medians": of_medians, "low": low, "high": high}
    return {"to": "dist/b.onnx", **wall, "verdict": verdict, "busy": busy, "cpu": cpu}


def text(*documents, **options):
    return " ".join(" ".join(lines(documents, **options)).split())


def test_an_artifact_beside_its_original(cnn, original, tmp_path):
    result = edgec("bench", cnn.path, "--baseline", original, "--duration", "100ms", "--csv", tmp_path / "raw.csv")
    assert result.returncode == 0, result.stderr
    for word in ("p50", "p99", "peak MiB", "load ms", "first ms", "inf/s", "model.onnx", "95 % confidence"):
        assert word in result.stdout
    assert "measure: done" in result.stderr
    header, *rows = (tmp_path / "raw.csv").read_text().splitlines()
    assert header == "subject,turn,milliseconds"
    assert {row.split(",")[0] for row in rows} == {f'"{cnn.path}"', f'"{original}"'}
    assert all(float(row.rsplit(",", 1)[1]) > 0 for row in rows)


def test_json_is_one_document(cnn):
    result = edgec("bench", cnn.path, "--duration", "50ms", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["status"], told["error"], told["protocol"]["kind"]) == ("ok", None, "turns")
    assert told["artifacts"][0]["latency_ms"]["p50"] > 0


def test_a_gate_that_is_not_met_exits_with_7_and_shows_the_figures(cnn, original):
    arguments = ("--baseline", original, "--duration", "50ms", "--fail-if-slower-than", "0.0001")
    result = edgec("bench", cnn.path, *arguments, "--json")
    assert result.returncode == 7
    told = json.loads(result.stdout)
    assert (told["error"]["kind"], told["exit_code"]) == ("LimitNotMet", 7)
    assert len(told["artifacts"]) == 2


def test_ctrl_c_shows_what_was_measured(cnn):
    code, output = interrupted("bench", cnn.path, "--duration", "600s", when="measure: ")
    assert code == 130
    assert "p99" in output
    assert "Interrupted: these are the figures up to then." in output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--duration", "0s"), "longer than nothing"),
        (("--duration", "soon"), "not a duration"),
        (("--soak", "1s", "--duration", "1s"), "exclude each other"),
        (("--mlperf", "--duration", "1s"), "goes with neither"),
        (("--runs", "5"), "has no effect without --emulate"),
        (("--emulate", "--duration", "1s"), "does not go with --emulate"),
        (("--fail-if-slower-than", "1"), "something to compare with"),
        (("--batch", "0"), "0"),
        (("--baseline", "none.onnx"), "no baseline none.onnx"),
        (("--on", "board", "--baseline", "a.onnx"), "does not go with --on"),
        (("--on", "board", "--emulate"), "--on does not go with --emulate"),
        (("--on", "-oProxyCommand=x"), "can't be a host"),
    ],
)
def test_what_makes_no_sense_is_refused(cnn, arguments, why):
    result = edgec("bench", cnn.path, *arguments)
    assert result.returncode == 2
    assert why in result.stderr


def test_without_the_file(tmp_path):
    result = edgec("bench", tmp_path / "no.edgec", "--json")
    assert result.returncode == 2
    assert "There is no" in json.loads(result.stdout)["error"]["what"]


def test_a_model_in_the_place_of_an_artifact_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    result = edgec("bench", tmp_path / "model.onnx")
    assert result.returncode == 2
    assert "--baseline" in result.stderr


def test_with_json_a_command_that_measured_nothing_gives_the_same_document(tmp_path):
    told = json.loads(edgec("bench", tmp_path / "no.edgec", "--json").stdout)
    assert set(told) == {"edgec", "schema", "status", "exit_code", "artifacts", "error"}
    assert (told["status"], told["exit_code"], told["artifacts"]) == ("failed", 2, [])


def test_a_place_for_raw_times_that_cant_be_written_is_told_before_any_work(cnn, tmp_path):
    result = edgec("bench", cnn.path, "--duration", "600s", "--csv", tmp_path / "no" / "raw.csv")
    assert result.returncode == 73
    assert "raw.csv can't be written" in result.stderr
    assert "measure" not in result.stderr


def test_a_command_that_fails_leaves_no_empty_file_for_raw_times(tmp_path):
    assert edgec("bench", tmp_path / "no.edgec", "--csv", tmp_path / "raw.csv").returncode == 2
    assert not (tmp_path / "raw.csv").exists()


def test_a_file_that_is_no_artifact(tmp_path):
    (tmp_path / "x.edgec").write_text("no artifact")
    result = edgec("bench", tmp_path / "x.edgec")
    assert result.returncode == 9


def changed(cnn, place, **changes):
    """The artifact with another manifest."""
    bundle = Bundle.open(cnn.path)
    kept = {key: value for key, value in bundle.manifest.items() if key not in ("files", "format_version")}
    files = {name: bundle.read(name) for name in bundle.manifest["files"] if not name.endswith(".py")}
    write_bundle(place, {**kept, **changes}, files)
    return place


def test_an_artifact_of_another_architecture_comes_with_the_commands_for_its_device(cnn, tmp_path):
    other = changed(cnn, tmp_path / "m-rpi4.edgec", arch="aarch64", target="rpi4")
    result = edgec("bench", other)
    assert result.returncode == 10
    assert "is for aarch64" in result.stderr
    assert f"edgec bench {other} --on USER@DEVICE" in result.stderr
    assert "python3 m-rpi4.edgec bench" in result.stderr
    assert f"edgec bench --emulate {other}" in result.stderr


def test_a_missing_engine_exits_with_8(cnn, tmp_path):
    engine = {**Bundle.open(cnn.path).manifest["engine"], "distribution": "no-such-engine"}
    result = edgec("bench", changed(cnn, tmp_path / "m.edgec", engine=engine))
    assert result.returncode == 8
    assert "pip install" in result.stderr


def test_several_are_put_side_by_side():
    shown = lines([document(), document(path="dist/b.onnx", baseline=True, precision="original")])
    assert shown[0].split() == ["ms", "p50", "p90", "p95", "p99", "max"]
    assert shown[1].split() == ["a.edgec", "1.000", "1.100", "1.200", "1.300", "2.000"]
    assert shown[4].split() == ["inf/s", "CPU", "ms", "peak", "MiB", "load", "ms", "first", "ms"]
    assert shown[5].split() == ["a.edgec", "950.0", "0.990", "50.0", "12.000", "3.000"]


def test_what_takes_microseconds_is_told_to_a_tenth_of_one():
    fast = document(latency_ms=dict.fromkeys(("p50", "p90", "p95", "p99", "max"), 0.0049), per_second=72154.52)
    assert "p50 0.0049 ms" in text(fast)
    assert "throughput 72155 inferences/s" in text(fast)
    assert lines([fast, fast])[1].split()[1] == "0.0049"


def test_lines_fit_into_eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = document(path="dist/" + "n" * 60 + ".edgec", ratio=ratio("unclear"), noisy=True, waiting=0.5)
    other = document(path="dist/b.onnx")
    assert max(map(len, lines([long, other]))) <= 80


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (ratio("faster"), "0.450 of the time of b.onnx (95 % confidence: 0.400 to 0.500): faster, 2.22 times as fast"),
        (ratio("slower", 1.2, 1.4, 1.3), ": slower"),
        (ratio("alike", 0.98, 1.02, 1.0), ": as fast, as far as 5 % go"),
        (ratio("unclear", 0.8, 1.3, 1.0), ": too noisy to tell which is faster"),
        (ratio("unclear", 0.8, 1.3, 1.0), "It took 0.700 of its processor time (0.600 to 0.800)"),
        (ratio("faster", busy=True), ": faster; by how much, a busy machine does not tell. It took 0.700 of its"),
        (ratio("slower", 1.5, 2.5, 2.0, busy=True), ": slower; by how much, a busy machine does not tell."),
        (ratio("unclear", None, None), "of too few turns to say more"),
    ],
)
def test_a_ratio_says_what_its_interval_shows(found, words):
    assert words in text(document(ratio=found), document(path="dist/b.onnx"))


def test_a_busy_machine_is_told_of_with_its_cause():
    assert "30% of the time was spent waiting for a processor" in text(document(noisy=True, waiting=0.3))
    assert "the quartiles lie further apart" in text(document(noisy=True, waiting=None))
    assert "busy" not in text(document())


def test_p99_of_few_runs_is_not_taken_at_its_word():
    assert "Of 12 runs, p99 is no more than the slowest" in text(document(runs=12))


def test_a_batch_is_said_to_be_one_after_the_other():
    assert "8 inferences, one after the other" in text(document(batch=8))
    assert "8 inferences, one after the other" in text(document(batch=8), document(batch=8, path="b"))


def test_a_profile_shows_the_most_expensive_steps_and_kinds():
    steps = [{"name": f"n{i}", "operator": "Conv", "milliseconds": 1.0 + i, "share": (1 + i) / 210} for i in range(20)]
    shown = lines([document(profile=steps, profile_note="over 9 runs")])
    assert [line.split()[-1] for line in shown if " Conv " in line and "all" not in line][:3] == ["n19", "n18", "n17"]
    assert "in 10 more steps" in "\n".join(shown)
    assert "100.0% all Conv" in " ".join(" ".join(shown).split())


def test_steps_that_round_to_the_same_time_are_ordered_by_their_share():
    steps = [{"name": f"n{i}", "operator": "Conv", "milliseconds": 3e-5, "share": 0.1 * i} for i in range(1, 5)]
    shown = lines([document(profile=steps, profile_note="over 9 runs")])
    assert next(line.split()[:1] + line.split()[-1:] for line in shown if " Conv  n" in line) == ["0.00003", "n4"]


def test_why_there_is_no_profile_is_said():
    assert "no profile: it tells nothing" in text(document(profile=None, profile_note="it tells nothing"))


def test_what_ended_a_subject_is_said():
    assert "it died; the figures are those up to then" in text(document(error={"what": "it died"}))


def test_names_have_only_the_folders_that_tell_files_apart():
    assert distinct(["dist/a.edgec", "else/b.onnx"]) == ["a.edgec", "b.onnx"]
    assert distinct(["dist/tvm/a.edgec", "dist/tflite/a.edgec"]) == ["tvm/a.edgec", "tflite/a.edgec"]
    assert distinct(["a.edgec", "a.edgec"]) == ["a.edgec", "a.edgec"]


def test_help_says_what_is_there():
    result = edgec("bench", "--help")
    assert result.returncode == 0
    for flag in ("--baseline", "--soak", "--mlperf", "--profile", "--fail-if-slower-than", "--emulate"):
        assert flag in result.stdout
