"""Poses as the key points of supervision, where that package is installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import edgepose
from edgepose.poses import Poses


def people() -> Poses:
    keypoints = np.random.default_rng(0).uniform(5, 90, (2, 18, 2)).astype(np.float32)
    scores = np.full((2, 18), 0.8, np.float32)
    keypoints[1, 4], scores[1, 4] = np.nan, 0
    return Poses(keypoints, scores, np.array([0.9, 0.5]), ids=np.array([3, 8]))


def test_without_supervision_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(edgepose.MissingExtraError, match=r"edgepose\[supervision\]"):
        people().to_supervision()


@pytest.mark.filterwarnings("ignore")  # of supervision's own imports
def test_people_are_key_points_of_supervision():
    supervision = pytest.importorskip("supervision", minversion="0.31")
    poses = people()
    key_points = poses.to_supervision()
    assert isinstance(key_points, supervision.KeyPoints)
    assert len(key_points) == 2
    found = poses.scores > 0
    np.testing.assert_array_equal(key_points.visible, found)
    np.testing.assert_array_equal(key_points.xy[found], poses.keypoints[found])
    assert (key_points.xy[~found] == 0).all()
    np.testing.assert_array_equal(key_points.keypoint_confidence, poses.scores)
    np.testing.assert_array_equal(key_points.detection_confidence, poses.confidence)
    np.testing.assert_array_equal(key_points.data["tracker_id"], [3, 8])
    assert key_points[[1]].data["keypoint_names"][0][0] == "nose"
    drawn = supervision.VertexAnnotator().annotate(np.zeros((100, 100, 3), np.uint8), key_points)
    assert drawn.any()
    assert len(Poses.empty().to_supervision()) == 0
