"""How alike two networks see the same pictures: their people, keypoint by keypoint, and the maps behind them.

Only what the reference is sure of counts, and it may be found with any score: what hovers about the least score that the
pipeline lets pass comes and goes with the slightest rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.decoding.assignment import assign
from edgepose.poses import Poses
from edgepose.tracking import areas

Float = NDArray[np.float32]

# Least score of a keypoint, and least confidence of a person, to be sure of: the peak threshold of the reference decoder of
# Lightweight OpenPose (arXiv 1811.12004), twice what edgepose's own pipeline lets pass.
SURE = 0.1
SAME_PERSON_OKS = 0.5  # COCO's loosest threshold: people who are less alike are two


@dataclass(frozen=True)
class Agreement:
    """Agreement of a candidate with a reference, over all pictures.

    Attributes:
        people: Whom the reference is sure of.
        oks: Mean similarity of those of them whom the candidate sees, too; 0 where there are none.
        lost: Of them, whom the candidate does not see.
        invented: Whom the candidate is sure of, and the reference does not see.
    """

    people: int
    oks: float
    lost: int
    invented: int


def compare(reference: Sequence[Poses], candidate: Sequence[Poses]) -> Agreement:
    """Agreement on the people of each picture."""
    people = lost = invented = 0
    alike: list[float] = []
    for theirs, ours in zip(reference, candidate, strict=True):
        similarity = oks(theirs, ours)
        partner = assign(-similarity) if similarity.size else np.full(len(theirs), -1)
        matched = [(i, j) for i, j in enumerate(partner) if j >= 0 and similarity[i, j] >= SAME_PERSON_OKS]
        sure, sure_of_ours = theirs.confidence >= SURE, ours.confidence >= SURE
        people += int(sure.sum())
        alike += [float(similarity[i, j]) for i, j in matched if sure[i]]
        lost += int(sure.sum()) - sum(bool(sure[i]) for i, _ in matched)
        invented += int(sure_of_ours.sum()) - sum(bool(sure_of_ours[j]) for _, j in matched)
    return Agreement(people, float(np.mean(alike)) if alike else 0.0, lost, invented)


def oks(reference: Poses, candidate: Poses) -> Float:
    """COCO's object keypoint similarity (N, M), the reference's sure keypoints in place of the truth; one not found counts 0.

    A person without sure keypoints goes by all.
    """
    apart = reference.keypoints[:, None] - candidate.keypoints[None]
    variance = (2 * np.array(reference.skeleton.sigmas, np.float32)) ** 2
    exponent = np.square(apart).sum(axis=-1) / (2 * variance * areas(reference.keypoints)[:, None, None])
    alike = np.nan_to_num(np.exp(-exponent), nan=0.0)
    counts = reference.scores >= SURE
    counts = np.where(counts.any(axis=1, keepdims=True), counts, reference.scores > 0)
    return np.asarray((alike * counts[:, None]).sum(axis=-1) / np.maximum(counts.sum(axis=1), 1)[:, None], np.float32)


def correlation(reference: Sequence[Float], candidate: Sequence[Float]) -> float:
    """Of all values of the maps; 0 for maps that are constant or not numbers, unless they are equal."""
    first, second = (np.concatenate([maps.ravel() for maps in many]) for many in (reference, candidate))
    if np.array_equal(first, second):
        return 1.0
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    value = float(first @ second) / scale if scale else 0.0
    return value if np.isfinite(value) else 0.0
