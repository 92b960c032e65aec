"""Plain NumPy twins of the decoders of SimCC, rows, MoveNet, embeddings and detectors' rows, one value after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synthetic import plain_tags

Float = NDArray[np.float32]
People = list[tuple[float, list[tuple[float, float, float]]]]
"""Of each person the confidence, and x, y, score of the keypoints; score 0 where one was not found."""

LEAST = np.float32(0.01)
FAR = 1e6


def highest(row: Float) -> tuple[int, float]:
    best, height = -1, 0.0
    for place, value in enumerate(row.tolist()):
        if value > height:  # not so for NaN
            best, height = place, value
    return best, height


def simcc(x_bins: Float, y_bins: Float) -> tuple[Float, Float]:
    """Points (B, K, 2) in bins and scores (B, K)."""
    points = np.full((*x_bins.shape[:2], 2), np.nan, np.float32)
    scores = np.zeros(x_bins.shape[:2], np.float32)
    for b, k in np.ndindex(*scores.shape):
        (x, x_height), (y, y_height) = highest(x_bins[b, k]), highest(y_bins[b, k])
        if x >= 0 and y >= 0:
            points[b, k] = x, y
            scores[b, k] = min(x_height, y_height, 1)
    return points, scores


def overlap(one: Float, other: Float) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (areas[0] + areas[1] - shared))


def distinct(boxes: Float, scores: Float, least: float, most_overlap: float) -> list[int]:
    """The rows that are people, best first. Boxes are corners."""
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row) if scores[row] >= least else (np.inf, row)):
        box = boxes[row]
        if not scores[row] >= np.float32(least) or not (np.abs(box) <= FAR).all() or not (box[2:] > box[:2]).all():
            continue
        if all(overlap(box, boxes[other]) <= most_overlap for other in kept):
            kept.append(row)
    return kept


def rows(table: Float, types: int, first: int, values: int, centred: bool, least_score: float, most_overlap: float) -> People:
    """People in rows of box, score and keypoints, which begin at column `first` and have so many `values` each."""
    boxes = table[:, :4].copy()
    if centred:
        for box in boxes:
            box[:] = box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2
    people: People = []
    for row in distinct(boxes, table[:, 4], float(LEAST), most_overlap):
        confidence = min(float(table[row, 4]), 1.0)
        points = []
        for k in range(types):
            x, y, *score = table[row, first + values * k : first + values * (k + 1)].tolist()
            height = min(score[0], 1.0) if score else confidence
            found = max(abs(x), abs(y)) <= FAR and x == x and y == y and height >= np.float32(least_score)
            points.append((x, y, height) if found else (np.nan, np.nan, 0.0))
        if any(point[2] for point in points):
            people.append((confidence, points))
    return people


def movenet(points: Float, confidence: Float, height: int, width: int, least_score: float) -> People:
    """People in points (N, 17, 3) of y, x, score."""
    people: People = []
    for row in sorted(
        range(len(points)), key=lambda row: (-confidence[row], row) if confidence[row] >= LEAST else (np.inf, row)
    ):
        own = []
        for y, x, score in points[row]:
            place = x * np.float32(width), y * np.float32(height)
            found = (np.abs(place) <= FAR).all() and score >= np.float32(least_score)
            own.append((float(place[0]), float(place[1]), min(float(score), 1.0)) if found else (np.nan, np.nan, 0.0))
        if confidence[row] >= LEAST and any(point[2] for point in own):
            people.append((min(float(confidence[row]), 1.0), own))
    return people


def embeddings(heights: Float, peaks: Float, tags: Float, threshold: float, fill: float) -> tuple[Float, Float]:
    """As `plain_tags.decode`, with maxima in `peaks`, and tag distances weighed by those in the picture."""
    found, found_tags = plain_tags.find_peaks(peaks, tags[None], threshold)
    members: list[dict[int, tuple[Float, Float]]] = []  # of each person x, y, height and tag by type
    for k in plain_tags.ORDER:
        candidates = list(zip(found[k], found_tags[k], strict=True))
        partner: dict[int, int] = {}
        known = members[: plain_tags.CANDIDATES]
        if candidates and known:
            distance = np.zeros((len(candidates), len(known)))
            apart = np.zeros_like(distance)
            for i, (peak, tag) in enumerate(candidates):
                for j, person in enumerate(known):
                    distance[i, j] = abs(float(tag[0]) - np.mean([float(own[0]) for _, own in person.values()]))
                    middle = np.mean([own[:2] for own, _ in person.values()], axis=0, dtype=np.float64)
                    apart[i, j] = np.hypot(*(peak[:2] - middle))
            weighed = np.where(distance < plain_tags.TAG_THRESHOLD, distance * (apart / (apart.min(axis=0) + 1e-10)), distance)
            cost = np.round(weighed) * 100 - found[k][:, 2:] + plain_tags.LATER_COST * np.arange(len(known))
            cost += plain_tags.NEARER_COST * distance**2
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                if distance[row, column] < plain_tags.TAG_THRESHOLD:
                    partner[int(row)] = int(column)
        for i, (peak, tag) in enumerate(candidates):
            if i in partner:
                members[partner[i]][k] = (peak, tag)
            else:
                members.append({k: (peak, tag)})
    poses = np.zeros((len(members), 17, 3), np.float32)
    for pose, person in zip(poses, members, strict=True):
        own_tags = np.stack([tag for _, tag in person.values()])
        for k in range(17):
            if k in person:
                x, y, height = person[k][0]
                pose[k] = (*plain_tags.adjust(heights[k], int(x), int(y)), height)
            else:
                pose[k] = plain_tags.refine(heights[k], tags[None, k], own_tags, fill)
    scores = np.array([sum(float(peak[2]) for peak, _ in person.values()) / 17 for person in members], np.float32)
    return poses, scores
