"""What the model saw: histograms end where the data ends, and what is left out is counted."""

from __future__ import annotations

import re
from dataclasses import replace

from edgec.report import figures, seen
from tests.report.examples import good


def with_row(**changes):
    inputs = good()
    document = {**inputs.inputs, "inputs": [{**inputs.inputs["inputs"][0], **changes}]}
    return seen.table(replace(inputs, inputs=document)).rows[0]


def test_the_axis_ends_at_the_datas_extremes():
    row = with_row(min=-1.7, max=2.9, histogram={"low": -2.0, "high": 4.0, "counts": [5, 9, 7]})
    assert re.findall(r'class="tick"[^>]*>([^<]*)<', row.histogram) == ["-1.7", "2.9"]
    bars = [
        (float(x), float(width))
        for x, width in re.findall(r'class="bar" x="([\d.]+)%".*?width="([\d.]+)%"', row.histogram)
    ]
    assert len(bars) == 3
    assert bars[0][0] == 0
    assert all(x + width <= 100.01 for x, width in bars)


def test_bars_stand_where_their_values_are():
    plot = figures.columns([1, 1], (0.0, 2.0), (0.0, 1.5), ("0", "1.5"), "words")
    lefts = [float(x) for x in re.findall(r'class="bar" x="([\d.]+)%"', plot)]
    assert lefts == [0.0, 66.67]


def test_channels_that_are_left_out_are_counted():
    channel = {"min": 0.0, "max": 1.0, "mean": 0.5, "std": 0.1}
    many = with_row(channels=[channel] * 32).channels
    assert many[0] == "channels 0 to 7 of 32:"
    assert len(many) == 9
    few = with_row(channels=[channel] * 8).channels
    assert len(few) == 8
    assert few[0].startswith("channel 0: ")
