"""A model with somebody who watches: the same runs, counted, timed, and where asked compared with the build's data."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, StorageFailed
from ..machine import peak_bytes, resident_bytes
from ..model import Feeds, Model
from .exposition import Family, exposition
from .histogram import Latencies
from .reservoir import Reservoir
from .server import Server
from .watch import Alert, DriftWatch

RECENT = 60.0
"""Seconds: figures of "recent" are of the last one to two such periods."""

WINDOW = 200
SHARE = 0.01
SAMPLES_BYTES = 64 << 20

_LEAST_WINDOW = 50
_log = logging.getLogger("edgec.runtime")


class Monitor:
    """Runs a model and keeps count.

        monitor = edgec.runtime.Monitor(model, drift=True)
        outputs = monitor.run({"image": array})      # as model.run
        monitor.serve(9464)                          # or write(path), prometheus(), to_json()

    drift: compare inputs and outputs with the artifact's profile, in windows of `window` runs. Looking at runs takes at
        most the `share` of the time; runs in between are not looked at.
    on_alert: called with each Alert when it is raised, in the thread of the run that completed the window.
    samples: a folder in which inputs are kept while one drifts, up to `samples_bytes`. None keeps nothing.

    Any number of threads may run it at once, if the engine allows that. Nothing is sent anywhere: `serve` answers on
    this machine only unless another host is given, and `write` writes where it is told.

    Raises InputError where the artifact's profile does not allow to watch for drift, or an option is out of range.
    """

    def __init__(
        self,
        model: Model,
        *,
        drift: bool = False,
        window: int = WINDOW,
        share: float = SHARE,
        on_alert: Callable[[Alert], None] | None = None,
        samples: str | os.PathLike[str] | None = None,
        samples_bytes: int = SAMPLES_BYTES,
    ) -> None:
        _check(model, drift, window, share, on_alert is not None, samples is not None)
        self._options = (drift, window, share)
        self._on_alert = on_alert
        self._reservoir = None if samples is None else Reservoir(Path(samples), samples_bytes)
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._started = time.time()
        self._errors: dict[str, int] = {}
        self._alerts = 0
        self._periods = (Latencies(), Latencies(), Latencies())  # all before, the last whole one, the one that runs
        self._runs = 0
        self._turned = self._first_turn = time.perf_counter()
        self.model = model
        self._watch = self._new_watch(model)

    def replace(self, model: Model) -> None:
        """Go on with another model, such as a new version: the counts go on, drift begins anew."""
        watch = self._new_watch(model)
        with self._looking, self._lock:
            self.model, self._watch = model, watch

    def run(self, feeds: Feeds | np.ndarray) -> dict[str, np.ndarray]:
        """`Model.run`, watched."""
        model = self.model
        began = time.perf_counter()
        try:
            outputs = model.run(feeds)
        except Exception as error:
            with self._lock:
                kind = type(error).__name__
                self._errors[kind] = self._errors.get(kind, 0) + 1
            raise
        ended = time.perf_counter()
        with self._lock:
            if ended - self._turned >= RECENT:
                self._turn(ended)
            self._periods[2].add(ended - began)
            self._runs += 1
            number = self._runs
        watch = self._watch
        if watch is not None and watch.is_due(ended):
            self._look(watch, model, feeds, outputs, number)
        return outputs

    def run_sequence(self, steps: Iterable[Feeds | np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """`Model.run_sequence`, watched: each step is a run."""
        return self.model.run_sequence(steps, self.run)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """What drifts at the moment, as far as it is known."""
        return () if self._watch is None else tuple(self._watch.alerts.values())

    def to_json(self) -> dict[str, Any]:
        """All that is known, as a JSON document. Latencies are in milliseconds."""
        with self._lock:
            latency, errors = _merged(self._periods).to_json(), dict(self._errors)
            recent, seconds = self._recent()
        return {
            "schema": 1,
            "model": self._labels(),
            "fallbacks": [str(refusal) for refusal in self.model.fallbacks],
            "since": round(self._started, 3),
            "runs": latency["runs"],
            "errors": errors,
            "latency_ms": latency,
            "recent": {
                "seconds": round(seconds, 1),
                "per_second": round(recent.count / seconds, 3) if seconds > 0 else 0.0,
                "latency_ms": {key: value for key, value in recent.to_json().items() if key != "counts"},
            },
            "resident_bytes": resident_bytes(),
            "peak_bytes": peak_bytes(),
            "drift": None if self._watch is None else self._watch.to_json(),
        }

    def prometheus(self) -> str:
        """All that is known, in Prometheus' text exposition format 0.0.4."""
        with self._lock:
            families = self._families()
        if self._watch is not None:
            families += self._drift_families(self._watch)
        return exposition(families, {"model": str(self.model.manifest["name"])})

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json()` to a path that ends in .json, `prometheus()` to any other: at once and whole, as the
        textfile collector of Prometheus' node_exporter wants its *.prom files. Raises StorageFailed."""
        place = Path(path)
        as_json = place.suffix == ".json"
        text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n" if as_json else self.prometheus()
        part = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            try:
                part.write_bytes(text.encode("utf-8", "backslashreplace"))
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"Metrics can't be written to {place}",
                f"The system says: {error.strerror}.",
                "Choose a place that this user may write to.",
            ) from error

    def serve(self, port: int, host: str = "127.0.0.1") -> Server:
        """Answer GET /metrics (Prometheus) and /metrics.json until the server that is returned is closed.

        On this machine only, unless another host is given: "0.0.0.0" answers everybody who reaches the device, without
        a password. port: 0 takes one that is free. Raises InputError when the port is taken.
        """
        return Server(host, port, self.prometheus, self.to_json)

    def _new_watch(self, model: Model) -> DriftWatch | None:
        drift, window, share = self._options
        return DriftWatch(model, window, share, self._reservoir) if drift else None

    def _look(
        self, watch: DriftWatch, model: Model, feeds: Feeds | np.ndarray, outputs: Mapping[str, np.ndarray], run: int
    ) -> None:
        """Let drift see a run, unless another thread's is being looked at. What goes wrong here costs no answer."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            raised, _ = watch.look(model.complete(feeds), outputs, run)
        except Exception:
            _log.exception("drift is not watched any more: it failed")
            self._watch = None
            return
        finally:
            self._looking.release()
        for alert in raised:
            self._alerts += 1
            _log.warning("%s", alert.text)
            if self._on_alert is not None:
                try:
                    self._on_alert(alert)
                except Exception:
                    _log.exception("the application's on_alert failed")

    def _turn(self, now: float) -> None:
        """Begin a period. After a pause, what ran before it is not recent any more."""
        paused = now - self._turned >= 2 * RECENT
        before, last, running = self._periods
        if paused:
            self._periods = (_merged(self._periods), Latencies(), Latencies())
        else:
            self._periods = (_merged((before, last)), running, Latencies())
        self._first_turn, self._turned = now if paused else self._turned, now

    def _recent(self) -> tuple[Latencies, float]:
        """What ran recently, and in how many seconds."""
        now = time.perf_counter()
        if now - self._turned >= RECENT:
            self._turn(now)
        return _merged(self._periods[1:]), now - self._first_turn

    def _labels(self) -> dict[str, str]:
        manifest, source = self.model.manifest, self.model.source
        version = None if source is None else source.release.get("version")
        return {
            "name": str(manifest["name"]),
            "version": "" if version is None else str(version),
            "sha256": self.model.bundle.sha256,
            "target": str(manifest["target"]),
            "precision": str(manifest["precision"]),
            "backend": str(manifest["backend"]),
            "engine": str(manifest["engine"]["name"]),
            "engine_version": str(self.model.engine.version),
        }

    def _families(self) -> list[Family]:
        info = Family("edgec_model_info", "gauge", "The artifact that runs; always 1.")
        info.add(1, **{key: text for key, text in self._labels().items() if key != "name"})
        fallbacks = Family(
            "edgec_model_fallbacks", "gauge", "Artifacts that were to be loaded rather, and were refused."
        )
        fallbacks.add(len(self.model.fallbacks))
        since = Family("edgec_start_time_seconds", "gauge", "When counting began, in seconds since 1970.")
        since.add(self._started)
        runs = Family("edgec_runs_total", "counter", "Runs that gave an answer.")
        runs.add(self._runs)
        latencies = _merged(self._periods)
        errors = Family("edgec_run_errors_total", "counter", "Runs that failed, by the kind of error.")
        for kind, count in sorted(self._errors.items()):
            errors.add(count, kind=kind)
        latency = Family("edgec_run_seconds", "histogram", "How long runs took.")
        for bound, count in latencies.cumulative():
            latency.add(count, "_bucket", le=repr(bound))
        latency.add(latencies.count, "_bucket", le="+Inf")
        latency.add(latencies.total, "_sum")
        latency.add(latencies.count, "_count")
        quantiles = Family("edgec_run_seconds_quantile", "gauge", "Latency that a share of recent runs did not exceed.")
        recent, _ = self._recent()
        for share in (0.5, 0.95, 0.99):
            quantiles.add(recent.quantile(share), quantile=repr(share))
        resident = Family("edgec_resident_bytes", "gauge", "Memory that this process has.")
        resident.add(resident_bytes())
        peak = Family("edgec_peak_bytes", "gauge", "The most memory that this process has had.")
        peak.add(peak_bytes())
        return [info, fallbacks, since, runs, errors, latency, quantiles, resident, peak]

    def _drift_families(self, watch: DriftWatch) -> list[Family]:
        windows = Family("edgec_drift_windows_total", "counter", "Windows of runs that were compared with the profile.")
        windows.add(watch.windows)
        raised = Family("edgec_drift_alerts_total", "counter", "Alerts that were raised.")
        raised.add(self._alerts)
        looking = Family("edgec_drift_looking_seconds_total", "counter", "Time that looking for drift has taken.")
        looking.add(watch.seconds)
        alert = Family("edgec_drift_alert", "gauge", "1 for a tensor that drifts, by the last window.")
        psi = Family("edgec_drift_psi", "gauge", "Population stability index of a tensor's elements.")
        ks = Family("edgec_drift_ks", "gauge", "Kolmogorov-Smirnov distance of a statistic of runs.")
        chance = Family("edgec_drift_ks_chance", "gauge", "The distance that chance explains.")
        for found in watch.findings:
            place = {"role": found.role, "tensor": found.tensor}
            alert.add(1 if found.reasons else 0, **place)
            psi.add(found.psi, **place)
            for name, value in found.ks.items():
                ks.add(value, **place, statistic=name)
                chance.add(found.ks_chance[name], **place, statistic=name)
        return [windows, raised, looking, alert, psi, ks, chance]


def _merged(periods: Iterable[Latencies]) -> Latencies:
    whole = Latencies()
    for period in periods:
        whole.merge(period)
    return whole


def _check(model: Model, drift: bool, window: int, share: float, alerts: bool, samples: bool) -> None:
    """Raises InputError for options that make no sense together, or at all."""
    if (alerts or samples) and not drift:
        raise InputError(
            "on_alert and samples are of drift",
            "drift was not asked for.",
            "Ask for it: Monitor(model, drift=True, ...).",
        )
    if window < _LEAST_WINDOW or not 0 < share <= 1:
        raise InputError(
            f"A window of {window} runs, and a share of {share:g} of the time, is not possible",
            f"Of fewer than {_LEAST_WINDOW} runs, chance explains nearly everything; a share is above 0, at most 1.",
            f"Leave them at {WINDOW} and {SHARE}.",
        )
    if samples and model.state:
        raise InputError(
            "Drifted inputs of a recurrent model are not kept",
            "A single step is no sample of it: calibration takes whole sequences.",
            "Leave samples out, and record sequences in the application.",
        )
