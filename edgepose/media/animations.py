"""Animated WebP pictures, frame by frame, as browsers show them; GIF and animated PNG are videos to FFmpeg."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import SourceError
from edgepose.media.headers import read_header

# Chromium's and Firefox's: what is said to take 10 ms or less takes 100 ms.
_LEAST_MS, _DEFAULT_MS = 11, 100
_HAS_ALPHA, _IS_ANIMATED = 0x10, 0x02


class Step(NamedTuple):
    """A frame of an animation, as the file holds it.

    Attributes:
        x: Of its left edge on the canvas, pixels.
        y: Of its upper edge.
        width: Pixels.
        height: Likewise.
        seconds: How long it is shown.
        replaces: Whether it replaces what lies below it, transparency included, instead of being laid on it.
        vanishes: Whether its place is cleared after it.
        chunks: Its picture.
    """

    x: int
    y: int
    width: int
    height: int
    seconds: float
    replaces: bool
    vanishes: bool
    chunks: bytes


def is_animation(start: bytes) -> bool:
    """Whether a WebP or PNG file that begins like this is animated; a hundred bytes do."""
    if start.startswith(b"RIFF") and start[8:16] == b"WEBPVP8X":
        return len(start) > 20 and bool(start[20] & _IS_ANIMATED)
    return start.startswith(b"\x89PNG\r\n\x1a\n") and start[37:41] == b"acTL"


def webp_steps(data: bytes) -> tuple[tuple[int, int], list[Step]]:
    """Width and height of the canvas of an animated WebP, and its frames.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return _canvas(data), list(_steps(data))
    except struct.error:
        raise ValueError("damaged") from None


def play(canvas: tuple[int, int], steps: list[Step], name: str) -> Iterator[NDArray[np.uint8] | None]:
    """The canvas after each frame: (H, W, 4) uint8 BGRA, the same array again and again; None for a frame that is damaged."""
    width, height = canvas
    shown = np.zeros((height, width, 4), np.uint8)
    for step in steps:
        if step.x + step.width > width or step.y + step.height > height:
            raise SourceError(f"{name}: damaged animation: a frame of it lies outside of its {width} x {height} pixels")
        picture = _picture(step)
        if picture is None:
            yield None
            continue
        place = shown[step.y : step.y + step.height, step.x : step.x + step.width]
        place[:] = picture if step.replaces else _laid_on(place, picture)
        yield shown
        if step.vanishes:
            place[:] = 0


def _canvas(data: bytes) -> tuple[int, int]:
    words = struct.unpack_from("<HBHB", data, 24)
    return 1 + words[0] + (words[1] << 16), 1 + words[2] + (words[3] << 16)


def _steps(data: bytes) -> Iterator[Step]:
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"ANMF":
            if at + 8 + length > len(data):
                return  # Cut short: what there is.
            numbers = [int.from_bytes(data[at + 8 + 3 * i : at + 11 + 3 * i], "little") for i in range(5)]
            flags = data[at + 23]
            milliseconds = numbers[4] if numbers[4] >= _LEAST_MS else _DEFAULT_MS
            yield Step(
                2 * numbers[0],
                2 * numbers[1],
                1 + numbers[2],
                1 + numbers[3],
                milliseconds / 1000,
                bool(flags & 2),
                bool(flags & 1),
                data[at + 24 : at + 8 + length],
            )
        at += 8 + length + length % 2


def _picture(step: Step) -> NDArray[np.uint8] | None:
    """The picture of a frame, (h, w, 4) uint8 BGRA: a WebP file is made of it for the decoder."""
    extended = struct.pack("<4sIIHBHB", b"VP8X", 10, _HAS_ALPHA, (step.width - 1) & 0xFFFF, (step.width - 1) >> 16,
                           (step.height - 1) & 0xFFFF, (step.height - 1) >> 16)  # fmt: skip
    body = (extended if step.chunks.startswith(b"ALPH") else b"") + step.chunks
    file = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    try:
        header = read_header(file)
        if header is None or (header.width, header.height) != (step.width, step.height):
            return None
        picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, ValueError):
        return None
    if picture is None or picture.shape[:2] != (step.height, step.width):
        return None
    return np.asarray(picture if picture.shape[2] == 4 else cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA), np.uint8)


def _laid_on(below: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (h, w, 4) laid on another one by its transparency."""
    over = above[..., 3:].astype(np.float32) / 255
    under = below[..., 3:].astype(np.float32) / 255 * (1 - over)
    alpha = over + under
    colour = (above[..., :3] * over + below[..., :3] * under) / np.maximum(alpha, 1e-6)
    return np.rint(np.dstack([colour, alpha * 255])).astype(np.uint8)
