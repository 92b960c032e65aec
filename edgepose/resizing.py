"""Frames scaled into the network's input, to the same pixels on every processor.

OpenCV's bilinear resize differs by a grey level between x86-64 and ARM in a fifth of all values, which moves doubtful
keypoints; its exact one takes two and a half times as long. This one is in whole numbers, as OpenCV's, and takes one and a
half times as long (benchmarks/resizing.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepose.decoding.jit import kernel

Image = NDArray[np.uint8]

WEIGHT_BITS = 11  # OpenCV's: 255 times two weights stays within 32 bits


def resize_into(image: Image, out: Image, height: int, width: int) -> None:
    """Scale `image` (H, W, 3) into the top left `height` x `width` of `out` (h, w, 3), C-contiguous; bilinear.

    Pixel centres lie at integers. Pixels beyond the edges are those of the edges.
    """
    columns, weights = _taps(image.shape[1], width)
    rows, row_weights = _taps(image.shape[0], height)
    _resize(np.ascontiguousarray(image), out, rows, row_weights, columns, weights)


def warm_up() -> None:
    """Compile the kernel, or load it from its cache."""
    resize_into(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8), 2, 2)


def _taps(size: int, scaled: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each of `scaled` pixels, which of `size` it lies at or behind, (scaled,), and the weight of the one after that."""
    at = (np.arange(scaled) + 0.5) * (size / scaled) - 0.5
    first = np.clip(np.floor(at), 0, max(size - 2, 0))
    share = np.clip(at - first, 0, 1) if size > 1 else np.zeros(scaled)
    return first.astype(np.int32), np.rint(share * (1 << WEIGHT_BITS)).astype(np.int32)


@kernel
def _resize(
    image: Image,
    out: Image,
    rows: NDArray[np.int32],
    row_weights: NDArray[np.int32],
    columns: NDArray[np.int32],
    weights: NDArray[np.int32],
) -> None:
    """First two rows into one, in vector registers; then of that row two pixels into one."""
    values = 3 * image.shape[1]
    lines = image.reshape((image.shape[0], values))
    one = np.int32(1 << WEIGHT_BITS)
    half = np.int32(1 << (2 * WEIGHT_BITS - 1))
    mixed = np.zeros(values + 3, np.int32)  # one pixel more, of weight 0, behind a single column
    for y in range(len(rows)):
        above = lines[rows[y]]
        below = lines[min(rows[y] + 1, len(lines) - 1)]
        lower = row_weights[y]
        upper = np.int32(one - lower)
        for i in range(values):
            mixed[i] = np.int32(above[i]) * upper + np.int32(below[i]) * lower
        line = out[y]
        for x in range(len(columns)):
            at = 3 * columns[x]
            right = weights[x]
            left = one - right
            for c in range(3):
                line[x, c] = (mixed[at + c] * left + mixed[at + 3 + c] * right + half) >> (2 * WEIGHT_BITS)
