"""Likeness of the maps of two networks: each channel is compared by scale, offset and place, and the worst channel counts.

Legend: maps (B, C, h, w); outputs, one array each; runs, one picture or batch each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from edgepose.arrays import Double, Float
from edgepose.errors import InputError, ModelError

Runs = Sequence[Sequence[Float]]

# Numbers of channels of each kind (keypoints, background, PAFs or tags) in an output, by its number of channels. Values of one
# kind are of one order of magnitude. In other outputs, all channels are of one kind.
KINDS = {19: (18, 1), 34: (17, 17), 57: (18, 1, 38)}

# Some channels are nearly flat on some photos, such as the ankles on a portrait, and rounding changes all of what is left. The
# variation of a channel therefore counts as at least this part of that of its kind (root mean square). On a portrait, good INT8
# networks have a likeness of 0.91 with this rule, and of 0.40 without.
QUIET = 0.3
# Rounding changes flat channels, but not their factors. So a channel that varies by at least the first of these parts of what
# its kind does is dead, or upside down, if its factor is below the second.
SILENT = 0.01
DEAD = 0.2
# A kind that varies by no more than this part of its largest value holds nothing but rounding errors, and proves nothing.
CONSTANT = 1e-4
# A move is measured only if the curvature of the error over moves by a cell is at least this part of the variation.
MIN_CURVATURE = 0.01


@dataclass(frozen=True)
class Likeness:
    """Likeness of the maps of a candidate to those of a reference.

    Attributes:
        least: Of the worst channel, 1 - |a - b|^2 / |a - mean a|^2: 1 for equal maps, 0 for a constant in their place.
        where: That channel, in words.
        low: Least factor between a channel and its reference; quiet channels count only if they are dead.
        high: The largest such factor.
        moved: The largest move of a channel, in cells.
    """

    least: float
    where: str
    low: float
    high: float
    moved: float

    def __str__(self) -> str:
        return (
            f"maps alike by {self.least:.3f} ({self.where} least), times {self.low:.2f} to {self.high:.2f}, moved by "
            f"{self.moved:.2f} cells"
        )


def kinds(channels: int) -> list[slice]:
    """The channels of each kind, in an output with this number of channels."""
    ends = accumulate(KINDS.get(channels, (channels,)), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def by_kind(values: Double, combine: np.ufunc | None = None) -> Double:
    """For each of `values` (C,), the root mean square of its kind; or the reduction of its kind by `combine`."""
    result = np.empty(len(values))
    for kind in kinds(len(values)):
        part = values[kind]
        result[kind] = np.sqrt(np.square(part).mean()) if combine is None else combine.reduce(part)
    return result


def compare_maps(reference: Runs, candidate: Runs) -> Likeness:
    """Likeness over all runs together.

    Raises:
        ModelError: The reference's maps are not finite, or the candidate's have other shapes.
        InputError: The reference's maps are flat, so that they prove nothing.
    """
    shapes, others = ([[maps.shape for maps in run] for run in runs] for runs in (reference, candidate))
    if shapes != others or not shapes:
        raise ModelError(f"answers maps of the shapes {others[:1]}; expected those of the reference, {shapes[:1]}")
    found = [
        _compare_output([run[index] for run in reference], [run[index] for run in candidate], index)
        for index in range(len(shapes[0]))
    ]
    worst = min(found, key=lambda one: one.least if np.isfinite(one.least) else -np.inf)
    # Unlike Python's, NumPy's minimum and maximum keep NaN, which passes no gate.
    low, high, moved = np.array([(one.low, one.high, one.moved) for one in found]).T
    return Likeness(worst.least, worst.where, float(low.min()), float(high.max()), float(moved.max()))


def _compare_output(reference: list[Float], candidate: list[Float], index: int) -> Likeness:
    a, b = (np.concatenate([channel_rows(maps) for maps in many], axis=1) for many in (reference, candidate))  # (C, values)
    if not np.isfinite(a).all():
        raise ModelError(f"output {index} of the reference itself has values that are no numbers; expected finite maps")
    centred = a - a.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1)
    typical = by_kind(np.sqrt(variance))
    if (typical <= CONSTANT * by_kind(np.abs(a).max(axis=1), np.maximum)).any():
        raise InputError(
            f"output {index} of the reference is flat on these pictures, at {float(np.abs(a).max()):.2g} at most, and says "
            "nothing about any other network; give photos with people in them"
        )
    scale = np.maximum(variance, np.square(QUIET * typical))
    with np.errstate(invalid="ignore", over="ignore"):  # candidates may answer NaN or infinity
        likeness = 1 - np.square(a - b).mean(axis=1) / scale
        factors = (centred * b).mean(axis=1) / variance.clip(np.finfo(np.float64).tiny)
    loud = variance >= np.square(QUIET * typical)
    moves = [_moved(reference, candidate, axis, scale)[loud] for axis in (2, 3)]
    factors = factors[loud | (variance >= np.square(SILENT * typical)) & ~(factors >= DEAD)]
    worst = int(np.argmin(np.where(np.isfinite(likeness), likeness, -np.inf)))
    return Likeness(
        float(likeness[worst]), f"channel {worst} of output {index}", float(factors.min()), float(factors.max()),
        float(np.abs(moves).max()),
    )  # fmt: skip


def _moved(reference: list[Float], candidate: list[Float], axis: int, scale: Double) -> Double:
    """The move (C,) of each channel along an axis, in cells.

    It is the lowest point of a parabola through three errors: against the reference as it is, and moved by a cell either way.
    """
    errors = np.zeros((3, len(scale)))
    count = 0
    for a, b in zip(reference, candidate, strict=True):
        length = a.shape[axis]
        if length < 3:
            continue
        inner = channel_rows(b.take(range(1, length - 1), axis))
        count += inner.shape[1]
        for place, move in enumerate((-1, 0, 1)):
            with np.errstate(invalid="ignore", over="ignore"):
                errors[place] += np.square(inner - channel_rows(a.take(range(1 - move, length - 1 - move), axis))).sum(axis=1)
    before, here, after = errors
    with np.errstate(invalid="ignore"):
        curvature = before - 2 * here + after
        flat = curvature < MIN_CURVATURE * scale * count
        return np.where(flat, 0.0, 0.5 * (before - after) / np.where(flat, 1.0, curvature))


def channel_rows(maps: Float) -> Double:
    """Maps (B, C, h, w) as rows (C, B h w)."""
    return np.moveaxis(maps, 1, 0).reshape(maps.shape[1], -1).astype(np.float64)
