"""Draws capsules: thick lines with round ends and soft edges; those of no length are discs.

A pixel is covered wholly up to half a pixel within the radius, not at all from half a pixel beyond it, and in proportion in
between. Each row of a capsule is one run of pixels: it is walked from both ends to where it is solid, and filled in between.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Float, Image
from edgepose.kernels.jit import kernel

_STEPS = 256  # of coverage, so that colours are mixed in integers
_FAR = 1e7  # pixels: with ends further out than this, distances near the picture would not be exact
_LEAST = 1e-9  # of a direction's two parts, so that they can be divided by
# Unsigned indices: Numba would make sure of others that they are not negative, which takes a quarter of the time.
_ONE, _TWO = np.uintp(1), np.uintp(2)


@kernel
def draw_capsules(image: Image, ends: Float, radii: Float, colours: Image) -> None:
    """Draw M capsules, one over the other, onto `image`.

    Args:
        image: (H, W, 3), C-contiguous; is written in place.
        ends: (M, 2, 2) x and y of both ends of the middle line, in pixels. Where one is NaN or very far away, the capsule is
            left out.
        radii: (M,) pixels, at least 0.5.
        colours: (M, 3) uint8, in the order of the image's channels.
    """
    height, width = image.shape[:2]
    rows = image.reshape((height, 3 * width))
    for m in range(len(ends)):
        x0, y0 = np.float64(ends[m, 0, 0]), np.float64(ends[m, 0, 1])
        x1, y1 = np.float64(ends[m, 1, 0]), np.float64(ends[m, 1, 1])
        if not abs(x0) + abs(y0) + abs(x1) + abs(y1) + abs(radii[m]) < _FAR:  # nor with NaN
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # Beyond `reach` from the line there is nothing; within `core` all is solid.
        reach, core = radii[m] + 0.5, radii[m] - 0.5
        solid = core * core
        blue, green, red = np.int32(colours[m, 0]), np.int32(colours[m, 1]), np.int32(colours[m, 2])

        # The line's direction: down, and to the right or the left.
        length = np.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
        right, down = ((x1 - x0) / length, (y1 - y0) / length) if length > 0 else (1.0, 0.0)
        right = right if abs(right) > _LEAST else _LEAST
        down = max(down, _LEAST)

        top, bottom = max(np.ceil(y0 - reach), 0.0), min(np.floor(y1 + reach), height - 1.0)
        for y in range(int(top), int(bottom) + 1):
            start, stop = _run(y - y0, y - y1, x0, x1, right, down, length, reach)
            left, last = int(max(min(np.ceil(start), width), 0.0)), int(min(max(np.floor(stop), -1.0), width - 1.0))
            row = rows[y]
            # The pixel's distance from the endless line, and its place along it: 0 at the first end, `length` at the second.
            aside, along = right * (y - y0) - down * (left - x0), right * (left - x0) + down * (y - y0)
            while left <= last:
                beyond = max(max(-along, along - length), 0.0)
                squared = aside * aside + beyond * beyond
                if squared <= solid:
                    break
                _mix(row, np.uintp(3 * left), reach - np.sqrt(squared), blue, green, red)
                left += 1
                aside -= down
                along += right
            aside, along = right * (y - y0) - down * (last - x0), right * (last - x0) + down * (y - y0)
            while last > left:
                beyond = max(max(-along, along - length), 0.0)
                squared = aside * aside + beyond * beyond
                if squared <= solid:
                    break
                _mix(row, np.uintp(3 * last), reach - np.sqrt(squared), blue, green, red)
                last -= 1
                aside += down
                along -= right
            for x in range(left, last + 1):
                at = np.uintp(3 * x)
                row[at] = blue
                row[at + _ONE] = green
                row[at + _TWO] = red


@kernel
def _run(
    below_first: float, below_second: float, x0: float, x1: float, right: float, down: float, length: float, reach: float
) -> tuple[float, float]:
    """From where to where a row is within `reach` of a line; infinity and minus infinity where it is nowhere.

    Args:
        below_first, below_second: How far the row lies below the line's two ends.
        x0, x1: Of the ends.
        right, down: The line's direction.
        length: Its length.
        reach: The greatest distance.
    """
    start, stop = np.inf, -np.inf
    # Around each end,
    inside = reach * reach - below_first * below_first
    if inside > 0:
        half = np.sqrt(inside)
        start, stop = x0 - half, x0 + half
    inside = reach * reach - below_second * below_second
    if inside > 0:
        half = np.sqrt(inside)
        start, stop = min(start, x1 - half), max(stop, x1 + half)
    # and in between: beside the endless line, and from one end to the other.
    middle, half = below_first * (right / down), reach / down
    one = -below_first * (down / right)
    other = one + length / right
    first, last = max(middle - half, min(one, other)), min(middle + half, max(one, other))
    if first < last:
        start, stop = min(start, x0 + first), max(stop, x0 + last)
    return start, stop


@kernel
def _mix(row: Image, at: np.uintp, covered: float, blue: np.int32, green: np.int32, red: np.int32) -> None:
    """Mix a colour into the pixel whose first channel is `row[at]`, in proportion to how much of it is `covered`."""
    share = np.int32(min(covered, 1.0) * _STEPS)
    row[at] += (blue - np.int32(row[at])) * share // _STEPS
    row[at + _ONE] += (green - np.int32(row[at + _ONE])) * share // _STEPS
    row[at + _TWO] += (red - np.int32(row[at + _TWO])) * share // _STEPS
