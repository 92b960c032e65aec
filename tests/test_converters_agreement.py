from __future__ import annotations

import numpy as np
import pytest

from converters.agreement import SURE, compare, correlation, oks
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


def test_who_hovers_about_the_least_score_does_not_count():
    faint = person(250, score=SURE * 0.9)
    found = compare([together(person(50), faint)], [person(50)])
    assert (found.people, found.lost, found.invented) == (1, 0, 0)
    assert compare([person(50)], [together(person(50), faint)]).invented == 0


def test_a_person_may_be_found_with_any_score():
    assert compare([person(50, score=SURE * 1.1)], [person(50, score=SURE * 0.6)]).lost == 0


def test_without_people_there_is_nothing_alike():
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


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        pytest.param(lambda maps: maps, 1, id="equal"),
        pytest.param(lambda maps: 3 * maps + 1, 1, id="other-scale"),
        pytest.param(lambda maps: -maps, -1, id="upside-down"),
        pytest.param(lambda maps: maps * 0, 0, id="constant"),
        pytest.param(lambda maps: maps * np.nan, 0, id="not-numbers"),
    ],
)
def test_correlation_of_maps(candidate, expected):
    maps = np.random.default_rng(0).normal(size=(1, 19, 8, 8)).astype(np.float32)
    assert correlation([maps], [np.float32(candidate(maps))]) == pytest.approx(expected)
