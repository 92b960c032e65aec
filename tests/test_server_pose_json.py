"""People as text, against `json.dumps` of their plain lists and numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.poses import Poses
from edgepose.server.pose_json import _room, _write, poses_json
from edgepose.skeleton import COCO17, OPENPOSE18, Skeleton


def plain(poses: Poses) -> str:
    return json.dumps(poses.to_dict(), separators=(",", ":"))[1:-1]


def crowd(seed: int, count: int, *, scale: float = 2000.0, ids: bool = False, skeleton: Skeleton = OPENPOSE18) -> Poses:
    """People anywhere, with keypoints missing, one of them all."""
    rng = np.random.default_rng(seed)
    k = len(skeleton)
    keypoints = (rng.uniform(-0.1, 1, (count, k, 2)) * scale).astype(np.float32)
    scores = (rng.random((count, k)) ** 4).astype(np.float32)
    scores[rng.random((count, k)) < 0.3] = 0
    scores[:1] = 0
    keypoints[scores == 0] = np.nan
    numbers = rng.integers(0, 1 << 40, count) if ids else None
    return Poses(keypoints, scores, rng.random(count).astype(np.float32), skeleton, numbers)


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda s: s.name)
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 2000.0, 9e8])
def test_the_same_text_as_of_the_plain_object(count: int, scale: float, ids: bool, skeleton: Skeleton) -> None:
    for seed in range(20):
        poses = crowd(seed, count, scale=scale, ids=ids, skeleton=skeleton)
        text = poses_json(poses)
        assert text == plain(poses)
        assert len(text) <= _room(count, len(skeleton)) + 60


@given(
    x=st.floats(-9e8, 9e8, width=32), y=st.floats(-10, 10, width=32), s=st.floats(0, 1, width=32), c=st.floats(0, 1, width=32)
)
def test_any_number(x: float, y: float, s: float, c: float) -> None:
    keypoints = np.full((1, 18, 2), np.nan, np.float32)
    scores = np.zeros((1, 18), np.float32)
    if s > 0:
        keypoints[0, 3], scores[0, 3] = (x, y), s
    poses = Poses(keypoints, scores, np.array([c], np.float32))
    assert poses_json(poses) == plain(poses)


def test_ties_go_where_round_sends_them() -> None:
    eighths = np.arange(18, dtype=np.float32) / np.float32(8) - np.float32(1)
    poses = Poses(np.stack([eighths, -eighths], axis=1)[None], np.full((1, 18), 0.5, np.float32), np.ones(1, np.float32))
    assert poses_json(poses) == plain(poses)


@pytest.mark.parametrize("far", [1e9, -3e38, np.inf])
def test_numbers_from_beyond_all_pictures_are_written_too(far: float) -> None:
    keypoints = np.zeros((1, 18, 2), np.float32)
    keypoints[0, 0, 0] = far
    poses = Poses(keypoints, np.full((1, 18), 0.5, np.float32), np.ones(1, np.float32))
    found: dict[str, Any] = json.loads("{" + poses_json(poses) + "}")
    assert found["poses"][0]["keypoints"][0][0] == pytest.approx(far)


def test_people_with_identities_and_without_are_the_same_to_the_compiler() -> None:
    for ids in (False, True):
        poses_json(crowd(0, 2, ids=ids))
    assert len(_write.signatures) == 1  # type: ignore[attr-defined]
