from __future__ import annotations

import numpy as np
import pytest

from converters.int8.agreement import SURE, compare, oks
from edgepose.poses import Poses
from edgepose.skeleton import OPENPOSE18


def person(x: float, y: float = 50.0, score: float = 0.8, size: float = 100.0) -> Poses:
    """One person, `size` pixels high, about (x, y)."""
    spread = np.random.default_rng(3).uniform(-0.5, 0.5, (1, len(OPENPOSE18), 2))
    keypoints = (spread * [size / 2, size] + [x, y]).astype(np.float32)
    scores = np.full((1, len(OPENPOSE18)), score, np.float32)
    return Poses(keypoints, scores, np.array([score], np.float32))


def together(*people: Poses) -> Poses:
    keypoints, scores, confidence = (
        np.concatenate([getattr(one, name) for one in people]) for name in ("keypoints", "scores", "confidence")
    )
    return Poses(keypoints, scores, confidence)


def test_the_same_people_agree_in_full():
    people = [together(person(50), person(250)), Poses.empty(OPENPOSE18)]
    found = compare(people, people)
    assert (found.people, found.lost, found.invented) == (2, 0, 0)
    assert found.oks == pytest.approx(1)


def test_order_does_not_matter_and_distance_does():
    near = compare([together(person(50), person(250))], [together(person(252), person(52))])
    assert (near.lost, near.invented) == (0, 0)
    assert 0.5 < near.oks < 0.99


def test_lost_and_invented_people_are_counted():
    found = compare([together(person(50), person(250))], [together(person(50), person(450))])
    assert (found.people, found.lost, found.invented) == (2, 1, 1)
    assert found.oks == pytest.approx(1)


def test_people_near_the_least_score_do_not_count():
    faint = person(250, score=SURE * 0.9)
    found = compare([together(person(50), faint)], [person(50)])
    assert (found.people, found.lost, found.invented) == (1, 0, 0)
    assert compare([person(50)], [together(person(50), faint)]).invented == 0


def test_a_person_may_be_found_with_any_score():
    assert compare([person(50, score=SURE * 1.1)], [person(50, score=SURE * 0.6)]).lost == 0


def test_without_people_the_similarity_is_zero():
    nobody = Poses.empty(OPENPOSE18)
    found = compare([nobody], [nobody])
    assert (found.people, found.oks, found.lost, found.invented) == (0, 0, 0, 0)
    assert compare([nobody], [person(50)]).invented == 1


def test_a_keypoint_that_is_not_found_counts_nothing():
    whole = person(50)
    keypoints, scores = whole.keypoints.copy(), whole.scores.copy()
    keypoints[0, :9], scores[0, :9] = np.nan, 0
    half = Poses(keypoints, scores, whole.confidence)
    assert oks(whole, half)[0, 0] == pytest.approx(0.5)
    assert oks(half, whole)[0, 0] == pytest.approx(1)


def changed(poses: Poses, keypoint: int, xy: tuple[float, float] | None, score: float) -> Poses:
    """With another place and score of one keypoint of the first person; None: not found."""
    keypoints, scores = poses.keypoints.copy(), poses.scores.copy()
    keypoints[0, keypoint], scores[0, keypoint] = (np.nan, np.nan) if xy is None else xy, score
    return Poses(keypoints, scores, poses.confidence)


def test_keypoints_lost_and_invented_are_counted_by_kind():
    whole, without = person(50), changed(person(50), 4, None, 0)
    lost, invented = compare([whole], [without]), compare([without], [whole])
    assert (lost.keypoints.sum(), lost.lost_keypoints.sum(), lost.invented_keypoints.sum()) == (18, 1, 0)
    assert lost.lost_keypoints[4] == 1
    assert (invented.keypoints.sum(), invented.lost_keypoints.sum(), invented.invented_keypoints.sum()) == (17, 0, 1)
    assert invented.oks == pytest.approx(1)  # which does not see it


def test_a_keypoint_at_another_place_is_lost_and_invented():
    found = compare([person(50)], [changed(person(50), 4, (300, 300), 1)])
    assert (found.lost_keypoints[4], found.invented_keypoints[4]) == (1, 1)


def test_a_keypoint_that_was_a_faint_guess_elsewhere_is_invented():
    faint = changed(person(50), 4, (60, 60), SURE / 2)
    found = compare([faint], [changed(faint, 4, (300, 300), 1)])
    assert (found.lost_keypoints.sum(), found.invented_keypoints[4]) == (0, 1)
    assert compare([faint], [changed(faint, 4, (60, 60), SURE * 1.2)]).invented_keypoints.sum() == 0


def test_keypoints_of_invented_people_are_invented_however_faint_these_are():
    ghost = person(450)
    ghost = Poses(ghost.keypoints, ghost.scores, np.array([SURE / 2], np.float32))
    found = compare([person(50)], [together(person(50), ghost)])
    assert (found.invented, found.invented_keypoints.sum()) == (0, 18)
    assert compare([together(person(50), ghost)], [person(50)]).lost_keypoints.sum() == 18


def test_scores_count_and_few_that_are_far_off_count_more():
    assert compare([person(50)], [person(50)]).scores == 0
    assert compare([person(50, score=0.8)], [person(50, score=0.4)]).scores == pytest.approx(0.4)
    place = person(50).keypoints[0, 4]
    assert compare([person(50)], [changed(person(50), 4, place, 0.2)]).scores == pytest.approx(0.6 / np.sqrt(18))
    surer = Poses(person(50).keypoints, person(50).scores, np.array([0.3], np.float32))
    assert compare([person(50)], [surer]).scores == pytest.approx(0.5)
