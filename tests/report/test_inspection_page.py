"""The page of an inspection in a real browser."""

from __future__ import annotations

import copy

import pytest

from edgec.report.inspection import render
from tests.inspection.example import inspection
from tests.report.browser import CHROMIUM, browser
from tests.report.test_in_browser import LOOKS

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium to draw the page with")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two targets: this machine, and a board of which some nodes are refused."""
    document = inspection()
    board = copy.deepcopy(document["inspections"][0])
    board.update(target="board", title="A board")
    board["analysis"]["profile"]["on_target"] = False
    node = {"node": "n", "operator": "Sin", "effect": "refused", "reason": "no kernel", "remedy": "Replace it."}
    support = {"status": "some", "reason": "", "int8_mac_fraction": None, "nodes": [node]}
    board["analysis"]["support"]["tflite"] = support
    document["inspections"].append(board)
    place = tmp_path_factory.mktemp("page") / "page.html"
    place.write_text(render(document))
    return place


@pytest.mark.parametrize("look", LOOKS)
def test_all_figures_are_drawn_and_nothing_is_cut(page, look):
    found = browser().show(page, **LOOKS[look])
    assert browser().complaints == []
    assert found["overflow"] <= 0 and found["wide"] == [], found["wide"]
    assert len(found["figures"]) == 5  # memory; for each target its roofline and its layers
    for figure in found["figures"]:
        assert figure["width"] > 100 and figure["height"] > 20 and figure["shapes"], figure["title"]
        assert figure["outside"] == figure["overlapping"] == [], figure["title"]
        assert figure["uncoloured"] == 0, figure["title"]
    assert "None" not in found["text"] and "NaN" not in found["text"]
