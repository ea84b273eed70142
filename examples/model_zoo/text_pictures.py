"""Pictures of text whose content is known exactly, because they are drawn here.

Words come from a text that is part of this repository, typefaces from a package (SIL Open Font License) and from
Pillow.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .packages import Package, unpack

FONTS = Package(
    "pypi",
    "font-source-serif-pro",
    "0.0.1",
    "38dd9a8d8027d22aa8ef2d10d27d7c558701b32772ff9f3790f509577e91dca4",
    ("*/SourceSerifPro-Regular.ttf", "*/SourceSerifPro-Bold.ttf", "*/SourceSerifPro-It.ttf", "*/LICENSE.txt"),
    "SIL Open Font License 1.1",
)
_WORDS = Path(__file__).resolve().parents[2] / "LICENSE"


@dataclass(frozen=True)
class Line:
    """A drawn line of text."""

    text: str
    picture: Image.Image


@dataclass(frozen=True)
class Page:
    """A drawn page; a box is (left, top, right, bottom) in pixels, one for each text."""

    boxes: tuple[tuple[int, int, int, int], ...]
    texts: tuple[str, ...]
    picture: Image.Image


def lines(seed: int, count: int, widest: float = math.inf, without: Collection[str] = ()) -> list[Line]:
    """`count` lines of one to three words, one in three with a number, dark on light in four typefaces.

    widest: the largest ratio of width to height of a picture.
    without: texts that no line has.
    """
    rng = random.Random(seed)
    drawn: list[Line] = []
    while len(drawn) < count:
        text = " ".join(rng.choice(_words()) for _ in range(rng.randint(1, 3)))
        if rng.random() < 1 / 3:
            text += f" {rng.randint(0, 99999)}"
        font = _font(rng.randrange(4), rng.choice([20, 24, 28, 32]))
        left, top, right, bottom = font.getbbox(text)
        size = (round(right - left) + 16, round(bottom - top) + 12)
        if size[0] > widest * size[1] or text in without:
            continue
        paper = tuple(rng.randint(190, 255) for _ in range(3))
        ink = tuple(rng.randint(0, 90) for _ in range(3))
        picture = Image.new("RGB", size, paper)
        ImageDraw.Draw(picture).text((8 - left, 6 - top), text, fill=ink, font=font)
        drawn.append(Line(text, picture))
    return drawn


def pages(seed: int, count: int, width: int, height: int, without: Collection[str] = ()) -> list[Page]:
    """`count` pages of several lines in mixed sizes and typefaces.

    without: texts that no line has.
    """
    rng = random.Random(seed)
    drawn = []
    for _ in range(count):
        paper = rng.randint(190, 255)
        picture = Image.new("RGB", (width, height), (paper, paper - rng.randint(0, 20), paper - rng.randint(0, 30)))
        canvas = ImageDraw.Draw(picture)
        boxes: list[tuple[int, int, int, int]] = []
        texts: list[str] = []
        top = 12
        while True:
            font = _font(rng.randrange(4), rng.choice([14, 18, 22, 28]))
            words = [rng.choice(_words()) for _ in range(rng.randint(1, 4))]
            left = rng.randint(6, 60)
            while len(words) > 1 and left + font.getlength(" ".join(words)) > width - 6:
                words.pop()
            first, upper, last, lower = (
                round(edge) for edge in canvas.textbbox((left, top), " ".join(words), font=font)
            )
            if lower > height - 8:
                break
            if " ".join(words) in without:
                continue
            ink = rng.randint(0, 100)
            canvas.text((left, top), " ".join(words), fill=(ink, ink, ink), font=font)
            texts.append(" ".join(words))
            boxes.append((first, upper, last, lower))
            top = lower + rng.randint(12, 30)
        drawn.append(Page(tuple(boxes), tuple(texts), picture))
    return drawn


@remember
def _words() -> list[str]:
    found = set(re.findall(r"[A-Za-z]{3,12}", _WORDS.read_text(encoding="utf-8")))
    return sorted(found)


@remember
def _font(index: int, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if index == 3:
        return ImageFont.load_default(size)
    return ImageFont.truetype(sorted(unpack(FONTS).rglob("*.ttf"))[index], size)
