"""What an inference costs, from figures that the user wrote."""

import pytest

from edgec.cost import cost_document, figures_of, missing, price_text, require_energy
from edgec.errors import UsageError

BOARD = 'name = "board"\ntitle = "A board"\narch = "aarch64"\nbackends = ["tflite"]\n'


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()

    def read(text):
        (tmp_path / "targets" / "board.toml").write_text(f"{BOARD}\n[cost]\n{text}\n")
        return figures_of("board")

    return read


def latency(after, before):
    return {"artifact": {"p50": after}, "baseline": {"p50": before}, "ratio_of_medians": after / before, "note": ""}


def test_a_price_of_an_hour_gives_that_of_1000_inferences(figures):
    known = figures('price_per_hour = 3.6\ncurrency = "EUR"')
    assert known.per_1000(20.0) == pytest.approx(0.02)  # 20 s of compute at a thousandth of a euro a second
    assert known.joules(20.0, 1, 4) is None


def test_a_device_wears_off_in_the_hours_that_it_is_used(figures):
    known = figures('device_price = 87.66\nlifetime_years = 2\nutilization = 0.5\ncurrency = "EUR"')
    assert known.price_per_hour == pytest.approx(0.01)  # 8766 hours of use in two years


def test_power_grows_from_idle_to_busy_with_the_threads(figures):
    known = figures("watts_busy = 8\nwatts_idle = 2")
    assert [known.watts(threads, 4) for threads in (1, 2, 4, 8)] == [3.5, 5.0, 8.0, 8.0]
    assert known.watts(1, None) == 8.0
    assert known.joules(500.0, 2, 4) == pytest.approx(2.5)


def test_before_and_after(figures):
    known = figures('price_per_hour = 3.6\ncurrency = "EUR"\nwatts_busy = 10')
    document = cost_document(known, "board", latency(5.0, 20.0), 1, 4)
    assert document["after"] == {"milliseconds": 5.0, "per_1000": pytest.approx(0.005), "joules": pytest.approx(0.05)}
    assert document["before"]["per_1000"] == pytest.approx(0.02)
    assert document["saved"] == 0.75
    assert "Estimate" in document["estimate"]


def test_without_a_time_there_is_no_cost_and_the_reason_is_told(figures):
    known = figures("watts_busy = 10")
    untimed = {"artifact": None, "baseline": None, "ratio_of_medians": None, "note": "Not measured: it is emulated."}
    document = cost_document(known, "board", untimed, 1, 4)
    assert document["after"] is document["before"] is document["saved"] is None
    assert "it is emulated" in document["note"]


def test_a_target_without_figures_has_no_cost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert figures_of("rpi4") is None
    assert cost_document(None, "rpi4", latency(1.0, 2.0), 1, 4) is None
    with pytest.raises(UsageError, match="energy") as caught:
        require_energy("rpi4")
    assert "watts_busy" in caught.value.fix and "targets/rpi4.toml" in caught.value.fix
    assert "Copy" in missing("rpi4"), "a built-in target is not to be edited in place"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("price_per_hour = -1", "price_per_hour is -1"),
        ("price_per_hour = 1", "no currency"),
        ("device_price = 80", "lifetime_years, utilization are missing"),
        ('device_price = 80\nlifetime_years = 3\nutilization = 1.5\ncurrency = "EUR"', "utilization is 1.5"),
        ('device_price = 80\nlifetime_years = 0\nutilization = 1\ncurrency = "EUR"', "lifetime_years is 0"),
        ('price_per_hour = 1\ndevice_price = 80\ncurrency = "EUR"', "both"),
        ("watts_idle = 2", "watts_busy missing"),
        ("watts_busy = 2\nwatts_idle = 5", "watts_idle is 5"),
        ("watts_busy = inf", "watts_busy is inf"),
        ("watts = 5", "Did you mean 'watts_"),
        ('currency = "EUR"', "neither"),
    ],
)
def test_figures_that_can_not_be_are_refused_with_the_file(figures, text, told):
    with pytest.raises(UsageError) as caught:
        figures(text)
    assert told in str(caught.value)
    assert "board.toml" in caught.value.what


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (4.012e-5, "0.0000401"),
        (0.25, "0.250"),
        (0.0, "0.00"),
        (12345.6, "12300"),
        (3.0, "3.00"),
        (9.999e-10, "0.00000000100"),
    ],
)
def test_money_is_written_without_an_exponent(amount, text):
    assert price_text(amount) == text
