"""Pages in a real browser, light and dark, wide, on a phone and on paper: all figures drawn, nothing cut."""

from __future__ import annotations

import re

import pytest

from edgec.report import render_html
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
