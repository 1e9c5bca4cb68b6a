#!/usr/bin/env python3
"""Draws the pictures of the `ocr` job, and writes down what stands in them.

    python make.py FOLDER    with Debian's fonts-dejavu-core and fonts-liberation

Verses of the King James Version (../embed/data/lines.txt), drawn with several fonts, sizes and colours; one picture is
made to look like a scan: turned, unevenly lit, blurred and noisy. Prints one JSON object: the lines of each picture.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).resolve().parent
FONTS = Path("/usr/share/fonts/truetype")
SANS, SERIF, MONO = "dejavu/DejaVuSans.ttf", "liberation/LiberationSerif-Regular.ttf", "dejavu/DejaVuSansMono.ttf"

# What stands on the scanned page of scikit-image, as a person reads it.
PAGE = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
    ">>> markers = np.zeros_like(coins)",
]


def wrapped(verses: list[str], columns: int) -> list[str]:
    lines = [""]
    for word in " ".join(verses).split():
        if len(lines[-1]) + len(word) < columns:
            lines[-1] = f"{lines[-1]} {word}".strip()
        else:
            lines.append(word)
    return lines


def drawn(lines: list[str], font: str, size: int, ink="black", paper="white", mode="L", margin=24) -> Image.Image:
    face = ImageFont.truetype(str(FONTS / font), size)
    step = int(size * 1.5)
    width = int(max(face.getlength(line) for line in lines)) + 2 * margin
    picture = Image.new(mode, (width, step * len(lines) + 2 * margin), paper)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        pen.text((margin, margin + row * step), line, fill=ink, font=face)
    return picture


def scanned(picture: Image.Image) -> Image.Image:
    turned = picture.rotate(1.8, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    pixels = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float64)
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    light = 0.95 - 0.35 * (rows / pixels.shape[0]) * (columns / pixels.shape[1])
    noise = np.random.default_rng(7).normal(0, 6, pixels.shape)
    # In steps of 16, so that the noise does not fill the file.
    return Image.fromarray((np.clip(pixels * light + noise, 0, 255) // 16 * 16).astype(np.uint8))


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    verses = (HERE.parent / "embed/data/lines.txt").read_text(encoding="utf-8").splitlines()
    draw = random.Random(3)
    draw.shuffle(verses)
    take = lambda count, columns: wrapped([verses.pop() for _ in range(count)], columns)
    receipt = [f"{name:<14}{number:>8}" for name, number in
               [("Item", "Price"), ("Bread", "3.20"), ("Olive oil", "12.85"), ("Wine 0.7 l", "9.99"), ("Total", "26.04")]]
    pages = {
        "sans.png": (lines := take(4, 56), drawn(lines, SANS, 20)),
        "serif.png": (lines := take(4, 60), drawn(lines, SERIF, 22)),
        "colours.png": (lines := take(2, 40), drawn(lines, SANS, 26, "#f2e8c9", "#203a5c", "RGB")),
        "receipt.png": (receipt, drawn(receipt, MONO, 18)),
        "strip.png": (lines := ["The heart is deceitful"], drawn(lines, SANS, 16, margin=3)),
        "scan.png": (lines := take(4, 54), scanned(drawn(lines, SERIF, 24))),
    }
    truth = {}
    for name, (lines, picture) in pages.items():
        picture.save(folder / name, optimize=True)
        # What a column of the receipt leaves empty is no text.
        truth[name] = [" ".join(line.split()) for line in lines]
    blank = Image.new("1", (300, 200), 1)
    blank.save(folder / "blank.png", optimize=True)
    truth["blank.png"] = []
    truth["page.png"] = PAGE
    print(json.dumps(truth, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
