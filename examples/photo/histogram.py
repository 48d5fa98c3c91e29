# SPDX-License-Identifier: Apache-2.0
"""How many pixels of a picture have which tone, counted and drawn."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

CHANNELS = 3
TONES = 256
COUNTS_BYTES = CHANNELS * TONES * 8

Counts = npt.NDArray[np.uint64]


def count_into(photo: bytes | memoryview, counts: Counts) -> None:
    """Counts the tones of an image file; `counts` has shape (3, 256): red, green, blue."""
    with Image.open(io.BytesIO(photo)) as image:
        pixels = np.asarray(image.convert("RGB"))
    for channel in range(CHANNELS):
        counts[channel] = np.bincount(pixels[:, :, channel].ravel(), minlength=TONES)


def counts_of(buffer: bytearray | memoryview) -> Counts:
    """The (3, 256) little-endian uint64 counts that lie in a buffer of COUNTS_BYTES bytes."""
    return np.frombuffer(buffer, dtype="<u8").reshape(CHANNELS, TONES)


SCALE = 2  # drawn larger and then shrunk, which smooths the lines
SIZE = (960, 600)
PLOT = (70, 90, 930, 520)  # left, top, right, bottom
TOPS = (0.004, 0.008, 0.012, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.4, 1.0)
INK = (40, 40, 40)
PALE = (222, 222, 222)
COLOURS = {"red": (200, 60, 50), "green": (50, 140, 70), "blue": (50, 90, 190)}


def draw(counts: Counts) -> bytes:
    """PNG of the three curves: share of the picture's pixels over tone."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    # Clipped black and white may tower over all other tones: then they leave the plot.
    highest = float(shares[:, 1:-1].max())
    top = next((top for top in TOPS if top >= highest), TOPS[-1])
    image = Image.new("RGB", (SIZE[0] * SCALE, SIZE[1] * SCALE), "white")
    axes(image, top)
    for colour, share in zip(COLOURS.values(), shares, strict=True):
        curve(image, share / top, colour)
    for row, (name, colour) in enumerate(COLOURS.items()):
        label(image, (PLOT[2] - 64, PLOT[1] + 8 + 22 * row), name, 17, colour=colour)
    file = io.BytesIO()
    image.resize(SIZE, Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def axes(image: Image.Image, top: float) -> None:
    left, high, right, low = PLOT
    label(image, (left, 22), "Tonal histogram", 26)
    pen = ImageDraw.Draw(image)
    for part in range(5):
        y = low - (low - high) * part / 4
        pen.line(scaled([(left, y), (right, y)]), fill=PALE if part else INK, width=SCALE)
        label(image, (left - 8, y), f"{100 * top * part / 4:.1f} %", 15, anchor="rm")
    for tone in (0, 64, 128, 192, 255):
        x = left + (right - left) * tone / (TONES - 1)
        pen.line(scaled([(x, low), (x, low + 6)]), fill=INK, width=SCALE)
        label(image, (x, low + 10), str(tone), 15, anchor="ma")
    label(image, ((left + right) / 2, low + 40), "tone, dark to light", 17, anchor="ma")
    label(image, (left, high - 10), "share of the pixels", 15, anchor="ls")


def curve(image: Image.Image, heights: npt.NDArray[np.float64], colour: tuple[int, ...]) -> None:
    left, high, right, low = PLOT
    xs = np.linspace(left, right, TONES)
    ys = low - (low - high) * np.minimum(heights, 1.0)
    points = scaled(list(zip(xs, ys, strict=True)))
    shade = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(shade)
    pen.polygon([*scaled([(left, low)]), *points, *scaled([(right, low)])], fill=(*colour, 40))
    pen.line(points, fill=(*colour, 255), width=2 * SCALE, joint="curve")
    image.paste(shade, mask=shade)


def scaled(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x * SCALE, y * SCALE) for x, y in points]


def label(
    image: Image.Image,
    at: tuple[float, float],
    text: str,
    size: int,
    *,
    colour: tuple[int, ...] = INK,
    anchor: str = "la",  # of the text: which of its points lies at `at`
) -> None:
    font = ImageFont.load_default(size * SCALE)
    ImageDraw.Draw(image).text(scaled([at])[0], text, colour, font, anchor)
