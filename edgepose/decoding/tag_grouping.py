"""The kernels of `decode_tags` that find the maxima of heatmaps and join them into people by their tags.

Legend: K keypoints, D tags a cell, h rows and w columns of cells; a cell's place is its number, row by row. The rules are
those of associative embedding (arXiv 1611.05424) as HigherHRNet (arXiv 1908.10357) uses it.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Double, Float, Ints
from edgepose.kernels.jit import kernel

# The most maxima of one keypoint type, of which the highest are kept, and the most people that further keypoints may join.
# HigherHRNet's (arXiv 1908.10357), as are the constants below.
MAX_CANDIDATES = 30
REACH = 2  # cells: a maximum is the highest of 5 x 5
TAG_THRESHOLD = 1.0  # a keypoint joins a person whose tag is closer than this
DISTANCE_COST = 100.0  # of one unit of tag distance; heights are at most 1
# Distances that round to the same number cost the same, and the published code then leaves the choice to chance. Here two costs
# decide that are too small to outweigh heights: people who began earlier come first, and each takes the nearest. The distance
# is squared because, of points along a line, plain distances often have the same sum however they are paired.
LATER_COST = 1e-7  # of a person, for each who began before
NEARER_COST = 1e-9  # of a squared unit of tag distance
LEAST_DISTANCE = 1e-10  # cells, by which distances in the picture are divided at least; Open Model Zoo's


@kernel
def find_candidates(heatmaps: Float, tags: Float, threshold: float, places: Ints, heights: Float, counts: Ints) -> int:
    """The highest maxima of every map.

    Args:
        heatmaps: (K, h, w), C-contiguous.
        tags: (D, K, h, w), C-contiguous; where one is not finite, there is no maximum.
        threshold: A maximum is above this.
        places, heights: (K, MAX_CANDIDATES) to be filled, highest first, of equals the last.
        counts: (K,) to be filled.

    Returns:
        The number of maps with more than `MAX_CANDIDATES`.
    """
    types, height, width = heatmaps.shape
    least = np.float32(threshold)
    # The marks of a row, and the same memory read eight marks at a time, as most parts of a row have none.
    high = np.zeros(-(-width // 8) * 8, np.uint8)
    words = high.view(np.uint64)
    crowded = 0
    for k in range(types):
        cells = heatmaps[k]
        found = 0
        for y in range(height):
            for x in range(width):
                high[x] = cells[y, x] > least
            some = np.uint64(0)
            for word in words:
                some |= word
            if some == 0:
                continue
            # The four neighbours come first, for a whole row at a time, as few cells pass this test.
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            for x in range(width):
                high[x] &= (cells[above, x] <= cells[y, x]) & (cells[below, x] <= cells[y, x])
            for x in range(1, width):
                high[x] &= cells[y, x - 1] <= cells[y, x]
            for x in range(width - 1):
                high[x] &= cells[y, x + 1] <= cells[y, x]
            for n in range(len(words)):
                if words[n] == 0:
                    continue
                for x in range(8 * n, min(8 * n + 8, width)):
                    if high[x] and _is_maximum(cells, y, x) and _is_tagged(tags, k, y, x):
                        _insert(places[k], heights[k], min(found, MAX_CANDIDATES), y * width + x, cells[y, x])
                        found += 1
        crowded += found > MAX_CANDIDATES
        counts[k] = min(found, MAX_CANDIDATES)
    return crowded


@kernel
def _is_maximum(cells: Float, y: int, x: int) -> bool:
    """Whether nothing within `REACH` is higher, or NaN. Equal neighbours are all maxima, as with max-pooling."""
    height, width = cells.shape
    value = cells[y, x]
    for row in range(max(y - REACH, 0), min(y + REACH + 1, height)):
        for column in range(max(x - REACH, 0), min(x + REACH + 1, width)):
            if not cells[row, column] <= value:
                return False
    return bool(np.isfinite(value))


@kernel
def _is_tagged(tags: Float, k: int, y: int, x: int) -> bool:
    """Whether all tags of a cell are finite."""
    tagged = True
    for d in range(len(tags)):
        tagged &= np.isfinite(tags[d, k, y, x])
    return tagged


@kernel
def _insert(places: Ints, heights: Float, count: int, place: int, height: np.float32) -> None:
    """Put a maximum among the `count` highest so far; the lowest falls out where there is no room."""
    i = count
    if count == MAX_CANDIDATES:
        if height < heights[count - 1]:
            return
        i = count - 1
    while i > 0 and heights[i - 1] <= height:
        places[i], heights[i] = places[i - 1], heights[i - 1]
        i -= 1
    places[i], heights[i] = place, height


@kernel
def group_until_contested(
    order: Ints,
    first: int,
    tags: Float,
    places: Ints,
    heights: Float,
    counts: Ints,
    people: int,
    members: Ints,
    keys: Float,
    sums: Double,
    sizes: Ints,
    costs: Double,
    reweight: bool,
) -> tuple[int, int]:
    """Give keypoints to people, one type after another, as long as no two want the same person.

    While no two keypoints want the same person, giving each the person it wants is the optimal assignment. Otherwise the
    caller computes the assignment and goes on with `join`. (Named tuples in place of the twelve arrays and numbers make
    `decode_tags` 3 to 7 % slower, by benchmarks/tags.py.)

    Args:
        order: (K,) the types, in the order in which they are taken.
        first: Where in it to begin.
        tags: (D, K, h, w), C-contiguous.
        places, heights, counts: Of `find_candidates`.
        people: How many there are so far, in the next four.
        members: (G, K) to be updated: the place of each person's keypoints, -1 for none.
        keys: (G,) to be updated: the first tag that each person began with.
        sums, sizes: (G, D), (G,) to be updated: sum and number of the tags of each person's keypoints.
        costs: (MAX_CANDIDATES, MAX_CANDIDATES) to be filled: for what is left to the caller, what it costs to give each
            keypoint of the type to each of the first people.
        reweight: Of a person's keypoints so far, the middle decides, too: the tag distance of each keypoint that is close
            enough is multiplied by how many times farther it is from there than the nearest (as Open Model Zoo has it).

    Returns:
        Where in the order the caller has to assign, or K; and how many people there are now.
    """
    depth, width = tags.shape[0], tags.shape[3]
    columns = np.empty(MAX_CANDIDATES, np.int64)
    means = np.empty((depth, MAX_CANDIDATES))
    squared = np.empty(MAX_CANDIDATES)
    apart = np.empty((MAX_CANDIDATES, MAX_CANDIDATES))
    for n in range(first, len(order)):
        k = order[n]
        known = min(people, MAX_CANDIDATES)
        for d in range(depth):
            for j in range(known):
                means[d, j] = sums[j, d] / sizes[j]
        if reweight:
            for j in range(known):
                _times_farther(members[j], width, places[k], counts[k], apart[:, j])
        for i in range(counts[k]):
            y, x = places[k, i] // width, places[k, i] % width
            squared[:] = 0
            for d in range(depth):
                own = np.float64(tags[d, k, y, x])
                for j in range(known):
                    squared[j] += (own - means[d, j]) * (own - means[d, j])
            for j in range(known):
                distance = np.sqrt(squared[j])
                if reweight and distance < TAG_THRESHOLD:
                    distance *= apart[i, j]
                cost = np.rint(distance) * DISTANCE_COST - heights[k, i]
                costs[i, j] = cost + j * LATER_COST + squared[j] * NEARER_COST
        if not _assign_wanted(costs[: counts[k], :known], columns):
            return n, people
        people = join(k, tags, places, columns[: counts[k]], people, members, keys, sums, sizes)
    return len(order), people


@kernel
def _times_farther(person: Ints, width: int, places: Ints, count: int, apart: Double) -> None:
    """Fill in how many times farther each of `count` places is from the middle of a person's keypoints than the nearest one."""
    x = y = 0.0
    found = 0
    for place in person:
        if place >= 0:
            y += place // width
            x += place % width
            found += 1
    nearest = np.inf
    for i in range(count):
        apart[i] = np.hypot(places[i] % width - x / found, places[i] // width - y / found)
        nearest = min(nearest, apart[i])
    for i in range(count):
        apart[i] /= nearest + LEAST_DISTANCE


@kernel
def join(
    k: int, tags: Float, places: Ints, columns: Ints, people: int, members: Ints, keys: Float, sums: Double, sizes: Ints
) -> int:
    """Give the keypoints of type k to the people they are assigned to; those too far away begin new people.

    As in the published code, a keypoint that would begin a person, but has exactly the first tag of an existing one, goes to
    that person, whose other tags are then forgotten.

    Args:
        columns: (n,) the person that each keypoint is assigned to, or -1; to be updated with -1 for those too far.
        others: As of `group_until_contested`.

    Returns:
        How many people there are now.
    """
    width = tags.shape[3]
    # All distances come first: a person who forgets changes them.
    for i in range(len(columns)):
        j = columns[i]
        if j >= 0 and not _tag_distance(tags, k, places[k, i], sums[j], sizes[j]) < TAG_THRESHOLD:
            columns[i] = -1
    for i in range(len(columns)):
        person = columns[i]
        y, x = places[k, i] // width, places[k, i] % width
        if person < 0:
            person = 0
            while person < people and keys[person] != tags[0, k, y, x]:
                person += 1
            if person == people:
                people += 1
                keys[person] = tags[0, k, y, x]
                members[person] = -1
            sums[person] = 0
            sizes[person] = 0
        members[person, k] = places[k, i]
        sizes[person] += 1
        for d in range(len(tags)):
            sums[person, d] += tags[d, k, y, x]
    return people


@kernel
def _tag_distance(tags: Float, k: int, place: int, total: Double, size: int) -> float:
    """The distance from the tags (D,) of a place to the mean of `size` tags."""
    y, x = place // tags.shape[3], place % tags.shape[3]
    squared = 0.0
    for d in range(len(tags)):
        apart = tags[d, k, y, x] - total[d] / size
        squared += apart * apart
    return float(np.sqrt(squared))


@kernel
def _assign_wanted(costs: Double, columns: Ints) -> bool:
    """Fill `columns` with the cheapest column of each row, if those differ; with more rows than columns, the reverse."""
    rows, people = costs.shape
    columns[:rows] = -1
    taken = np.zeros(max(rows, people), np.bool_)
    by_row = rows <= people
    for i in range(rows if by_row else people):
        best = 0
        for j in range(1, people if by_row else rows):
            if (costs[i, j] if by_row else costs[j, i]) < (costs[i, best] if by_row else costs[best, i]):
                best = j
        if taken[best]:
            return False
        taken[best] = True
        if by_row:
            columns[i] = best
        else:
            columns[best] = i
    return True
