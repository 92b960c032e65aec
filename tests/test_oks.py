"""OKS against its formula in NumPy; `oks_in_motion` has a plain twin in `test_tracking`."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.kernels.oks import areas, keypoint_similarity, oks
from edgepose.skeleton import COCO17

SIGMAS = np.array(COCO17.sigmas, np.float32)


def people(count: int, seed: int, missing: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(seed)
    keypoints = random.uniform(0, 60, (count, 17, 2)).astype(np.float32)
    keypoints[random.random((count, 17)) < missing] = np.nan
    return keypoints


def test_the_similarity_of_each_keypoint_is_the_formula() -> None:
    ours, theirs = people(4, 0), people(3, 1)
    area = areas(ours)
    apart = np.square(ours[:, None] - theirs[None]).sum(axis=-1)
    expected = np.nan_to_num(np.exp(-apart / (2 * (2 * SIGMAS) ** 2 * area[:, None, None])))
    similarity = keypoint_similarity(ours, theirs, area, SIGMAS)
    assert similarity.shape == (4, 3, 17)
    assert similarity == pytest.approx(expected, abs=2e-5)


def test_oks_is_the_mean_over_the_keypoints_that_both_have() -> None:
    ours, theirs = people(4, 2), people(3, 3)
    area = areas(ours)
    both = ~np.isnan(ours[:, None, :, 0]) & ~np.isnan(theirs[None, :, :, 0])
    expected = keypoint_similarity(ours, theirs, area, SIGMAS).sum(axis=2) / np.maximum(both.sum(axis=2), 3)
    assert oks(ours, theirs, area, SIGMAS) == pytest.approx(expected, abs=1e-5)


def test_a_person_has_a_similarity_of_one_to_themselves() -> None:
    whole = people(2, 4, missing=0.0)
    assert np.diag(oks(whole, whole, areas(whole), SIGMAS)) == pytest.approx([1, 1])


def test_few_common_keypoints_do_not_make_a_person() -> None:
    lonely = np.full((1, 17, 2), np.nan, np.float32)
    lonely[0, 0] = 5
    assert oks(lonely, lonely, areas(lonely), SIGMAS)[0, 0] == pytest.approx(1 / 3)
