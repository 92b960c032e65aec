"""Non-maximum suppression of boxes: of those that overlap much, the best alone stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Float, Ints
from edgepose.kernels.jit import kernel

FARTHEST_PX = 1e6  # No picture is near as large: what is farther away comes of a fault.


@kernel
def distinct_boxes(boxes: Float, most_overlap: float, most: int) -> Ints:
    """The places of those of M `boxes`, best first, that overlap none of the kept ones before them too much.

    Args:
        boxes: (M, 4) x0, y0, x1, y1, C-contiguous and finite, best first.
        most_overlap: Two boxes whose intersection is a larger part of their union (IoU) are the same.
        most: So many are kept at most, the first.
    """
    kept = np.empty(min(most, len(boxes)), np.int64)
    count = 0
    for i in range(len(boxes)):
        if count == len(kept):
            break
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        alone = True
        for n in range(count):
            j = kept[n]
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if width > 0 and height > 0:
                other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
                shared = width * height
                if shared > most_overlap * (area + other - shared):
                    alone = False
                    break
        if alone:
            kept[count] = i
            count += 1
    return kept[:count]


def corners_of(boxes: Float, are_centred: bool) -> Float:
    """(N, 4) x0, y0, x1, y1 of boxes that are these already, or else centre and sides: x, y, width, height."""
    if are_centred:
        with np.errstate(invalid="ignore", over="ignore"):  # infinity less infinity
            half = boxes[:, 2:] / 2
            boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return np.ascontiguousarray(boxes)


def are_boxes(corners: Float) -> NDArray[np.bool_]:
    """(N,) which of the `corners` (N, 4) are boxes: above 0 on both sides, and nowhere farther away than `FARTHEST_PX`."""
    with np.errstate(invalid="ignore"):
        found = (np.abs(corners) <= FARTHEST_PX).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    return np.asarray(found)


def best_first(scores: Float, least: float, most: int) -> Ints:
    """The places of those of N `scores` that are at least `least`, at most `most`, highest first, of equals the first."""
    with np.errstate(invalid="ignore"):
        places = np.flatnonzero(scores >= least)  # not so for NaN
    if len(places) > most:
        bound = np.partition(scores[places], len(places) - most)[len(places) - most]
        places = np.concatenate([places[scores[places] > bound], places[scores[places] == bound]])[:most]
        places.sort()
    return np.asarray(places[np.argsort(-scores[places], kind="stable")], np.int64)


def warm_up() -> None:
    """Compile the kernel, or load it from the cache."""
    distinct_boxes(np.zeros((2, 4), np.float32), 0.5, 2)
