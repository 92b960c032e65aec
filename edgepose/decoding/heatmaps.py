"""The decoder of top-down heatmaps: one person a crop, a keypoint at the highest cell of each map, refined between cells.

Legend: B crops, K keypoints, h rows and w columns of cells. The centre of cell i is i.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np

from edgepose.arrays import Double, Float, Int32, Ints
from edgepose.decoding import DecodedPoses, SizedBy
from edgepose.errors import InputError, ModelError
from edgepose.kernels.jit import kernel
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.zoo.registry import Model

Refinement = Literal["quarter", "dark"]

# HRNet's heatmaps are taught as gaussians of 2 cells on 64 rows and of 3 on 96 (arXiv 1902.09212); DARK blurs by the same.
SIGMA_PER_ROW = 1 / 32
SIGMAS = 2.5  # the radius of the blur: its 11 taps for 2 cells and 17 for 3 are DARK's kernels
FLOOR = 1e-10  # the least value whose logarithm is taken, as in DARK's code
REACH = 2  # cells that DARK's derivatives use on each side; its parabola means nothing farther away
# A person's confidence is the mean score of the keypoints that score more than this: HRNet's `IN_VIS_THRE` (arXiv 1902.09212).
CONFIDENT = np.float32(0.2)


class HeatmapDecoder:
    """A decoder of top-down heatmaps; see `edgepose.decoding.Decoder`.

    Its option `refinement` is that of `decode_heatmaps`; None: "quarter".

    Raises:
        ModelError: The network does not give one heatmap a keypoint.
        InputError: There is no such refinement.
    """

    options: ClassVar[frozenset[str]] = frozenset({"refinement"})
    sized_by: ClassVar[SizedBy] = "height"

    def __init__(
        self, model: Model, output_channels: tuple[int, ...], min_score: float, *, refinement: Refinement | None = None
    ) -> None:
        self._model = model
        self._skeleton = get_skeleton(model.skeleton or "")
        self._min_score = np.float32(min_score)
        self._refinement: Refinement = refinement or "quarter"
        if output_channels != (len(self._skeleton),):
            raise ModelError(
                f"the outputs of {model.name} have {list(output_channels)} channels; expected one output with "
                f"{len(self._skeleton)} heatmaps, as {self._skeleton.name} has keypoints"
            )
        self._warm_up()

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        heatmaps, stride = outputs[0], self._model.stride
        height, width = size
        if heatmaps.shape[2:] != (height // stride, width // stride):
            raise ModelError(
                f"{self._model.name} answers maps of {heatmaps.shape[2:]} to {height} x {width} pixels; "
                f"expected its stride, {stride}, between them: mend its description"
            )
        keypoints, scores = decode_heatmaps(heatmaps, refinement=self._refinement)
        return DecodedPoses(keypoints, scores, rate(keypoints, scores, self._min_score, np.float32(stride)))

    def merge_mirrored(self, outputs: list[Float], mirrored: list[Float]) -> list[Float]:
        """See `edgepose.decoding.FlipDecoder`."""
        return [merge_mirrored(outputs[0], mirrored[0], self._skeleton)]

    def _warm_up(self) -> None:
        maps = [np.zeros((1, len(self._skeleton), 1, 1), np.float32)]
        self(self.merge_mirrored(maps, maps), (self._model.stride, self._model.stride))


def decode_heatmaps(heatmaps: Float, *, refinement: Refinement = "quarter") -> tuple[Float, Float]:
    """The place and the height of the highest cell of every map.

    Args:
        heatmaps: (B, K, h, w). NaN counts as lower than everything.
        refinement: "quarter" moves by a quarter of a cell towards the higher neighbour on each axis, the rule that HRNet's
            published figures were made with (arXiv 1902.09212); "dark" goes to the top of a parabola through the logarithm of
            the blurred map (arXiv 1910.06278), which costs a few microseconds a map more. Neither moves on the rim.

    Returns:
        Points (B, K, 2) x, y in cells and scores (B, K) in [0, 1]; NaN and 0 for a map without anything above 0.

    Raises:
        InputError: The maps have another shape, or there is no such refinement.
    """
    if heatmaps.ndim != 4 or 0 in heatmaps.shape[2:]:
        raise InputError(f"heatmaps have shape {heatmaps.shape}; expected (B, K, h, w)")
    heatmaps = np.ascontiguousarray(heatmaps, np.float32)
    if refinement == "quarter":
        return _decode(heatmaps, heatmaps.view(np.int32), np.empty(0, np.float32))
    if refinement == "dark":
        return _decode(heatmaps, heatmaps.view(np.int32), _gaussian(heatmaps.shape[2] * SIGMA_PER_ROW))
    raise InputError(f"refinement is {refinement!r}; expected 'quarter' or 'dark'")


def merge_mirrored(heatmaps: Float, mirrored: Float, skeleton: Skeleton) -> Float:
    """The mean of `heatmaps` (B, K, h, w) and of those that the mirrored crops gave, turned back (the flip test).

    They are mirrored, left and right keypoints are swapped, and all is moved right by one cell, because a cell stands for the
    first of its pixels, which in the mirrored crop is the last.

    Raises:
        InputError: The two do not have the same shape, or not the skeleton's K.
    """
    if heatmaps.shape != mirrored.shape or heatmaps.ndim != 4 or heatmaps.shape[1] != len(skeleton):
        raise InputError(
            f"maps of {heatmaps.shape} and mirrored of {mirrored.shape}; expected (B, {len(skeleton)}, h, w) twice"
        )
    return _merge(heatmaps, mirrored, np.array(skeleton.flip))


@kernel
def rate(keypoints: Float, scores: Float, min_score: np.float32, stride: np.float32) -> Float:
    """The confidence (B,) of people. Also turns cells into pixels and leaves out keypoints below `min_score`, in place."""
    people, types = scores.shape
    confidence = np.zeros(people, np.float32)
    for person in range(people):
        total = np.float32(0)
        confident = 0
        for k in range(types):
            score = scores[person, k]
            if score > CONFIDENT:
                total += score
                confident += 1
            if score < min_score:
                scores[person, k] = 0
                keypoints[person, k] = np.nan
            else:
                # A cell stands for the first of its pixels, as HRNet is taught: no half cells here.
                keypoints[person, k, 0] *= stride
                keypoints[person, k, 1] *= stride
        if confident:
            confidence[person] = total / np.float32(confident)
    return confidence


@kernel
def _decode(heatmaps: Float, bits: Int32, blur: Float) -> tuple[Float, Float]:
    """The kernel of `decode_heatmaps`; refined by DARK if `blur` has taps.

    `bits` is the same memory. Read as integers, floats above 0 keep their order, those below 0 are below it, and NaN is above
    all or below 0. The greatest of integers is found in vector registers; only rows that may have a new best cell are looked
    through one by one.
    """
    crops, types, height, width = heatmaps.shape
    points = np.full((crops, types, 2), np.nan, np.float32)
    scores = np.zeros((crops, types), np.float32)
    rows = np.empty((2 * REACH + max(blur.size, 1), 2 * REACH + 1))
    patch = np.empty((2 * REACH + 1, 2 * REACH + 1))
    for b in range(crops):
        for k in range(types):
            cells = heatmaps[b, k]
            best = np.float32(0)
            best_bits = np.int32(0)
            top = left = 0
            for y in range(height):
                highest = np.int32(0)
                for x in range(width):
                    highest = max(highest, bits[b, k, y, x])
                if highest > best_bits:
                    for x in range(width):
                        if cells[y, x] > best:
                            best, best_bits = cells[y, x], bits[b, k, y, x]
                            top, left = y, x
            if best <= 0:
                continue
            dx = dy = 0.0
            if blur.size:
                if REACH <= left < width - REACH and REACH <= top < height - REACH:
                    _blurred_logarithm(cells, top, left, blur, rows, patch)
                    dx, dy = _parabola(patch)
            # The published rule leaves out two columns at one side and one at the other; kept, to get its figures.
            elif 1 < left < width - 1 and 1 < top < height - 1:
                dx = _quarter(cells[top, left - 1], cells[top, left + 1])
                dy = _quarter(cells[top - 1, left], cells[top + 1, left])
            points[b, k, 0] = left + dx
            points[b, k, 1] = top + dy
            scores[b, k] = min(best, np.float32(1))
    return points, scores


@kernel
def _quarter(before: np.float32, after: np.float32) -> float:
    """A quarter of a cell towards the higher of two neighbours; 0 between equals, and beside NaN."""
    return 0.25 if after > before else -0.25 if after < before else 0.0


@kernel
def _blurred_logarithm(cells: Float, top: int, left: int, blur: Float, rows: Double, patch: Double) -> None:
    """Fill `patch` with the logarithm of the blurred map around a cell; beyond the map it is 0.

    Nothing else of the blurred map is needed, so nothing else is blurred: first the rows into `rows`, then its columns.
    """
    height, width = cells.shape
    taps = blur.size
    first_row, first_column = top - REACH - taps // 2, left - REACH - taps // 2
    for i in range(rows.shape[0]):
        y = first_row + i
        for j in range(patch.shape[1]):
            total = 0.0
            if 0 <= y < height:
                for t in range(taps):
                    x = first_column + j + t
                    if 0 <= x < width:
                        total += blur[t] * cells[y, x]
            rows[i, j] = total
    for i in range(patch.shape[0]):
        for j in range(patch.shape[1]):
            total = 0.0
            for t in range(taps):
                total += blur[t] * rows[i + t, j]
            patch[i, j] = np.log(max(total, FLOOR))


@kernel
def _parabola(patch: Double) -> tuple[float, float]:
    """The offset (x, y) of the top of the parabola through `patch` from its middle, by DARK's derivatives; 0 if it has none."""
    m = REACH
    dx = (patch[m, m + 1] - patch[m, m - 1]) / 2
    dy = (patch[m + 1, m] - patch[m - 1, m]) / 2
    dxx = (patch[m, m + 2] - 2 * patch[m, m] + patch[m, m - 2]) / 4
    dyy = (patch[m + 2, m] - 2 * patch[m, m] + patch[m - 2, m]) / 4
    dxy = (patch[m + 1, m + 1] - patch[m - 1, m + 1] - patch[m + 1, m - 1] + patch[m - 1, m - 1]) / 4
    determinant = dxx * dyy - dxy * dxy
    if not (dxx < 0 and determinant > 0):  # NaN, too
        return 0.0, 0.0
    x = (dxy * dy - dyy * dx) / determinant
    y = (dxy * dx - dxx * dy) / determinant
    if max(abs(x), abs(y)) > REACH:
        return 0.0, 0.0
    return x, y


@kernel
def _merge(heatmaps: Float, mirrored: Float, flip: Ints) -> Float:
    """The kernel of `merge_mirrored`; `flip` (K,) has the index of each keypoint's mirror image."""
    crops, types, height, width = heatmaps.shape
    merged = np.empty((crops, types, height, width), np.float32)
    for b in range(crops):
        for k in range(types):
            for y in range(height):
                row, back, out = heatmaps[b, k, y], mirrored[b, flip[k], y], merged[b, k, y]
                out[0] = (row[0] + back[width - 1]) / 2
                for x in range(1, width):
                    out[x] = (row[x] + back[width - x]) / 2
    return merged


def _gaussian(sigma: float) -> Float:
    """(2 r + 1,) taps of a blur, their sum 1."""
    radius = math.ceil(SIGMAS * sigma)
    taps = np.exp(-np.square(np.arange(-radius, radius + 1) / sigma) / 2)
    return np.asarray(taps / taps.sum(), np.float32)
