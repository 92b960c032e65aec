"""The kernels of `decode_tags` that turn places into keypoints, and find the keypoints that people lack.

Legend: as in `tag_grouping`.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Float, Int32, Ints
from edgepose.kernels.jit import kernel


@kernel
def describe(heatmaps: Float, members: Ints, keypoints: Float, scores: Float) -> None:
    """Fill in keypoints (N, K, 2) in cells and scores (N, K) of N people; NaN and 0 where `members` (N, K) has none."""
    for person in range(len(members)):
        for k in range(members.shape[1]):
            if members[person, k] < 0:
                keypoints[person, k] = np.nan
                scores[person, k] = 0
            else:
                scores[person, k] = _place(heatmaps[k], members[person, k], keypoints[person, k])


@kernel
def fill_missing(heatmaps: Float, tags: Float, members: Ints, fill_threshold: float, keypoints: Float, scores: Float) -> None:
    """Give each person the missing keypoints, at the cell where height less rounded tag distance is highest.

    Args:
        heatmaps: (K, h, w), C-contiguous.
        tags: (D, K, h, w), C-contiguous.
        members: (N, K) places of the keypoints found, -1 for none; each person has one at least.
        fill_threshold: A keypoint is filled in if its map is above this there.
        keypoints, scores: (N, K, 2), (N, K) to be updated.
    """
    depth, types, _, width = tags.shape
    people = len(members)
    means = np.zeros((people, depth), np.float32)
    for person in range(people):
        for d in range(depth):
            total, count = 0.0, 0
            for k in range(types):
                place = members[person, k]
                if place >= 0:
                    total += tags[d, k, place // width, place % width]
                    count += 1
            means[person, d] = total / count
    best = np.empty(width, np.float32)
    best_row = np.empty(width, np.int32)
    distance = np.empty(width, np.float32)
    # By type, so that a map stays in the cache for all who look into it.
    for k in range(types):
        for person in range(people):
            if members[person, k] >= 0:
                continue
            place = _best_place(heatmaps[k], tags, k, means[person], best, best_row, distance)
            if place >= 0 and heatmaps[k, place // width, place % width] > fill_threshold:
                scores[person, k] = _place(heatmaps[k], place, keypoints[person, k])


@kernel
def _best_place(heatmap: Float, tags: Float, k: int, mean: Float, best: Float, best_row: Int32, distance: Float) -> int:
    """The first place where height less rounded tag distance is highest; -1 if it is a number nowhere.

    `best`, `best_row` and `distance` (w,) are for its own use: columns side by side, so that all runs in vector registers.
    """
    height, width = heatmap.shape
    best[:] = -np.inf
    best_row[:] = -1
    for y in range(height):
        if len(mean) == 1:  # the root of the square, without the wait for it
            for x in range(width):
                distance[x] = abs(tags[0, k, y, x] - mean[0])
        else:
            distance[:] = 0
            for d in range(len(mean)):
                for x in range(width):
                    apart = tags[d, k, y, x] - mean[d]
                    distance[x] += apart * apart
            for x in range(width):
                distance[x] = np.sqrt(distance[x])
        row = np.int32(y)
        for x in range(width):
            value = heatmap[y, x] - np.rint(distance[x])
            better = value > best[x]  # not so for NaN
            best[x] = value if better else best[x]
            best_row[x] = row if better else best_row[x]
    column = 0
    for x in range(1, width):
        if best[x] > best[column] or (best[x] == best[column] and best_row[x] < best_row[column]):
            column = x
    return best_row[column] * width + column if best_row[column] >= 0 else -1


@kernel
def _place(heatmap: Float, place: int, xy: Float) -> np.float32:
    """Fill in the point `xy` (2,), a quarter of a cell from the middle towards the higher neighbours; returns its score."""
    height, width = heatmap.shape
    y, x = place // width, place % width
    right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
    down = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
    xy[0] = x + 0.25 if right else x - 0.25
    xy[1] = y + 0.25 if down else y - 0.25
    return min(heatmap[y, x], np.float32(1))
