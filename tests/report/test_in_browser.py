"""The page in a real browser: it draws all figures and complains of nothing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from edgec.report import render_html
from tests.report.examples import ALL

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--hide-scrollbars"),
)
BAR = (0x25, 0x63, 0xA8)  # --after of the style sheet, in light colours

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium to draw the page with")


def chromium(page, folder, *arguments):
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments, page.as_uri()]
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)


def test_a_page_with_a_fault_is_noticed(tmp_path):
    """Else the other tests here would prove nothing."""
    page = tmp_path / "page.html"
    page.write_text('<svg><rect width="NaN"/></svg><script>console.error("seen")</script>')
    assert "CONSOLE" in chromium(page, tmp_path, "--dump-dom").stderr


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_the_browser_draws_the_page_without_complaint(example, tmp_path):
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    text = render_html(example())
    page.write_text(text)
    done = chromium(page, tmp_path, f"--screenshot={shot}", "--window-size=1000,6000")
    assert "CONSOLE" not in done.stderr
    drawn = Image.open(shot).convert("RGB")
    colours = {colour for _, colour in drawn.getcolors(maxcolors=drawn.width * drawn.height)}
    assert len(colours) > 10
    if re.search(r'<rect class="bar( after)?"', text):
        assert BAR in colours


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_no_figure_is_lost_on_the_way(example, tmp_path):
    page = tmp_path / "page.html"
    text = render_html(example())
    page.write_text(text)
    shown = chromium(page, tmp_path, "--dump-dom").stdout
    assert shown.count('<svg class="figure"') == text.count('<svg class="figure"') > 0
    assert not re.search(r'<svg class="figure"[^>]*></svg>', shown)
    assert not re.search(r"\b(NaN|None|Infinity|undefined)\b", shown)
