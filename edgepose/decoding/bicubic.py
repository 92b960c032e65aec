"""Bicubic upsampling by an integer ratio, as weight tables: the surface can be evaluated where it is wanted.

Convolution with Keys' kernel (IEEE TASSP 29/6, 1981) at a = -0.75, pixel centres aligned at half pixels, edges replicated:
what OpenCV's `INTER_CUBIC` computes. Upsampled pixel u = cell * ratio + phase lies at (u + 0.5) / ratio - 0.5 cells.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Double, Float

A = -0.75
_Number = TypeVar("_Number", np.uintp, np.float32)


def _keys(distance: Double) -> Double:
    """Weight of a sample at `distance` cells."""
    d = np.abs(distance)
    near = ((A + 2) * d - (A + 3)) * d * d + 1
    far = ((A * d - 5 * A) * d + 8 * A) * d - 4 * A
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@lru_cache(maxsize=16)
def block_weights(ratio: int) -> Float:
    """(ratio + 2, 5) weights of cells c-2 .. c+2 in the upsampled pixels of cell c and one pixel more on either side."""
    position = (np.arange(-1, ratio + 1) + 0.5) / ratio - 0.5
    return _frozen(_keys(position[:, None] - np.arange(-2, 3)).astype(np.float32))


@lru_cache(maxsize=64)
def axis_taps(cells: int, ratio: int) -> tuple[NDArray[np.uintp], Float]:
    """For the P = cells * ratio upsampled pixels of an axis of 4 cells or more: (P,) the first of the four cells that each is
    made of, and (P, 4) the weights of that one and the next three.

    All four lie on the axis: near an edge, the weights of cells beyond it are added to that of the cell at the edge. (Unsigned,
    so that Numba looks for no negative index.)
    """
    position = (np.arange(cells * ratio) + 0.5) / ratio - 0.5
    taps = np.floor(position).astype(np.int64)[:, None] + np.arange(-1, 3)
    first = np.clip(taps[:, :1], 0, cells - 4)
    weights = np.zeros(taps.shape)
    pixels = np.arange(len(taps))[:, None]
    np.add.at(weights, (pixels, np.clip(taps, 0, cells - 1) - first), _keys(position[:, None] - taps))
    return _frozen(first[:, 0].astype(np.uintp)), _frozen(weights.astype(np.float32))


def _frozen(table: NDArray[_Number]) -> NDArray[_Number]:
    """`table`, safe to share."""
    table.flags.writeable = False
    return table
