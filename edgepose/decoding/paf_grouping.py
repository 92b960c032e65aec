"""People from peaks and part affinity fields (PAFs): the greedy assembly of OpenPose (arXiv 1812.08008), 19 limbs.

For each limb every pair of peaks is scored by the field along the line between them; pairs are taken best first, each peak
once; limbs that share a peak make a person. The field is evaluated on its bicubic surface at the samples alone, and in a
crowd hardly anywhere: most pairs are wrong, and miss at their ends or cross cells that hold nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Float, Int32, Ints, Uint8
from edgepose.kernels.jit import fused_kernel as kernel
from edgepose.skeleton import PAF_CHANNELS, PAF_LIMBS

# The most people in a frame: groups of limbs, before the weak ones are dropped.
MAX_PEOPLE = 256

# Constants of the reference decoder of Lightweight OpenPose (arXiv 1811.12004).
SAMPLES = 10  # along a limb, both ends included
MIN_AFFINITY = np.float32(0.05)  # a sample counts above this
MAX_MISSES = 1  # a limb needs more than 80 % of its samples: nine of ten
MIN_KEYPOINTS = 3  # of a person
MIN_MEAN_SCORE = np.float32(0.2)  # of a person: keypoints' heights and limbs' affinities, over the number of keypoints
FILLING_LIMBS = 2  # the last limbs (shoulder to ear) start no person: they only fill in a missing end

_LIMBS = np.array(PAF_LIMBS)
_CHANNELS = np.array(PAF_CHANNELS)
_STEPS = SAMPLES - 1
# The order of the samples between the ends: wrong pairs mostly miss in the middle, so it is sampled first.
_INNER_SAMPLES = np.array([5, 4, 3, 6, 2, 7, 8, 1])
# If none of the 16 vectors around a sample is longer than this (squared), the sample cannot count: the magnitudes of bicubic
# weights add up to at most 1.375 along an axis, half way between two cells.
_QUIET = (MIN_AFFINITY / np.float32(1.375**2)) ** 2
# With at least this many pairs of a limb, looking for quiet cells saves more than it costs (benchmarks/decoding.py).
_MANY_PAIRS = 128


class Taps(NamedTuple):
    """The cells and weights that upsampled pixels are made of, as `bicubic.axis_taps` gives them for both axes."""

    columns: NDArray[np.uintp]  # (width in upsampled pixels,)
    column_weights: Float  # (width, 4)
    rows: NDArray[np.uintp]  # (height in upsampled pixels,)
    row_weights: Float  # (height, 4)


class Pairs(NamedTuple):
    """Pairs of peaks that may be the ends of a limb, in the first rows of each array; functions pass their number beside it."""

    starts: Ints
    ends: Ints
    affinity: Float


@kernel
def group_people(
    pafs: Float,
    columns: NDArray[np.uintp],
    column_weights: Float,
    rows: NDArray[np.uintp],
    row_weights: Float,
    peaks: Float,
    counts: Ints,
    members: Ints,
    totals: Float,
) -> tuple[int, bool]:
    """Join peaks into people.

    Args:
        pafs: (38, h, w), C-contiguous, at least 4 x 4 cells.
        columns, column_weights, rows, row_weights: `bicubic.axis_taps` of the width and of the height.
        peaks, counts: (18, P, 5), (18,) of `find_peaks`.
        members: (MAX_PEOPLE, 18) to be filled: each person's peak of each type, or -1.
        totals: (MAX_PEOPLE,) to be filled: each person's sum of peak heights and limb affinities.

    Returns:
        The number of people, and whether there were more than `MAX_PEOPLE`.
    """
    # The tuples are made here, because a call from Python takes microseconds longer with tuples than with plain arrays.
    taps = Taps(columns, column_weights, rows, row_weights)
    limbs = _LIMBS.shape[0]
    owner = np.full(peaks.shape[:2], -1, np.int64)
    sizes = np.zeros(MAX_PEOPLE, np.int64)
    most_pairs = counts.max() ** 2
    scored = Pairs(np.empty(most_pairs, np.int64), np.empty(most_pairs, np.int64), np.empty(most_pairs, np.float32))
    people = 0
    overfull = False
    for limb in range(limbs):
        a, b = _LIMBS[limb, 0], _LIMBS[limb, 1]
        pairs = _score_pairs(
            pafs[_CHANNELS[limb, 0]], pafs[_CHANNELS[limb, 1]], taps,
            peaks[a, : counts[a]], peaks[b, : counts[b]], scored,
        )  # fmt: skip
        while pairs > 0:
            best = 0
            for pair in range(1, pairs):
                if scored.affinity[pair] > scored.affinity[best]:
                    best = pair
            i, j, score = scored.starts[best], scored.ends[best], scored.affinity[best]
            pairs = _drop_peaks(scored, pairs, i, j)
            if limb >= limbs - FILLING_LIMBS:
                _fill_missing(members, people, a, b, i, j)
                continue
            person = owner[a, i]
            if person >= 0:
                totals[person] += peaks[b, j, 2] + score
                sizes[person] += 1
            elif people < MAX_PEOPLE:
                person = people
                people += 1
                for k in range(members.shape[1]):
                    members[person, k] = -1
                members[person, a] = i
                owner[a, i] = person
                totals[person] = peaks[a, i, 2] + peaks[b, j, 2] + score
                sizes[person] = 2
            else:
                overfull = True
                continue
            # Limbs form a tree, and each of its ends is the second keypoint of one limb alone: b has no owner yet.
            members[person, b] = j
            owner[b, j] = person
    kept = 0
    for person in range(people):
        if sizes[person] >= MIN_KEYPOINTS and totals[person] >= MIN_MEAN_SCORE * sizes[person]:
            for k in range(members.shape[1]):
                members[kept, k] = members[person, k]
            totals[kept] = totals[person]
            kept += 1
    return kept, overfull


@kernel
def _drop_peaks(scored: Pairs, pairs: int, i: int, j: int) -> int:
    """Drop the pairs with start `i` or end `j`, in place and in order; returns the number left."""
    starts, ends, affinity = scored
    kept = 0
    for pair in range(pairs):
        if starts[pair] != i and ends[pair] != j:
            starts[kept], ends[kept], affinity[kept] = starts[pair], ends[pair], affinity[pair]
            kept += 1
    return kept


@kernel
def _fill_missing(members: Ints, people: int, a: int, b: int, i: int, j: int) -> None:
    """Give people who have one end of the limb and lack the other that other."""
    for person in range(people):
        if members[person, a] == i and members[person, b] < 0:
            members[person, b] = j
        elif members[person, b] == j and members[person, a] < 0:
            members[person, a] = i


@kernel
def _score_pairs(field_x: Float, field_y: Float, taps: Taps, starts: Float, ends: Float, scored: Pairs) -> int:
    """Find the pairs of starts (n, 5) and ends (m, 5) with enough samples that count, and the mean of these samples.

    Fills `scored` (at least n * m), in order of starts, then ends; returns the number of pairs.
    """
    height, width = field_x.shape
    count = len(ends)
    # One array per quantity, its length a multiple of 16: the loops over all ends of a start then run in vector registers.
    padded = (count + 15) // 16 * 16
    end_x, end_y = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
    field_end_x, field_end_y = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
    unit_x, unit_y = np.empty(padded, np.float32), np.empty(padded, np.float32)
    totals, misses = np.empty(padded, np.float32), np.empty(padded, np.int32)
    promising = np.empty(count, np.int64)
    for j in range(count):
        end_x[j], end_y[j] = ends[j, 0], ends[j, 1]
        x, y = np.uintp(int(end_x[j])), np.uintp(int(end_y[j]))
        field_end_x[j], field_end_y[j] = _field_at(field_x, field_y, taps, x, y)
    many = len(starts) * count >= _MANY_PAIRS
    quiet = np.empty(height * width if many else 0, np.uint8)
    cells = np.empty((SAMPLES, padded), np.int32)
    if many:
        _mark_quiet(field_x, field_y, quiet)
    pairs = 0
    for i in range(len(starts)):
        start_x, start_y = starts[i, 0], starts[i, 1]
        x, y = np.uintp(int(start_x)), np.uintp(int(start_y))
        field_start_x, field_start_y = _field_at(field_x, field_y, taps, x, y)
        for j in range(padded):
            dx, dy = end_x[j] - start_x, end_y[j] - start_y
            length = np.float32(np.sqrt(dx * dx + dy * dy)) + np.float32(1e-6)
            unit_x[j], unit_y[j] = dx / length, dy / length
            first = unit_x[j] * field_start_x + unit_y[j] * field_start_y
            last = unit_x[j] * field_end_x[j] + unit_y[j] * field_end_y[j]
            first_counts, last_counts = first > MIN_AFFINITY, last > MIN_AFFINITY  # not so for NaN
            totals[j] = (first if first_counts else np.float32(0)) + (last if last_counts else np.float32(0))
            misses[j] = 2 - first_counts - last_counts
        if many:
            _locate_samples(start_x, start_y, end_x, end_y, width, len(taps.columns) // width, cells)
        left = 0
        for j in range(count):  # without a branch that the processor would guess wrong every other time
            promising[left] = j
            left += misses[j] <= MAX_MISSES
        for j in promising[:left]:
            missed = misses[j]
            if many:
                quiet_samples = 0
                for n in range(1, _STEPS):
                    quiet_samples += quiet[cells[n, j]]
                if missed + quiet_samples > MAX_MISSES:
                    continue
            total = totals[j]
            for n in _INNER_SAMPLES:
                # A sample falls on the whole pixel nearest to it; ninths never lie half way between two.
                x = np.uintp(_STEPS * int(start_x) + n * int(end_x[j] - start_x) + _STEPS // 2) // np.uintp(_STEPS)
                y = np.uintp(_STEPS * int(start_y) + n * int(end_y[j] - start_y) + _STEPS // 2) // np.uintp(_STEPS)
                at_x, at_y = _field_at(field_x, field_y, taps, x, y)
                value = unit_x[j] * at_x + unit_y[j] * at_y
                if value > MIN_AFFINITY:
                    total += value
                else:  # also NaN
                    missed += 1
                    if missed > MAX_MISSES:
                        break
            if missed <= MAX_MISSES:
                scored.starts[pairs], scored.ends[pairs] = i, j
                scored.affinity[pairs] = total / np.float32(SAMPLES - missed)
                pairs += 1
    return pairs


@kernel
def _field_at(field_x: Float, field_y: Float, taps: Taps, x: np.uintp, y: np.uintp) -> tuple[np.float32, np.float32]:
    """The field's vector at an upsampled pixel."""
    column, weights = taps.columns[x], taps.column_weights
    wa, wb, wc, wd = weights[x, 0], weights[x, 1], weights[x, 2], weights[x, 3]
    a, b, c, d = column, column + np.uintp(1), column + np.uintp(2), column + np.uintp(3)
    at_x = np.float32(0)
    at_y = np.float32(0)
    for n in range(4):
        row = taps.rows[y] + np.uintp(n)
        weight = taps.row_weights[y, n]
        at_x += weight * (wa * field_x[row, a] + wb * field_x[row, b] + wc * field_x[row, c] + wd * field_x[row, d])
        at_y += weight * (wa * field_y[row, a] + wb * field_y[row, b] + wc * field_y[row, c] + wd * field_y[row, d])
    return at_x, at_y


