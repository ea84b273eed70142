"""Pages in a real browser, light and dark, wide, on a phone and on paper: all figures drawn, nothing cut."""

from __future__ import annotations

import re

import pytest

from edgec.report import render_html
from edgec.report.html import style
from edgec.report.index import render_index
from edgec.report.layer_figures import Dot, Roof, roofline
from tests.report.browser import CHROMIUM, browser
from tests.report.examples import ALL

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium to draw the page with")

PHONE = 390  # px
PAPER = 950  # px of A4's height between its margins

LOOKS = {
    "wide": {"width": 1000},
    "dark": {"width": 1000, "dark": True},
    "phone": {"width": PHONE},
    "print": {"width": 700, "media": "print"},
}


@pytest.fixture(scope="module", params=ALL)
def page(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("page") / "page.html"
    place.write_text(render_html(ALL[request.param]()))
    return place


def test_a_page_with_faults_is_noticed(tmp_path):
    """Else the other tests here would prove nothing."""
    place = tmp_path / "page.html"
    place.write_text(
        '<main><svg class="figure" width="90" height="40"><title>x</title><rect width="NaN" height="9"/>'
        '<text x="0" y="20">one text</text><text x="9" y="20">another, far too long for it</text></svg>'
        '<p style="width: 5000px">wide</p></main><script>console.error("seen")</script>'
    )
    found = browser().show(place, PHONE)
    assert any("seen" in text for text in browser().complaints)
    assert found["overflow"] > 0 and found["wide"]
    (figure,) = found["figures"]
    assert figure["outside"] and figure["overlapping"] and figure["uncoloured"]


@pytest.mark.parametrize("look", LOOKS)
def test_all_figures_are_drawn_and_nothing_is_cut(page, look):
    found = browser().show(page, **LOOKS[look])
    assert browser().complaints == []
    assert found["overflow"] <= 0, found["wide"]
    assert found["wide"] == []
    text = page.read_text()
    assert len(found["figures"]) == text.count('<svg class="figure"') > 0
    for figure in found["figures"]:
        assert figure["width"] > 100 and figure["height"] > 20 and figure["shapes"], figure["title"]
        assert figure["outside"] == [], figure["title"]
        assert figure["overlapping"] == [], figure["title"]
        assert figure["uncoloured"] == 0, figure["title"]
        if look == "print":
            assert figure["split"] == "avoid" and figure["height"] < PAPER, figure["title"]
    assert not re.search(r"\b(NaN|None|Infinity|undefined)\b", found["text"])


def test_light_and_dark_differ_and_paper_is_white(page):
    colours = [browser().show(page, **LOOKS[look])["background"] for look in ("wide", "dark")]
    assert colours[0] != colours[1]
    dark_paper = browser().show(page, width=700, dark=True, media="print")
    assert dark_paper["background"] == "rgb(255, 255, 255)"


@pytest.mark.parametrize("low", [0.11, 0.28, 0.97, 2.9])
def test_ticks_of_a_roofline_stay_inside_on_a_phone(low, tmp_path):
    """Wherever its axis begins and ends."""
    dots = [Dot(f"layer {i}", 2 * low * 1.3**i, 2.0 + 3 * i, 0.1, "dot memory") for i in range(12)]
    roofs = [Roof("float32 peak, 103 GMAC/s", 103.0, "floats"), Roof("INT8 peak, 431 GMAC/s", 431.0, "integers")]
    place = tmp_path / "page.html"
    figure = roofline(dots, roofs, 17.0, "Roofline. Made up.")
    place.write_text(f"<meta name=viewport content='width=device-width'><style>{style()}</style><main>{figure}</main>")
    found = browser().show(place, PHONE)
    assert found["figures"][0]["outside"] == []


def test_an_index_fits_a_phone_and_complains_of_nothing(tmp_path):
    row = {"name": "a_long_name_" * 6, "status": "ok", "verdict": "Holds, with remarks", "model_sha256": "0"}
    row |= {"target": "x86-64-avx-vnni", "backend": "openvino", "precision": "int8-weights", "artifact": "x.edgec"}
    row |= {"report": "x.report.html", "bytes": 6_400_000, "original_bytes": 18_800_000, "error": None}
    row |= {"ratio_of_medians": 0.3, "int8_share": 1.0, "machine": "a processor"}
    row["accuracy"] = {"measure": "accuracy", "value": 0.82, "original": 0.84, "of_reference": False}
    rows = [{**row, "latency_ms": 1.0 + i} for i in range(3)]
    place = tmp_path / "index.html"
    place.write_text(render_index({"builds": rows, "notes": ["A note."]}, place))
    for look in LOOKS.values():
        found = browser().show(place, **look)
        assert browser().complaints == []
        assert found["overflow"] <= 0, found["wide"]
        assert len(found["figures"]) == 1 and found["figures"][0]["outside"] == []
