"""The monitor: what it counts, how it tells it, and that it never costs an answer."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

from edgec.runtime.errors import InputError, StorageFailed
from edgec.runtime.monitoring import monitor as module
from edgec.runtime.monitoring.exposition import number
from edgec.runtime.monitoring.monitor import Monitor
from edgec.runtime.monitoring.reservoir import Reservoir
from tests.runtime.monitoring.exposition_parser import parse
from tests.runtime.monitoring.models import model_of, pictures, totals


@pytest.fixture(scope="module")
def watched():
    return model_of(pictures(np.random.default_rng(0), 100))


@pytest.fixture
def image():
    return np.zeros((1, 3, 16, 16), np.float32)


def value(text, name, **labels):
    """The value of the only sample of that name that has these labels."""
    found = [
        number
        for family in parse(text).values()
        for (each, present), number in family["samples"].items()
        if each == name and labels.items() <= dict(present).items()
    ]
    assert len(found) == 1, name
    return found[0]


def test_runs_are_counted_and_answers_are_the_models(watched, image):
    monitor = Monitor(watched)
    for _ in range(5):
        assert monitor.run(image)["scores"].tobytes() == watched.run(image)["scores"].tobytes()
    document = monitor.to_json()
    assert (document["runs"], document["errors"], document["drift"]) == (5, {}, None)
    assert sum(document["latency_ms"]["counts"].values()) == 5
    assert document["recent"]["latency_ms"]["runs"] == 5
    assert document["latency_ms"]["p50"] <= document["latency_ms"]["p99"] <= document["latency_ms"]["most"]
    assert document["model"]["sha256"] == watched.bundle.sha256


def test_errors_are_counted_by_kind_and_raised(watched, image):
    monitor = Monitor(watched)
    with pytest.raises(InputError):
        monitor.run(image[0])
    broken = Monitor(model_of(function=lambda feeds: 1 / 0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            broken.run(image)
    assert value(monitor.prometheus(), "edgec_run_errors_total", kind="InputError") == 1
    assert value(broken.prometheus(), "edgec_run_errors_total", kind="ZeroDivisionError") == 2
    assert value(broken.prometheus(), "edgec_runs_total") == 0


def test_names_that_break_the_format_are_escaped():
    name = 'a"b\\c\nd'
    text = Monitor(model_of(name=name)).prometheus()
    families = parse(text)
    ((_, labels),) = families["edgec_runs_total"]["samples"]
    assert dict(labels)["model"] == name


def test_drift_is_exposed(watched):
    monitor = Monitor(watched, drift=True, window=50, share=1)
    for picture in pictures(np.random.default_rng(1), 50):
        monitor.run(picture + 3)
    text = monitor.prometheus()
    assert value(text, "edgec_drift_alert", tensor="image") == 1
    assert value(text, "edgec_drift_windows_total") == 1
    assert value(text, "edgec_drift_psi", tensor="image") > 0.25
    assert value(text, "edgec_drift_ks", tensor="image", statistic="mean") > 0.8
    document = json.loads(json.dumps(monitor.to_json(), allow_nan=False))
    assert {alert["tensor"] for alert in document["drift"]["alerts"]} == {"image", "scores"}


@pytest.mark.parametrize(
    ("given", "text"), [(1.0, "1"), (0.25, "0.25"), (float("inf"), "+Inf"), (float("nan"), "NaN"), (1e300, "1e+300")]
)
def test_numbers_are_written_as_the_format_wants(given, text):
    assert number(given) == text


def test_an_alert_is_raised_once_logged_and_ends(watched, caplog):
    alerts = []
    monitor = Monitor(watched, drift=True, window=50, share=1, on_alert=alerts.append)
    rng = np.random.default_rng(2)

    def feed(count, shift):
        for picture in pictures(rng, count):
            monitor.run(picture + np.float32(shift))

    with caplog.at_level(logging.WARNING, "edgec.runtime"):
        feed(100, 0)
        assert not alerts
        feed(100, 3)
    assert {alert.finding.tensor for alert in alerts} == {"image", "scores"}
    (alert,) = [each for each in monitor.alerts if each.finding.tensor == "image"]
    assert (alert.first_run, alert.windows) == (101, 2)
    assert "its mean is higher" in alert.text
    assert "edgec build --calib" in alert.text
    assert alert.text.splitlines()[0].startswith("input 'image' drifts since 20")
    assert caplog.text.count("input 'image' drifts") == 1
    feed(50, 0)
    assert monitor.alerts == ()
    assert value(monitor.prometheus(), "edgec_drift_alerts_total") == 2


def test_looking_takes_no_more_than_its_share(watched, image, monkeypatch):
    """Looking takes half a second here, of which 1 % shall be spent: the next look is 49.5 s later."""
    watch = Monitor(watched, drift=True, share=0.01)._watch
    clock = iter([100.0, 100.5])
    monkeypatch.setattr("edgec.runtime.monitoring.watch.time.perf_counter", lambda: next(clock))
    assert watch.is_due(0.0)
    watch.look({"image": image}, watched.run(image), 1)
    assert not watch.is_due(149.9)
    assert watch.is_due(150.1)
    assert (watch.looked_at, watch.seconds) == (1, 0.5)


def test_what_goes_wrong_in_watching_costs_no_answer(watched, image, monkeypatch, caplog):
    monitor = Monitor(watched, drift=True, share=1)
    monkeypatch.setattr(monitor._watch, "look", lambda *given: 1 / 0)
    assert "scores" in monitor.run(image)
    assert "drift is not watched any more" in caplog.text
    assert monitor.to_json()["drift"] is None


def test_a_callback_that_fails_costs_no_answer(watched, caplog):
    monitor = Monitor(watched, drift=True, window=50, share=1, on_alert=lambda alert: 1 / 0)
    for picture in pictures(np.random.default_rng(1), 51):
        assert "scores" in monitor.run(picture + 3)
    assert "on_alert failed" in caplog.text


def test_drifted_inputs_are_kept_within_limits(watched, tmp_path):
    folder = tmp_path / "drifted"
    monitor = Monitor(watched, drift=True, window=50, share=1, samples=folder, samples_bytes=40_000)
    rng = np.random.default_rng(3)
    for picture in pictures(rng, 50):
        monitor.run(picture)
    assert not folder.exists(), "nothing is kept as long as nothing drifts"
    for picture in pictures(rng, 150):
        monitor.run(picture + 3)
    files = sorted(folder.iterdir())
    assert 5 <= len(files) <= 9
    assert sum(file.stat().st_size for file in files) <= 40_000
    assert folder.stat().st_mode & 0o777 == 0o700
    with np.load(files[0]) as kept:
        assert kept["image"].shape == (1, 3, 16, 16)
        assert kept["image"].mean() > 1
    (alert,) = [each for each in monitor.alerts if each.finding.tensor == "image"]
    assert str(folder) in alert.text


def test_all_drifted_inputs_are_as_likely_to_be_kept(tmp_path):
    kept = np.zeros(40)
    for repeat in range(100):
        reservoir = Reservoir(tmp_path / str(repeat), 5 * 1100)
        reservoir._random.seed(repeat)
        for index in range(40):
            reservoir.offer({"x": np.full(8, index, np.float64)})
        for file in reservoir.folder.iterdir():
            kept[int(np.load(file)["x"][0])] += 1
    assert kept.sum() == 500
    assert kept[:20].sum() == pytest.approx(250, abs=45)


def test_a_folder_that_can_not_be_written_is_told_of_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    reservoir = Reservoir(tmp_path / "file" / "folder", 10**6)
    for _ in range(3):
        reservoir.offer({"x": np.zeros(4)})
    assert caplog.text.count("are not kept") == 1


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"samples": "x"}, "are of drift"),
        ({"on_alert": print}, "are of drift"),
        ({"drift": True, "window": 10}, "is not possible"),
        ({"drift": True, "share": 0}, "is not possible"),
    ],
)
def test_options_that_make_no_sense_are_refused(watched, options, what):
    with pytest.raises(InputError, match=what):
        Monitor(watched, **options)


def test_metrics_are_written_whole(watched, image, tmp_path):
    monitor = Monitor(watched)
    monitor.run(image)
    monitor.write(tmp_path / "edgec.prom")
    monitor.write(tmp_path / "edgec.json")
    assert value((tmp_path / "edgec.prom").read_text(), "edgec_runs_total") == 1
    assert json.loads((tmp_path / "edgec.json").read_text())["runs"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["edgec.json", "edgec.prom"]
    with pytest.raises(StorageFailed, match="can't be written"):
        monitor.write(tmp_path / "nowhere" / "edgec.prom")


def test_metrics_are_served_on_this_machine_only(watched, image):
    monitor = Monitor(watched)
    monitor.run(image)
    with monitor.serve(0) as server:
        assert server.host == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert value(answer.read().decode(), "edgec_runs_total") == 1
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics.json") as answer:
            assert json.load(answer)["runs"] == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(InputError, match="can't be served"):
            monitor.serve(server.port)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics")


def test_threads_lose_no_count(watched, image):
    monitor = Monitor(watched, drift=True, share=1, window=50)

    def work():
        for _ in range(200):
            monitor.run(image)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.to_json()["runs"] == 800


def test_recent_figures_forget(watched, image, monkeypatch):
    monitor = Monitor(watched)
    now = [module.time.perf_counter()]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monitor._turned = monitor._first_turn = now[0]
    monitor.run(image)
    now[0] += 70
    monitor.run(image)
    assert monitor.to_json()["recent"]["latency_ms"]["runs"] == 2
    now[0] += 70
    assert monitor.to_json()["recent"]["latency_ms"]["runs"] == 1
    now[0] += 500
    document = monitor.to_json()
    assert (document["recent"]["latency_ms"]["runs"], document["runs"]) == (0, 2)


def test_a_new_version_goes_on_counting(watched, image):
    monitor = Monitor(watched, drift=True)
    monitor.run(image)
    newer = model_of(pictures(np.random.default_rng(4), 50), name="newer")
    monitor.replace(newer)
    monitor.run(image)
    assert value(monitor.prometheus(), "edgec_runs_total", model="newer") == 2


def test_a_sequence_is_watched_step_by_step():
    def step(feeds):
        return {"scores": feeds["image"] + 1}

    model = model_of(shape=(1, 8), function=step, state={"scores": "image"})
    monitor = Monitor(model)
    outputs = list(monitor.run_sequence([{}, {}, {}]))
    assert [float(each["scores"][0, 0]) for each in outputs] == [1, 2, 3]
    assert monitor.to_json()["runs"] == 3


def test_totals_is_what_it_says(image):
    assert totals({"image": image + 2})["scores"].tolist() == [[2, 2, 2, 2, 0, 0, 0, 0]]