@kernel
def _mark_quiet(field_x: Float, field_y: Float, quiet: Uint8) -> None:
    """Mark with 1 each cell c (flat) if all vectors from c-1 to c+2 on both axes are too short for a sample to count."""
    height, width = field_x.shape
    # Beyond the edges the field repeats the edges, so those cells count as quiet.
    short = np.ones((height, width + 3), np.uint8)
    across = np.ones((height + 3, width), np.uint8)
    for y in range(height):
        for x in range(width):
            short[y, x + 1] = field_x[y, x] * field_x[y, x] + field_y[y, x] * field_y[y, x] <= _QUIET
        for x in range(width):
            across[y + 1, x] = short[y, x] & short[y, x + 1] & short[y, x + 2] & short[y, x + 3]
    for y in range(height):
        for x in range(width):
            quiet[y * width + x] = across[y, x] & across[y + 1, x] & across[y + 2, x] & across[y + 3, x]


@kernel
def _locate_samples(start_x: float, start_y: float, end_x: Float, end_y: Float, width: int, ratio: int, cells: Int32) -> None:
    """Fill `cells` (SAMPLES, m) with the cell (flat) of the second of the four taps of each inner sample, for each end."""
    half = np.float32(0.5)
    cells_per_pixel = np.float32(1 / ratio)
    for n in range(1, _STEPS):
        share = np.float32(n / _STEPS)
        for j in range(len(end_x)):
            x = np.floor(start_x + (end_x[j] - start_x) * share + half)
            y = np.floor(start_y + (end_y[j] - start_y) * share + half)
            column = max(np.floor((x + half) * cells_per_pixel - half), np.float32(0))
            row = max(np.floor((y + half) * cells_per_pixel - half), np.float32(0))
            cells[n, j] = np.int32(row * np.float32(width) + column)
