"""Scaling of frames, and of parts of them, into the network's input, with the same pixels on every processor.

OpenCV's bilinear resize differs by a grey level between x86-64 and ARM in a fifth of all values, which moves doubtful
keypoints. Its exact variant takes up to twice as long as the one here (benchmarks/resizing.py), which also uses integers.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Double, Image, Int32
from edgepose.kernels.jit import kernel

WEIGHT_BITS = 11  # OpenCV's: 255 times two weights stays within 32 bits


def resize_into(image: Image, out: Image, height: int, width: int) -> None:
    """Scale `image` (H, W, 3) into the top left `height` x `width` of `out` (h, w, 3), C-contiguous; bilinear.

    Pixel centres lie at integers. Pixels beyond the edges are those of the edges.
    """
    rows = (0.5, image.shape[0] / height, 0.5)
    columns = (0.5, image.shape[1] / width, 0.5)
    _scale(np.ascontiguousarray(image), out[:height], width, rows, columns, True)


def crop_into(image: Image, out: Image, to_crop: Double) -> None:
    """Fill `out` (h, w, 3), C-contiguous, with a part of `image` (H, W, 3); bilinear, and black beyond the edges.

    Args:
        image: The frame.
        out: The crop.
        to_crop: (2, 3) affine map from pixels of the frame to pixels of the crop that scales and moves, without turning.
    """
    (x_scale, _, x), (_, y_scale, y) = to_crop.tolist()
    _scale(np.ascontiguousarray(image), out, out.shape[1], (-y, 1 / y_scale, 0.0), (-x, 1 / x_scale, 0.0), False)


def warm_up() -> None:
    """Compile the kernel, or load it from its cache."""
    resize_into(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8), 2, 2)


@kernel
def _scale(
    image: Image,
    out: Image,
    out_width: int,
    rows: tuple[float, float, float],
    columns: tuple[float, float, float],
    repeat_edges: bool,
) -> None:
    """Scale `image` into `out`: two rows are mixed into one, in vector registers, then two pixels of that row into one.

    Row i of `out` shows the place (i + rows[0]) * rows[1] - rows[2] of the image, and its columns likewise.
    """
    height, width = image.shape[:2]
    lines = image.reshape((height, 3 * width))
    half = np.int32(1 << (2 * WEIGHT_BITS - 1))
    top, row_weights = _taps(len(out), height, rows, repeat_edges)
    left, column_weights = _taps(out_width, width, columns, repeat_edges)
    start, stop = 3 * left.min(), 3 * min(left.max() + 2, width)  # the values of a row that are needed
    values = stop - start
    mixed = np.zeros(values + 3, np.int32)  # one pixel more, of weight 0, behind a single column
    for y in range(len(out)):
        above = lines[top[y], start:stop]
        below = lines[min(top[y] + 1, height - 1), start:stop]
        upper, lower = row_weights[y, 0], row_weights[y, 1]
        for i in range(values):
            mixed[i] = np.int32(above[i]) * upper + np.int32(below[i]) * lower
        line = out[y]
        for x in range(out_width):
            at = 3 * left[x] - start
            first, second = column_weights[x, 0], column_weights[x, 1]
            for c in range(3):
                line[x, c] = (mixed[at + c] * first + mixed[at + 3 + c] * second + half) >> (2 * WEIGHT_BITS)


@kernel
def _taps(count: int, size: int, line: tuple[float, float, float], repeat_edges: bool) -> tuple[Int32, Int32]:
    """For each of `count` places among `size` pixels: the first of two neighbours (count,), and the weights of both (count, 2).

    A neighbour beyond the edges has no weight.
    """
    first = np.zeros(count, np.int32)
    weights = np.zeros((count, 2), np.int32)
    one = 1 << WEIGHT_BITS
    for i in range(count):
        at = (i + line[0]) * line[1] - line[2]
        if repeat_edges:
            at = min(max(at, 0.0), size - 1.0)
        if -1 < at < size:
            before = int(np.floor(at))
            second = int(np.rint((at - before) * one))
            first[i] = min(max(before, 0), max(size - 2, 0))
            for neighbour, weight in ((before, one - second), (before + 1, second)):
                if 0 <= neighbour < size:
                    weights[i, neighbour - first[i]] = weight
    return first, weights
