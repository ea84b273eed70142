"""What an inference costs, from the user's own figures of a device: the table [cost] of a target's TOML file.

Every result is an estimate, and is called one. What it takes for granted:

- The device computes one inference after the other and nothing else; an inference keeps it busy for its median latency.
- An hour of the device costs `price_per_hour`, or the share of its price that wears off in an hour of use:

      device_price / (lifetime_years * 8766 * utilization)        8766 hours a year, 365.25 * 24

- Its power lies between `watts_idle` and `watts_busy` (all threads at work) in proportion to the threads that compute:

      watts = watts_idle + (watts_busy - watts_idle) * threads / threads of the device

  Without `watts_idle`, or where the number of threads is not known, it is `watts_busy`.

From these:

      cost of 1,000 inferences = price_per_hour * milliseconds / 3600
      joules of an inference   = watts * milliseconds / 1000

Electricity is not added to the cost: whoever rents a device has paid it, and whoever owns one knows its price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from edgec import resources
from edgec.errors import UsageError
from edgec.toml_schema import Table

HOURS_A_YEAR = 365.25 * 24

_ABSENT = float("nan")
"""Stands for a key that is not there; told from a number that someone wrote by being this very object."""

ASSUMPTIONS = (
    "Estimate: one inference at a time keeps the device busy for its median latency, and power grows from idle to busy "
    "with the threads that compute."
)

KEYS = "price_per_hour (or device_price, lifetime_years and utilization), watts_busy and watts_idle"


@dataclass(frozen=True)
class CostFigures:
    """What the user says of a device; None for what is not said.

    currency: as people write it ("EUR"). price_per_hour: of the device, given or worked out.
    device_price, lifetime_years, utilization (share of the time in use, above 0 up to 1): what it was worked out from.
    watts_busy, watts_idle: of the whole device, all threads at work and none.
    """

    currency: str = ""
    price_per_hour: float | None = None
    device_price: float | None = None
    lifetime_years: float | None = None
    utilization: float | None = None
    watts_busy: float | None = None
    watts_idle: float | None = None

    def per_1000(self, milliseconds: float) -> float | None:
        """The price of 1,000 inferences that take so long each; None without a price."""
        return None if self.price_per_hour is None else self.price_per_hour * milliseconds / 3600

    def watts(self, threads: int | None, device_threads: int | None) -> float | None:
        """Watts while `threads` of the device's compute; None without power figures."""
        if self.watts_busy is None or self.watts_idle is None or not threads or not device_threads:
            return self.watts_busy
        return self.watts_idle + (self.watts_busy - self.watts_idle) * min(1.0, threads / device_threads)

    def joules(self, milliseconds: float, threads: int | None, device_threads: int | None) -> float | None:
        """The energy of an inference that takes so long; None without power figures."""
        watts = self.watts(threads, device_threads)
        return None if watts is None else watts * milliseconds / 1000


def read_cost(table: Table | None) -> CostFigures | None:
    """The table [cost] of a target; None where there is none. Raises UsageError for figures that can't be."""
    if table is None:
        return None
    given = {key: _number(table, key) for key in ("price_per_hour", "device_price", "lifetime_years", "utilization")}
    power = {key: _number(table, key) for key in ("watts_busy", "watts_idle")}
    currency = table.get("currency", str, "")
    table.done()
    worn = [given[key] for key in ("device_price", "lifetime_years", "utilization")]
    if given["price_per_hour"] is not None and any(value is not None for value in worn):
        raise table.error(
            "both price_per_hour and a device's price are given",
            "Keep one: an hour costs what you say, or what wears off in it.",
            "price_per_hour",
        )
    price, years, share = worn
    if any(value is not None for value in worn):
        if price is None or years is None or share is None:
            lacking = [key for key in ("device_price", "lifetime_years", "utilization") if given[key] is None]
            raise table.error(
                f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing",
                "The price of an hour follows from device_price, lifetime_years and utilization together.",
            )
        if years == 0 or not 0 < share <= 1:
            wrong = "lifetime_years" if years == 0 else "utilization"
            raise table.error(f"{wrong} is {given[wrong]:g}", "Write years above 0 and a share above 0 up to 1.", wrong)
        given["price_per_hour"] = price / (years * HOURS_A_YEAR * share)
    busy, idle = power["watts_busy"], power["watts_idle"]
    if idle is not None and (busy is None or idle > busy):
        fix = "Write watts_busy too, of the device with all threads at work: at least watts_idle."
        raise table.error(
            f"watts_idle is {idle:g} and watts_busy {'missing' if busy is None else f'{busy:g}'}", fix, "watts_idle"
        )
    if given["price_per_hour"] is None and busy is None:
        raise table.error("there is neither a price nor a power", f"Write {KEYS}, or remove the table.")
    if given["price_per_hour"] is not None and not currency:
        raise table.error("there is a price and no currency", 'Name it, for example: currency = "EUR"')
    return CostFigures(currency=currency, **given, **power)


