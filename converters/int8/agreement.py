"""Agreement of two networks on the people in the same pictures, keypoint by keypoint, and on their scores.

Only people and keypoints that the reference is sure of count, and the candidate may find them with any score: those with scores
near the least that the pipeline lets pass come and go with the slightest rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepose.arrays import Bools, Double, Float, Ints
from edgepose.kernels.assignment import assign
from edgepose.kernels.oks import areas, keypoint_similarity
from edgepose.poses import Poses

# Least score of a keypoint, and least confidence of a person, to be sure of: the peak threshold of the reference decoder of
# Lightweight OpenPose (arXiv 1811.12004), twice what edgepose's own pipeline lets pass.
SURE = 0.1
# The same for keypoints of people whom a network is not sure of: these come and go, too.
SURE_OF_FAINT = 0.5
# COCO's loosest threshold: people with less similarity are two different people, and keypoints two different keypoints.
SAME_PERSON_OKS = 0.5


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of a candidate with a reference, over all pictures.

    Attributes:
        people: Number of people that the reference is sure of.
        oks: Mean similarity of those people whom the candidate sees, too; 0 if there are none.
        lost: Number of those people whom the candidate does not see.
        invented: Number of people that the candidate is sure of and the reference does not see.
        keypoints: (K,) number of keypoints of each kind that the reference is sure of, in all people.
        lost_keypoints: (K,) number of those that the candidate does not see near the same place.
        invented_keypoints: (K,) number of keypoints that the candidate is sure of and the reference does not see near there.
        scores: Root mean square of the difference of the scores of keypoints that both see, or of the confidence in people,
            whichever is larger. Unlike a mean, it shows a few large differences.
    """

    people: int
    oks: float
    lost: int
    invented: int
    keypoints: Ints
    lost_keypoints: Ints
    invented_keypoints: Ints
    scores: float


def compare(reference: Sequence[Poses], candidate: Sequence[Poses]) -> Agreement:
    """Agreement on the people of each picture."""
    people = lost = invented = 0
    alike: list[float] = []
    kinds = len(reference[0].skeleton) if reference else 0
    keypoints, lost_keypoints, invented_keypoints = (np.zeros(kinds, np.int64) for _ in range(3))
    score_differences: list[Float] = [np.zeros(0, np.float32)]
    confidence_differences: list[float] = []
    for theirs, ours in zip(reference, candidate, strict=True):
        similarity = oks(theirs, ours)
        partner = assign(-similarity) if similarity.size else np.full(len(theirs), -1)
        matched = [(i, j) for i, j in enumerate(partner) if j >= 0 and similarity[i, j] >= SAME_PERSON_OKS]
        sure, sure_of_ours = theirs.confidence >= SURE, ours.confidence >= SURE
        people += int(sure.sum())
        alike += [float(similarity[i, j]) for i, j in matched if sure[i]]
        lost += int(sure.sum()) - sum(bool(sure[i]) for i, _ in matched)
        invented += int(sure_of_ours.sum()) - sum(bool(sure_of_ours[j]) for _, j in matched)

        near = _alike(theirs, ours) >= SAME_PERSON_OKS
        wanted, given = _sure_keypoints(theirs), _sure_keypoints(ours)
        for i, j in matched:
            # Of a person that only one of the networks is sure of, the keypoints have the lower threshold in both.
            if sure[i] != sure_of_ours[j]:
                wanted[i], given[j] = theirs.scores[i] >= SURE, ours.scores[j] >= SURE
        keypoints += wanted.sum(axis=0)
        lost_keypoints += wanted.sum(axis=0)
        invented_keypoints += given.sum(axis=0)
        for i, j in matched:
            lost_keypoints -= wanted[i] & near[i, j]
            invented_keypoints -= given[j] & near[i, j]
            both = near[i, j] & (wanted[i] | given[j])
            score_differences.append((ours.scores[j] - theirs.scores[i])[both])
            confidence_differences.append(float(ours.confidence[j] - theirs.confidence[i]))
    scores = max(_root_mean_square(np.concatenate(score_differences)), _root_mean_square(np.array(confidence_differences)))
    oks_of_all = float(np.mean(alike)) if alike else 0.0
    return Agreement(people, oks_of_all, lost, invented, keypoints, lost_keypoints, invented_keypoints, scores)


def oks(reference: Poses, candidate: Poses) -> Float:
    """COCO's object keypoint similarity (N, M), with the sure keypoints of the reference as the truth; one not found counts 0.

    Of a person without sure keypoints, all keypoints are compared.
    """
    counts = reference.scores >= SURE
    counts = np.where(counts.any(axis=1, keepdims=True), counts, reference.scores > 0)
    alike = _alike(reference, candidate)
    return np.asarray((alike * counts[:, None]).sum(axis=-1) / np.maximum(counts.sum(axis=1), 1)[:, None], np.float32)


def _alike(reference: Poses, candidate: Poses) -> Float:
    """Similarity (N, M, K) of each keypoint; 0 where either is not found."""
    sigmas = np.array(reference.skeleton.sigmas, np.float32)
    return keypoint_similarity(reference.keypoints, candidate.keypoints, areas(reference.keypoints), sigmas)


def _sure_keypoints(poses: Poses) -> Bools:
    """The keypoints (N, K) that a network is sure of."""
    least = np.where(poses.confidence >= SURE, SURE, SURE_OF_FAINT)
    return np.asarray(poses.scores >= least[:, None], np.bool_)


def _root_mean_square(values: Float | Double) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0
