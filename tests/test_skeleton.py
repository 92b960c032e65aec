from __future__ import annotations

import numpy as np
import pytest

import edgepose
from edgepose.skeleton import COCO17, OPENPOSE18, PAF_CHANNELS, PAF_LIMBS, convert, get_skeleton


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda s: s.name)
def test_limbs_sigmas_and_flips_fit_the_keypoints(skeleton):
    k = len(skeleton)
    assert len(skeleton.keypoints) == len(set(skeleton.keypoints)) == len(skeleton.sigmas) == len(skeleton.flip) == k
    assert all(0 <= a < k and 0 <= b < k and a != b for a, b in skeleton.limbs)
    assert {i for limb in skeleton.limbs for i in limb} == set(range(k))
    assert [skeleton.flip[i] for i in skeleton.flip] == list(range(k))
    assert skeleton.keypoints[skeleton.flip[skeleton.keypoints.index("l_wrist")]] == "r_wrist"
    assert skeleton.flip[skeleton.keypoints.index("nose")] == skeleton.keypoints.index("nose")


def test_sigmas_are_cocos():
    expected = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    np.testing.assert_allclose(COCO17.sigmas, np.array(expected) / 1000)


def test_paf_channels_are_each_used_once():
    assert sorted(channel for pair in PAF_CHANNELS for channel in pair) == list(range(38))
    assert len(PAF_LIMBS) == len(set(PAF_LIMBS)) == 19


def test_limbs_but_the_last_two_are_a_tree_from_the_neck():
    reached = {1}
    for a, b in PAF_LIMBS[:17]:
        assert a in reached
        assert b not in reached
        reached.add(b)
    assert reached == set(range(18))


def test_to_coco_order_is_the_published_one():
    keypoints = np.arange(36, dtype=np.float32).reshape(1, 18, 2)
    coco, _ = convert(keypoints, np.ones((1, 18), np.float32), OPENPOSE18, COCO17)
    published = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]  # of each of ours, in COCO's set
    for ours, theirs in enumerate(published):
        if theirs is not None:
            np.testing.assert_array_equal(coco[0, theirs], keypoints[0, ours])


def test_neck_is_between_two_shoulders_and_missing_with_one():
    keypoints = np.zeros((2, 17, 2), np.float32)
    keypoints[:, 5], keypoints[:, 6] = (10, 20), (30, 40)
    scores = np.full((2, 17), 0.9, np.float32)
    scores[:, 6] = (0.5, 0)
    keypoints[1, 6] = np.nan
    converted, converted_scores = convert(keypoints, scores, COCO17, OPENPOSE18)
    np.testing.assert_array_equal(converted[0, 1], (20, 30))
    assert converted_scores[0, 1] == np.float32(0.5)
    assert np.isnan(converted[1, 1]).all()
    assert converted_scores[1, 1] == 0


def test_an_unknown_skeleton_is_refused():
    assert get_skeleton("coco17") is COCO17
    with pytest.raises(edgepose.InputError, match="openpose18, coco17"):
        get_skeleton("body25")
