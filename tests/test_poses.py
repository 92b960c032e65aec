from __future__ import annotations

import json

import numpy as np
import pytest

import edgepose
from edgepose import COCO17, OPENPOSE18, Poses


def some(people: int = 3, skeleton: edgepose.Skeleton = OPENPOSE18, ids: list[int] | None = None) -> Poses:
    random = np.random.default_rng(people)
    keypoints = random.uniform(0, 100, (people, len(skeleton), 2)).astype(np.float32)
    scores = random.uniform(0.1, 1, (people, len(skeleton))).astype(np.float32)
    missing = random.random(scores.shape) < 0.3
    keypoints[missing], scores[missing] = np.nan, 0
    return Poses(
        keypoints, scores, np.linspace(0.9, 0.1, people, dtype=np.float32), skeleton, None if ids is None else np.array(ids)
    )


def test_arrays_are_float32_and_frozen_and_the_callers_are_not():
    keypoints = np.zeros((1, 18, 2))
    mine = np.ones((1, 18), np.float32)
    poses = Poses(keypoints, mine, [0.5])
    assert {a.dtype for a in (poses.keypoints, poses.scores, poses.confidence)} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="read-only"):
        poses.scores[0, 0] = 0
    mine[0, 0] = 0.5


BAD = [
    ("K", {"keypoints": np.zeros((1, 17, 2)), "scores": np.ones((1, 17)), "confidence": [1]}, r"expected \(1, 18, 2\)"),
    ("scores shape", {"keypoints": np.zeros((1, 18, 2)), "scores": np.ones(18), "confidence": [1]}, r"expected \(1, 18\)"),
    ("N", {"keypoints": np.zeros((2, 18, 2)), "scores": np.ones((2, 18)), "confidence": [1]}, r"expected \(2,\)"),
    ("score 2", {"keypoints": np.zeros((1, 18, 2)), "scores": np.full((1, 18), 2.0), "confidence": [1]}, r"values in \[0, 1\]"),
    (
        "confidence -1",
        {"keypoints": np.zeros((1, 18, 2)), "scores": np.ones((1, 18)), "confidence": [-1]},
        r"confidence lie in",
    ),
    (
        "confidence NaN",
        {"keypoints": np.zeros((1, 18, 2)), "scores": np.ones((1, 18)), "confidence": [np.nan]},
        "confidence lie in",
    ),
    (
        "NaN with score",
        {"keypoints": np.full((1, 18, 2), np.nan), "scores": np.ones((1, 18)), "confidence": [1]},
        "NaN exactly where",
    ),
    (
        "score 0, no NaN",
        {"keypoints": np.zeros((1, 18, 2)), "scores": np.zeros((1, 18)), "confidence": [1]},
        "NaN exactly where",
    ),
    (
        "ids",
        {"keypoints": np.zeros((1, 18, 2)), "scores": np.ones((1, 18)), "confidence": [1], "ids": [1, 2]},
        r"ids has shape \(2,\)",
    ),
]


