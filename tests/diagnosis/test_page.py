"""The page of a diagnosis: one file without scripts, names escaped, all figures drawn by a real browser."""

import re

import pytest

from edgec.diagnosis.document import diagnose
from edgec.report.diagnosis import render_diagnosis
from tests.diagnosis import planted
from tests.diagnosis.planted import case, images
from tests.report.browser import CHROMIUM, browser

NETWORKS = {"healthy": planted.healthy, "tied": planted.tied_concat, "outlier": planted.outlier_channel}


@pytest.fixture
def page(request, tmp_path):
    found = diagnose(case(NETWORKS[request.param](), images()), tmp_path)
    found.update(
        loss={
            "where": "quantization",
            "quantization_db": found["total_db"],
            "lowering_db": None,
            "total_db": None,
            "samples": found["samples"],
        },
        lowering=None,
        notes=["<script>alert(1)</script>"],
        judged_on="samples that calibration did not see",
    )
    model = {"name": "<b>net</b>", "path": "a&b.onnx", "sha256": "0" * 64}
    return render_diagnosis({"model": model, "target": "host", "diagnosis": found}), found


@pytest.mark.parametrize("page", NETWORKS, indirect=True)
def test_it_says_what_the_document_says_and_escapes_it(page):
    text, found = page
    assert "<script" not in text
    assert "&lt;b&gt;net&lt;/b&gt;" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    for layer in found["layers"]:
        assert layer["node"] in text
    for cause in found["causes"]:
        assert cause["title"].split()[-1] in text
    assert ("Nothing stands out" in text) == found["healthy"]
    assert text.count('<svg class="figure"') >= 1 + len(found["histograms"])


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium to draw the page with")
@pytest.mark.parametrize("page", NETWORKS, indirect=True)
def test_a_browser_draws_it_without_complaint(page, tmp_path):
    text, _ = page
    file = tmp_path / "page.html"
    file.write_text(text)
    for width in (1000, 390):
        found = browser().show(file, width)
        assert browser().complaints == []
        assert found["overflow"] <= 0, found["wide"]
        assert all(figure["shapes"] and not figure["outside"] for figure in found["figures"])
        assert not re.search(r"\b(NaN|None|Infinity|undefined)\b", found["text"])
