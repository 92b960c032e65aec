from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

import orjson
from serving import sample

from edgepose.estimator import EstimatedFrame
from edgepose.poses import Poses
from edgepose.server.metrics import Metrics
from edgepose.server.results import People, Result, poses_entries
from edgepose.skeleton import COCO17, OPENPOSE18, Skeleton

GREY = 128


@pytest.fixture
def draw() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def a_frame(height: int, width: int) -> EstimatedFrame:
    """A grey picture of one person, whose keypoints lie all over it."""
    rng = np.random.default_rng(1)
    keypoints = (rng.uniform(0.1, 0.9, (1, 18, 2)) * (width, height)).astype(np.float32)
    poses = Poses(keypoints, np.ones((1, 18), np.float32), np.ones(1, np.float32))
    return EstimatedFrame(np.full((height, width, 3), GREY, np.uint8), 7, 0.28, "some/where/clip.mp4", poses)


def pictures(result: Result, *heights: int | None) -> list[NDArray[np.uint8]]:
    async def ask() -> list[bytes]:
        return [await result.picture(height) for height in heights]

    return [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in asyncio.run(ask())]  # type: ignore[misc]


def is_drawn(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.abs(image.astype(int) - GREY).max(axis=2) > 40


def test_larger_pictures_are_halved_until_they_fit(draw: ThreadPoolExecutor) -> None:
    frame = a_frame(721, 1283)
    metrics = Metrics()
    result = Result(People(1, frame, {}), frame, draw, metrics)
    shapes = [picture.shape[:2] for picture in pictures(result, None, 721, 720, 360, 359, 100)]
    assert shapes == [(721, 1283), (721, 1283), (360, 641), (360, 641), (180, 320), (90, 160)]
    assert sample(metrics, "stage_seconds_count", stage="encode") == 4  # Each size once.
    assert (frame.image == GREY).all()


def test_a_picture_keeps_a_column(draw: ThreadPoolExecutor) -> None:
    frame = a_frame(64, 3)
    (picture,) = pictures(Result(People(1, frame, {}), frame, draw, Metrics()), 8)
    assert picture.shape[:2] == (32, 1)


def test_people_are_drawn_where_they_are_in_smaller_pictures_too(draw: ThreadPoolExecutor) -> None:
    frame = a_frame(720, 1280)
    large, small = pictures(Result(People(1, frame, {}), frame, draw, Metrics()), None, 540)
    reduced = np.asarray(cv2.resize(large, (640, 360), interpolation=cv2.INTER_AREA), np.uint8)
    expected, found = is_drawn(reduced), is_drawn(small)
    shifts = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    shifted = [np.roll(found, shift, axis=(0, 1)) for shift in shifts]
    overlaps = [float((expected & each).sum() / (expected | each).sum()) for each in shifted]
    assert overlaps[0] > 0.65  # Lines are a little thicker for their size.
    assert overlaps[0] == max(overlaps)


def test_the_json_is_an_object_of_all_that_is_known() -> None:
    frame = a_frame(48, 64)
    people = People(3, frame, {"fps": 12.5, "dropped": 2})
    assert json.loads(people.json()) == {
        "frame": 7,
        "timestamp": 0.28,
        "image": {"path": "clip.mp4", "width": 64, "height": 48},
        **frame.poses.to_dict(),
        "fps": 12.5,
        "dropped": 2,
    }
    assert people.json() is people.json()


def test_a_name_that_is_not_utf8_is_no_error() -> None:
    frame = replace(a_frame(48, 64), path="some/where/caf\udce9.mp4")
    assert json.loads(People(1, frame, {}).json())["image"]["path"] == "caf\udce9.mp4"


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


def written(poses: Poses) -> Any:
    return json.loads(orjson.dumps(poses_entries(poses)))


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda s: s.name)
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 2000.0, 9e8])
def test_people_as_json_are_the_plain_object(count: int, scale: float, ids: bool, skeleton: Skeleton) -> None:
    for seed in range(20):
        poses = crowd(seed, count, scale=scale, ids=ids, skeleton=skeleton)
        assert written(poses) == poses.to_dict()


@given(
    x=st.floats(-9e8, 9e8, width=32), y=st.floats(-10, 10, width=32), s=st.floats(0, 1, width=32), c=st.floats(0, 1, width=32)
)
def test_every_number_is_rounded_as_in_the_plain_object(x: float, y: float, s: float, c: float) -> None:
    keypoints = np.full((1, 18, 2), np.nan, np.float32)
    scores = np.zeros((1, 18), np.float32)
    if s > 0:
        keypoints[0, 3], scores[0, 3] = (x, y), s
    poses = Poses(keypoints, scores, np.array([c], np.float32))
    assert written(poses) == poses.to_dict()


def test_ties_go_where_round_sends_them() -> None:
    eighths = np.arange(-8, 10).astype(np.float32) / np.float32(8)
    poses = Poses(np.stack([eighths, -eighths], axis=1)[None], np.full((1, 18), 0.5, np.float32), np.ones(1, np.float32))
    assert written(poses) == poses.to_dict()


@pytest.mark.parametrize("far", [1e9, -3e38, np.inf])
def test_numbers_from_beyond_all_pictures_are_written_too(far: float) -> None:
    keypoints = np.zeros((1, 18, 2), np.float32)
    keypoints[0, 0, 0] = far
    poses = Poses(keypoints, np.full((1, 18), 0.5, np.float32), np.ones(1, np.float32))
    x, y, score = written(poses)["poses"][0]["keypoints"][0]
    # JSON has no infinity.
    assert (x, y, score) == (None if np.isinf(far) else pytest.approx(far), 0, 0.5)