def figures_of(target: str) -> CostFigures | None:
    """The figures of a target, by its name or the path of its file; None where there are none, or it is unknown."""
    path = resources.find("targets", target)
    return None if path is None else read_cost(Table.read(path).table("cost"))


def require_energy(target: str) -> CostFigures:
    """The figures of a target that has watts_busy; UsageError for any other."""
    found = figures_of(target)
    if found is None or found.watts_busy is None:
        raise UsageError(
            f"The energy of an inference on {target} can't be estimated",
            "Nothing says how many watts the device takes.",
            missing(target, "watts_busy = ... (and watts_idle = ..., if you know it)"),
        )
    return found


def missing(target: str, keys: str = KEYS) -> str:
    """What to add, and where."""
    place = Path("targets", f"{Path(target).stem}.toml") if not target.endswith(".toml") else Path(target)
    found = resources.find("targets", target)
    built_in = found is not None and found.parent == resources.builtin_folder("targets")
    copy = f"Copy {found} to ./{place} and add" if built_in and found != place else f"Add to {place}"
    return f"{copy}, under [cost], your own figures: {keys} (docs/targets.md)."


def cost_document(
    figures: CostFigures | None,
    target: str,
    latency: Mapping[str, Any] | None,
    threads: int | None,
    device_threads: int | None,
) -> dict[str, Any] | None:
    """What the build of one artifact says of its cost; None for a target without figures.

    latency: the document latency.json. Before is the original in ONNX Runtime, measured in turns with the artifact on
    as many threads: the saving is that of the two, whatever the machine costs.

    {"estimate": the assumptions, "currency", "price_per_hour", "watts",
     "after", "before": {"milliseconds", "per_1000" | null, "joules" | null} | null,
     "saved": share of the cost and of the energy | null, "note": why there is nothing to say, or ""}
    """
    if figures is None:
        return None
    times = latency or {}
    after, before = times.get("artifact"), times.get("baseline")
    ratio = times.get("ratio_of_medians")

    def of(milliseconds: float) -> dict[str, float | None]:
        return {
            "milliseconds": milliseconds,
            "per_1000": figures.per_1000(milliseconds),
            "joules": figures.joules(milliseconds, threads, device_threads),
        }

    note = (
        ""
        if after
        else f"No time was measured on {target}, and cost follows from time. {times.get('note', '')}".strip()
    )
    return {
        "estimate": ASSUMPTIONS,
        "currency": figures.currency,
        "price_per_hour": figures.price_per_hour,
        "watts": figures.watts(threads, device_threads),
        "after": of(after["p50"]) if after else None,
        "before": of(before["p50"]) if before else None,
        "saved": None if ratio is None else round(1 - ratio, 4),
        "note": note,
    }


def price_text(amount: float) -> str:
    """An amount of money with three significant digits, however small, and no exponent: "0.0000401"."""
    return format(Decimal(f"{amount:.2e}"), "f")


def _number(table: Table, key: str) -> float | None:
    value = table.get(key, float, _ABSENT)
    if value is _ABSENT:
        return None
    if not 0 <= value < float("inf"):
        raise table.error(f"{key} is {value:g}", "It must be a number of at least 0.", key)
    return value
