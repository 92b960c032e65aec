from __future__ import annotations

import numpy as np
import pytest

import edgepose
from edgepose.skeleton import (
    COCO17,
    HALPE26,
    MPII16,
    OPENPOSE18,
    PAF_CHANNELS,
    PAF_LIMBS,
    SKELETONS,
    WHOLEBODY133,
    convert,
    describe_skeleton,
    get_skeleton,
    make_skeleton,
)
from edgepose.tracking import Tracker
from edgepose.zoo import registry


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_limbs_sigmas_and_flips_fit_the_keypoints(skeleton):
    k = len(skeleton)
    assert len(skeleton.keypoints) == len(set(skeleton.keypoints)) == len(skeleton.sigmas) == len(skeleton.flip) == k
    assert all(0 <= a < k and 0 <= b < k and a != b for a, b in skeleton.limbs)
    without_limbs = {f"face_{i}" for i in range(68)} | {"l_hand_root", "r_hand_root"}
    assert {skeleton.keypoints[i] for limb in skeleton.limbs for i in limb} | without_limbs >= set(skeleton.keypoints)
    assert [skeleton.flip[i] for i in skeleton.flip] == list(range(k))
    assert skeleton.keypoints[skeleton.flip[skeleton.keypoints.index("l_wrist")]] == "r_wrist"
    middle = "pelvis" if skeleton is MPII16 else "nose"
    assert skeleton.flip[skeleton.keypoints.index(middle)] == skeleton.keypoints.index(middle)


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


def test_published_orders_of_the_other_sets():
    assert [len(s) for s in (MPII16, HALPE26, WHOLEBODY133)] == [16, 26, 133]
    assert MPII16.flip == (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10)
    assert HALPE26.keypoints[:17] == WHOLEBODY133.keypoints[:17] == COCO17.keypoints
    assert HALPE26.keypoints[20:] == ("l_big_toe", "r_big_toe", "l_small_toe", "r_small_toe", "l_heel", "r_heel")
    assert WHOLEBODY133.keypoints[17:23] == ("l_big_toe", "l_small_toe", "l_heel", "r_big_toe", "r_small_toe", "r_heel")
    # The outline of the face, an eye and the mouth, in COCO-WholeBody's places.
    assert [WHOLEBODY133.flip[i] for i in (23, 39, 31, 59, 64, 71, 91, 111)] == [39, 23, 31, 68, 69, 77, 112, 132]


def test_feet_come_along_between_sets_that_have_them():
    keypoints = np.arange(2 * 133, dtype=np.float32).reshape(1, 133, 2)
    feet, scores = convert(keypoints, np.ones((1, 133), np.float32), WHOLEBODY133, HALPE26)
    np.testing.assert_array_equal(feet[0, HALPE26.index("right_heel")], keypoints[0, WHOLEBODY133.index("r_heel")])
    assert scores[0, HALPE26.index("head")] == 0
    neck, _ = convert(keypoints[:, :16], np.ones((1, 16), np.float32), MPII16, OPENPOSE18)
    np.testing.assert_array_equal(neck[0, 1], keypoints[0, [12, 13]].mean(axis=0))


OWN = {
    "name": "horse",
    "keypoints": ["head", "l_hoof", "r_hoof", "tail"],
    "limbs": [["head", "tail"], [0, 1]],
    "sigmas": [0.05, 0.06, 0.06, 0.1],
}


def test_a_skeleton_of_ones_own():
    horse = make_skeleton(OWN)
    assert (horse.limbs, horse.flip, horse.sigmas) == (((0, 3), (0, 1)), (0, 2, 1, 3), (0.05, 0.06, 0.06, 0.1))
    assert make_skeleton({**OWN, "flips": [["head", "tail"]], "sigmas": None}).flip == (3, 2, 1, 0)
    assert make_skeleton(describe_skeleton(horse)) == horse
    assert get_skeleton(horse) is horse
    assert horse.index("left_hoof") == 1
    assert make_skeleton({"name": "long", "keypoints": ["left_hand", "right_hand"]}).flip == (1, 0)


def test_a_description_carries_its_skeleton():
    fields = {
        "task": "top-down", "decoder": "simcc", "colour": "RGB", "layout": "NCHW", "mean": [0, 0, 0], "scale": [1, 1, 1],
        "size": [64, 48], "stride": 1,
    }  # fmt: skip
    model = registry.parse("mine", {**fields, "skeleton": OWN}, "mine.yaml")
    assert model.skeleton == make_skeleton(OWN)
    assert registry.from_yaml("mine", registry.to_yaml(model), "mine.yaml") == model
    with pytest.raises(edgepose.ModelError, match=r"mine.yaml: one of the limbs is \['head', 'ear'\]"):
        registry.parse("mine", {**fields, "skeleton": {**OWN, "limbs": [["head", "ear"]]}}, "mine.yaml")
    with pytest.raises(edgepose.ModelError, match=r"skeleton is .*expected openpose18 with decoder paf"):
        registry.parse("mine", {**fields, "task": "bottom-up", "decoder": "paf", "skeleton": OWN}, "mine.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "coco17"}, "name is 'coco17'; expected a text that is none of"),
        ({"name": 7}, "name is '7'"),
        ({"keypoints": []}, "expected a list of 1 to 1000 names"),
        ({"keypoints": "head"}, "expected a list"),
        ({"keypoints": ["a"] * 2000}, "expected a list of 1 to 1000"),
        ({"keypoints": ["head", "tail", "head", "x"]}, "has the keypoint head twice"),
        ({"limbs": [[0, 4]]}, r"one of the limbs is \[0, 4\]"),
        ({"limbs": [[0, 0]]}, "two different keypoints"),
        ({"limbs": "head"}, "one of the limbs is head"),
        ({"flips": [[0, 1], [1, 2]]}, "a keypoint is in two of the flips"),
        ({"sigmas": [0.1]}, "expected 4 numbers above 0"),
        ({"sigmas": [0.1, 0, 0.1, 0.1]}, "expected 4 numbers above 0"),
        ({"sigma": 1}, "no field 'sigma'; expected name, keypoints, limbs, flips, sigmas"),
    ],
)
def test_skeletons_that_do_not_fit(change, message):
    with pytest.raises(edgepose.InputError, match=message):
        make_skeleton({**OWN, **change})


@pytest.mark.parametrize("skeleton", [MPII16, HALPE26, WHOLEBODY133, make_skeleton(OWN)], ids=lambda s: s.name)
def test_any_skeleton_is_drawn_tracked_and_written(skeleton):
    random = np.random.default_rng(0)
    keypoints = random.uniform(20, 180, (2, len(skeleton), 2)).astype(np.float32)
    poses = edgepose.Poses(keypoints, np.full(keypoints.shape[:2], 0.9), np.array([0.9, 0.8]), skeleton)
    image = np.zeros((200, 200, 3), np.uint8)
    assert edgepose.draw_poses(image, poses).any()
    tracker = Tracker()
    first = tracker.update(poses, 0.0)
    np.testing.assert_array_equal(tracker.update(poses[::-1], 0.1).ids, first.ids[::-1])
    assert poses.to_dict()["skeleton"] == skeleton.name
    assert len(poses.to_dict()["poses"][0]["keypoints"]) == len(skeleton)
    assert len(poses.to_coco(1)) == len(poses.to_openpose()["people"]) == 2
