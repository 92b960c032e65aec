from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import sample

from edgepose.estimator import EstimatedFrame
from edgepose.poses import Poses
from edgepose.server.metrics import Metrics
from edgepose.server.results import People, Result

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
    result = Result(People(1, frame, fps=25.0, dropped=0), frame, draw, metrics)
    shapes = [picture.shape[:2] for picture in pictures(result, None, 721, 720, 360, 359, 100)]
    assert shapes == [(721, 1283), (721, 1283), (360, 641), (360, 641), (180, 320), (90, 160)]
    assert sample(metrics, "stage_seconds_count", stage="encode") == 4  # Each size once.
    assert (frame.image == GREY).all()


def test_a_picture_keeps_a_column(draw: ThreadPoolExecutor) -> None:
    frame = a_frame(64, 3)
    (picture,) = pictures(Result(People(1, frame, fps=25.0, dropped=0), frame, draw, Metrics()), 8)
    assert picture.shape[:2] == (32, 1)


def test_people_are_drawn_where_they_are_in_smaller_pictures_too(draw: ThreadPoolExecutor) -> None:
    frame = a_frame(720, 1280)
    large, small = pictures(Result(People(1, frame, fps=25.0, dropped=0), frame, draw, Metrics()), None, 540)
    reduced = np.asarray(cv2.resize(large, (640, 360), interpolation=cv2.INTER_AREA), np.uint8)
    expected, found = is_drawn(reduced), is_drawn(small)
    shifts = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    shifted = [np.roll(found, shift, axis=(0, 1)) for shift in shifts]
    overlaps = [float((expected & each).sum() / (expected | each).sum()) for each in shifted]
    assert overlaps[0] > 0.65  # Lines are a little thicker for their size.
    assert overlaps[0] == max(overlaps)


def test_the_json_is_an_object_of_all_that_is_known() -> None:
    frame = replace(a_frame(48, 64), received=time.time() - 5)
    people = People(3, frame, fps=12.5, dropped=2)
    result = json.loads(people.json())
    assert (result.pop("time"), result.pop("age")) == pytest.approx((frame.received, 5), abs=1)
    assert result == {
        "frame": 7,
        "timestamp": 0.28,
        "image": {"path": "clip.mp4", "width": 64, "height": 48},
        **frame.poses.to_dict(),
        "fps": 12.5,
        "dropped": 2,
    }


def test_the_age_grows_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(1, a_frame(48, 64), fps=12.5, dropped=2)  # Of a file, whose frames come when they are looked at.
    first = json.loads(people.json())
    assert (first["time"], first["age"]) == pytest.approx((time.time(), 0), abs=1)
    later = time.monotonic() + 60
    monkeypatch.setattr("edgepose.server.results.time.monotonic", lambda: later)
    second = json.loads(people.json(0.0))
    assert 59 < second["age"] < 61
    assert {**second, "age": first["age"], "fps": 12.5} == first
    assert second["fps"] == 0


def test_a_clock_that_is_set_makes_nothing_older_or_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(1, replace(a_frame(48, 64), received=time.time()), fps=1.0, dropped=0)
    monkeypatch.setattr("edgepose.server.results.time.time", lambda: 0.0)
    assert 0 <= people.age < 5
    assert People(2, replace(a_frame(48, 64), received=1000.0), fps=1.0, dropped=0).age < 5  # It was set back meanwhile.


def test_a_name_that_is_not_utf8_is_no_error() -> None:
    frame = replace(a_frame(48, 64), path="some/where/caf\udce9.mp4")
    assert json.loads(People(1, frame, fps=25.0, dropped=0).json())["image"]["path"] == "caf\udce9.mp4"
