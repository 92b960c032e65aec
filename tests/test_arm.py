"""The comparison of tests/arm.py, without another processor."""

from __future__ import annotations

import numpy as np
from arm import compare


def person(x: float, missing: tuple[int, ...] = ()) -> np.ndarray:
    points = np.array([[x + 10 * k, 50 + k, 0.5] for k in range(18)])
    points[list(missing)] = np.nan
    return points


def test_people_are_paired_by_place_and_not_by_order():
    here = np.stack([person(0), person(300, missing=(3,))])
    assert compare(here, here[::-1]) == {
        "people_here": 2,
        "people_there": 2,
        "alone": 0,
        "median_px": 0,
        "pixels": 0,
        "score": 0,
    }


def test_the_largest_differences_are_found():
    there = np.stack([person(0)])
    there[0, 5] += (0.3, 0.4, 0.01)
    found = compare(np.stack([person(0)]), there)
    assert found["alone"] == 0
    np.testing.assert_allclose([found["median_px"], found["pixels"], found["score"]], [0, 0.5, 0.01])


def test_keypoints_and_people_on_one_side_alone_are_counted():
    nobody = np.empty((0, 18, 3))
    one, two = np.stack([person(0)]), np.stack([person(0, missing=(1, 2)), person(300)])
    assert compare(one, two)["alone"] == 20
    assert compare(two, one)["alone"] == 20
    assert compare(one, nobody)["alone"] == compare(nobody, one)["alone"] == 18
    assert compare(nobody, nobody) == {"people_here": 0, "people_there": 0, "alone": 0, "median_px": 0, "pixels": 0, "score": 0}