@pytest.mark.parametrize(("fields", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(edgepose.InputError, match=message):
        Poses(**fields)


def test_indices_give_poses():
    poses = some(3, ids=[7, 8, 9])
    assert len(poses[0]) == len(poses[-1]) == len(poses[np.int64(1)]) == 1
    assert poses[-1].ids.tolist() == [9]
    assert poses[1:].ids.tolist() == [8, 9]
    assert poses[[2, 0]].ids.tolist() == [9, 7]
    assert poses[poses.confidence > 0.3].ids.tolist() == [7, 8]
    assert [person.ids.tolist() for person in poses] == [[7], [8], [9]]
    with pytest.raises(IndexError, match="person 3 of 3"):
        poses[3]


INDICES = [
    ((0, 1), [7, 8]), ((), []), ([], []), (np.array([]), []), ([-1, 0], [9, 7]), ([1, 1], [8, 8]), (range(2), [7, 8]),
    ((True, False, True), [7, 9]), ([False] * 3, []), (np.array(1), [8]), (np.array([2], np.uint8), [9]), (slice(9, None), []),
]  # fmt: skip


@pytest.mark.parametrize(("index", "expected"), INDICES, ids=[repr(index) for index, _ in INDICES])
def test_all_sequences_of_integers_and_masks_are_indices(index, expected):
    found = some(3, ids=[7, 8, 9])[index]
    assert found.ids.tolist() == expected
    assert found.keypoints.shape == (len(expected), 18, 2)


NO_INDICES = [
    3, -4, 10**30, np.int64(3), [0, 3], (-4,), np.array([2**63], np.uint64), [True, False], (True,) * 4, np.array([], bool),
    np.ones(4, bool), np.ones((3, 18), bool), [[0]], np.zeros((1, 2), int), ..., None, True, np.True_, np.array(True), 1.0,
    [0.0], np.array([0.5]), "0", ["0"], (0, slice(None)), (slice(None), 0), (..., 0), [0, None], [[0], [0, 1]], {0}, iter([0]),
]  # fmt: skip


@pytest.mark.parametrize("index", NO_INDICES, ids=[f"{number} {index!r}"[:40] for number, index in enumerate(NO_INDICES)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_whatever_else_is_refused_as_an_index(index, count):
    if isinstance(index, np.ndarray) and index.dtype == bool and index.shape == (count,):
        pytest.skip("a mask of this length")
    with pytest.raises(edgepose.PersonIndexError, match=rf"of {count}.*expected") as caught:
        some(count)[index]
    assert isinstance(caught.value, IndexError)
    assert "\n" not in str(caught.value)


def test_empty_poses_have_all_shapes():
    for skeleton in (OPENPOSE18, COCO17):
        nobody = Poses.empty(skeleton)
        assert (len(nobody), nobody.boxes.shape, list(nobody)) == (0, (0, 4), [])
        assert nobody.to_coco(1) == nobody.to_openpose()["people"] == nobody.to_dict()["poses"] == []
        assert len(nobody.to(COCO17)) == len(nobody.sorted()) == 0


def test_boxes_span_what_was_found():
    keypoints = np.full((2, 18, 2), np.nan, np.float32)
    scores = np.zeros((2, 18), np.float32)
    keypoints[0, 3], keypoints[0, 9], scores[0, [3, 9]] = (10, 50), (30, 20), 0.5
    boxes = Poses(keypoints, scores, [0.5, 0]).boxes
    np.testing.assert_array_equal(boxes[0], (10, 20, 30, 50))
    assert np.isnan(boxes[1]).all()


def test_sorted_is_best_first_and_stable():
    poses = Poses(np.zeros((3, 18, 2)), np.ones((3, 18)), [0.2, 0.9, 0.2], ids=np.array([1, 2, 3]))
    assert poses.sorted().ids.tolist() == [2, 1, 3]


def test_round_trip_between_sets_loses_nothing_of_coco():
    poses = some(4, COCO17, ids=[1, 2, 3, 4])
    back = poses.to(OPENPOSE18).to(COCO17)
    np.testing.assert_array_equal(back.keypoints, poses.keypoints)
    np.testing.assert_array_equal(back.scores, poses.scores)
    assert back.ids.tolist() == [1, 2, 3, 4]
    assert poses.to(COCO17) is poses


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda s: s.name)
def test_a_keypoint_of_everybody_by_its_name_short_or_in_full(skeleton):
    poses = some(3, skeleton)
    for k, name in enumerate(skeleton.keypoints):
        full = {"l_": "left_", "r_": "right_"}.get(name[:2], name[:2]) + name[2:]
        for each in (name, full):
            np.testing.assert_array_equal(poses.keypoint(each), poses.keypoints[:, k])
            assert skeleton.index(each) == k
    assert Poses.empty(skeleton).keypoint("left_wrist").shape == (0, 2)


@pytest.mark.parametrize("name", ["wrist", "left_neck", "Left_wrist", "left_left_wrist", "", 4, None, ["nose"]])
def test_an_unknown_keypoint_lists_the_names(name):
    with pytest.raises(edgepose.InputError, match=r"openpose18 has no keypoint .*; expected one of nose, neck, r_shoulder"):
        some(1).keypoint(name)


def test_only_some_sets_have_a_neck():
    with pytest.raises(edgepose.InputError, match="coco17 has no keypoint 'neck'"):
        some(1, COCO17).keypoint("neck")


def test_to_dict_is_json_with_null_for_the_missing():
    poses = some(2)
    content = json.loads(json.dumps(poses.to_dict(), allow_nan=False))
    assert content["skeleton"] == "openpose18"
    for i, person in enumerate(content["poses"]):
        assert person["id"] is None
        assert person["box"] == pytest.approx(poses.boxes[i].tolist(), abs=0.01)
        for k, point in enumerate(person["keypoints"]):
            if poses.scores[i, k] == 0:
                assert point is None
            else:
                assert point == pytest.approx([*poses.keypoints[i, k].tolist(), float(poses.scores[i, k])], abs=0.01)


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda s: s.name)
def test_to_coco_has_17_points_and_zeros_for_the_missing(skeleton):
    poses = some(2, skeleton)
    coco = poses.to(COCO17)
    for i, result in enumerate(poses.to_coco(42)):
        points = np.array(result["keypoints"]).reshape(17, 3)
        assert (result["image_id"], result["category_id"]) == (42, 1)
        assert result["score"] == pytest.approx(float(poses.confidence[i]), abs=1e-6)
        found = coco.scores[i] > 0
        np.testing.assert_allclose(points[found, :2], coco.keypoints[i][found], atol=1e-3)
        assert not points[~found].any()
        json.dumps(result, allow_nan=False)


def test_to_openpose_has_18_points_and_zeros_for_the_missing():
    poses = some(2, ids=[5, 6])
    content = poses.to_openpose()
    assert content["version"] == 1.3
    assert [person["person_id"] for person in content["people"]] == [[5], [6]]
    points = np.array(content["people"][0]["pose_keypoints_2d"]).reshape(18, 3)
    np.testing.assert_allclose(points, np.nan_to_num(np.column_stack([poses.keypoints[0], poses.scores[0]])), atol=1e-3)
    assert some(1).to_openpose()["people"][0]["person_id"] == [-1]
