"""Keypoint peaks of heatmaps, on their bicubic surface, without upsampling the maps.

A peak is a pixel of the upsampled map that is at least `threshold` and above its four neighbours; of two pixels of the same
height side by side, as a peak in the middle of a cell has them, the right or lower one. The surface is evaluated only in cells
that can hold a peak; peaks of one type closer than `radius` are merged.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Bools, Float, Int32, Ints
from edgepose.kernels.jit import kernel

# The most peaks of one keypoint type in a frame; the strongest are kept. A crowd has a few dozen, noise has hundreds.
MAX_PEAKS = 128

# A cell holds no peak if one of its four neighbours is much higher. On the way up to that neighbour, by a step s, after a step
# b and before a step a, the cubic's slope half way is (9 s - 1.5 (a + b)) / 8: still upwards, so that the top is not in the
# lower cell, unless s < (a + b) / 6. Where nothing is below zero, b is at most the cell's height, and near a top a is no more
# than b: hence a third for the smooth maps that networks make (in those of 130 photos of COCO val2017 a neighbour of one of
# the 2947 peaks' cells is at most 1.26 times as high). Noise on top breaks that now and then: of 1200 scenes of
# tests/synthetic/scenes.py, 4 lost a peak with a third, and none with the double that is taken here, for a tenth of the time.
_HIGHEST_NEIGHBOUR = np.float32(2)
# Where nothing is below zero, the surface is at most 1.45 times as high as the highest cell around (the positive weights add up
# to 1.1875 ** 2 + 0.1875 ** 2 at most), and in smooth maps a peak's cell is at least 3/4 as high as that one.
_LOWEST_CELL = np.float32(0.5)
# The number of cells that are evaluated together, side by side in each array, so that all sums run in vector registers.
LANES = 32


@kernel
def find_peaks(heatmaps: Float, weights: Float, threshold: float, radius: float, peaks: Float, counts: Ints) -> int:
    """Find the peaks of each map.

    Args:
        heatmaps: (K, h, w), C-contiguous.
        weights: (ratio + 2, 5) of `bicubic.block_weights`.
        threshold: The least height of a peak.
        radius: Peaks closer than this are merged, in upsampled pixels: the leftmost stays, as in the reference decoder.
        peaks: (K, MAX_PEAKS, 5) to be filled, by x, then y: x, y in upsampled pixels, height, and x, y of the top of the
            parabola through the pixel and its neighbours.
        counts: (K,) to be filled: peaks of each type.

    Returns:
        The number of types with more than `MAX_PEAKS`.
    """
    types, height, width = heatmaps.shape
    size = weights.shape[0]
    cells = np.empty((height * width, 2), np.int32)
    patch = np.zeros((5, 5 * LANES), np.float32)  # zeros, as uninitialised memory may hold denormal numbers, which are slow
    rows = np.empty((5, size * LANES), np.float32)
    block = np.empty((size, size * LANES), np.float32)
    higher = np.empty(size * LANES, np.bool_)
    least = np.float32(threshold)
    overfull = 0
    for k in range(types):
        candidates = _find_candidates(heatmaps[k], least * _LOWEST_CELL, cells)
        found = 0
        for first in range(0, candidates, LANES):
            count = min(LANES, candidates - first)
            _evaluate(heatmaps[k], cells[first:], count, weights, patch, rows, block)
            found = _collect(cells[first:], count, block, higher, least, peaks[k], found)
        overfull += found > MAX_PEAKS
        found = min(found, MAX_PEAKS)
        _sort_by_x(peaks[k], found)
        counts[k] = _merge_close(peaks[k], found, radius)
    return overfull


@kernel
def _find_candidates(heatmap: Float, lowest: np.float32, cells: Int32) -> int:
    """Put the cells (y, x) that may hold a peak into `cells`, row by row; returns their number."""
    height, width = heatmap.shape
    high = np.empty(width, np.bool_)
    count = 0
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        high_cells = 0
        for x in range(width):
            value = heatmap[y, x]
            limit = value * _HIGHEST_NEIGHBOUR
            high[x] = (value >= lowest) & (heatmap[above, x] <= limit) & (heatmap[below, x] <= limit)
            high_cells += high[x]
        if high_cells == 0:
            continue
        for x in range(1, width):
            high[x] &= heatmap[y, x - 1] <= heatmap[y, x] * _HIGHEST_NEIGHBOUR
        for x in range(width - 1):
            high[x] &= heatmap[y, x + 1] <= heatmap[y, x] * _HIGHEST_NEIGHBOUR
        for x in range(width):
            if high[x]:
                cells[count, 0], cells[count, 1] = y, x
                count += 1
    return count


@kernel
def _evaluate(heatmap: Float, cells: Int32, count: int, weights: Float, patch: Float, rows: Float, block: Float) -> None:
    """The surface in the pixels of each cell and one around; outside the map it is minus infinity."""
    height, width = heatmap.shape
    size = weights.shape[0]
    last = (size - 1) * LANES
    for lane in range(count):
        y, x = cells[lane, 0], cells[lane, 1]
        for j in range(5):
            source = min(max(y + j - 2, 0), height - 1)
            for i in range(5):
                patch[j, i * LANES + lane] = heatmap[source, min(max(x + i - 2, 0), width - 1)]
    for u in range(size):
        a, b, c, d, e = weights[u, 0], weights[u, 1], weights[u, 2], weights[u, 3], weights[u, 4]
        for j in range(5):
            for n in range(LANES):
                rows[j, u * LANES + n] = (
                    a * patch[j, n] + b * patch[j, LANES + n] + c * patch[j, 2 * LANES + n]
                    + d * patch[j, 3 * LANES + n] + e * patch[j, 4 * LANES + n]
                )  # fmt: skip
    for v in range(size):
        a, b, c, d, e = weights[v, 0], weights[v, 1], weights[v, 2], weights[v, 3], weights[v, 4]
        for n in range(size * LANES):
            block[v, n] = a * rows[0, n] + b * rows[1, n] + c * rows[2, n] + d * rows[3, n] + e * rows[4, n]
    for lane in range(count):
        y, x = cells[lane, 0], cells[lane, 1]
        for u in range(size):
            if x == 0:
                block[u, lane] = -np.inf
            if x == width - 1:
                block[u, last + lane] = -np.inf
            if y == 0:
                block[0, u * LANES + lane] = -np.inf
            if y == height - 1:
                block[size - 1, u * LANES + lane] = -np.inf


@kernel
def _collect(cells: Int32, count: int, block: Float, higher: Bools, threshold: np.float32, peaks: Float, found: int) -> int:
    """Add the peaks in `block` to the `found` so far, or put them in the places of weaker ones; returns the number found."""
    ratio = block.shape[0] - 2
    for v in range(1, ratio + 1):
        hits = 0
        for n in range(LANES, (ratio + 1) * LANES):
            center = block[v, n]
            # Neighbouring cells get the same bits for the pixels between them: the sums are the same, in the same order.
            across = (center >= block[v, n - LANES]) & (center > block[v, n + LANES])
            down = (center >= block[v - 1, n]) & (center > block[v + 1, n])
            higher[n] = across & down & (center >= threshold)
            hits += higher[n]
        if hits == 0:
            continue
        for n in range(LANES, (ratio + 1) * LANES):
            lane = n % LANES
            if not higher[n] or lane >= count:
                continue
            place = found
            found += 1
            if place >= MAX_PEAKS:
                place = _weakest(peaks)
                if block[v, n] <= peaks[place, 2]:
                    continue
            x, y = cells[lane, 1] * ratio + n // LANES - 1, cells[lane, 0] * ratio + v - 1
            peaks[place, 0], peaks[place, 1], peaks[place, 2] = x, y, block[v, n]
            peaks[place, 3] = x + _top(block[v, n - LANES], block[v, n], block[v, n + LANES])
            peaks[place, 4] = y + _top(block[v - 1, n], block[v, n], block[v + 1, n])
    return found


@kernel
def _top(before: np.float32, center: np.float32, after: np.float32) -> np.float32:
    """The offset of the top of the parabola through three values from the middle one, within half a pixel; 0 at an edge."""
    if before == -np.inf or after == -np.inf:
        return np.float32(0)
    curve = before - center - center + after  # below zero, as the middle is the highest
    return np.float32(0.5) * (before - after) / curve


@kernel
def _weakest(peaks: Float) -> int:
    """The index of the lowest of `MAX_PEAKS` peaks."""
    place = 0
    for i in range(1, MAX_PEAKS):
        if peaks[i, 2] < peaks[place, 2]:
            place = i
    return place


@kernel
def _sort_by_x(peaks: Float, count: int) -> None:
    """Insertion sort by x, then y: there are few."""
    for i in range(1, count):
        x, y, height, top_x, top_y = peaks[i, 0], peaks[i, 1], peaks[i, 2], peaks[i, 3], peaks[i, 4]
        j = i
        while j > 0 and (peaks[j - 1, 0] > x or (peaks[j - 1, 0] == x and peaks[j - 1, 1] > y)):
            for field in range(5):
                peaks[j, field] = peaks[j - 1, field]
            j -= 1
        peaks[j, 0], peaks[j, 1], peaks[j, 2], peaks[j, 3], peaks[j, 4] = x, y, height, top_x, top_y


@kernel
def _merge_close(peaks: Float, count: int, radius: float) -> int:
    """Drop each peak that lies closer than `radius` to one kept before it, in place; returns the number left."""
    kept = 0
    for i in range(count):
        close = False
        for j in range(kept - 1, -1, -1):
            dx = peaks[i, 0] - peaks[j, 0]
            dy = peaks[i, 1] - peaks[j, 1]
            if dx >= radius:  # all before it are at least as far away
                break
            if dx * dx + dy * dy < radius * radius:
                close = True
                break
        if not close:
            for field in range(peaks.shape[1]):
                peaks[kept, field] = peaks[i, field]
            kept += 1
    return kept
