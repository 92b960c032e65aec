"""Windows around followed people, for bottom-up models: which part of a frame is seen, at what size, and when all of it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny_models
from numpy.typing import NDArray
from synthetic.worlds import AtOnce, ByHand, Scene, frames, number_of, standing

import edgepose
from edgepose.engines import Opened
from edgepose.media.sources import Frame, Source
from edgepose.pipelines import Options, make_pipeline
from edgepose.pipelines.bottom_up import BottomUp, Window
from edgepose.pipelines.scheduling import Started, in_order
from edgepose.pipelines.windows import SHARES, WindowedFrames, windows
from edgepose.zoo import registry

NOBODY = np.full((17, 2), np.nan)
SHAPE = (320, 568)


class Seeing:
    """Stands for a `BottomUp`: it finds those who are wholly in the part of the frame that it is shown."""

    multiple = 8

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.seen: list[Window | None] = []  # None for the whole frame.
        self.prepared: list[tuple[int, int]] = []

    def input_shape(self, height: int, width: int) -> tuple[int, int]:
        return SHAPE

    def start(self, image: NDArray[np.uint8]) -> Started:
        return self._see(image, None)

    def start_in(self, image: NDArray[np.uint8], window: Window) -> Started:
        return self._see(image, window)

    def prepare(self, shape: tuple[int, int]) -> None:
        self.prepared.append(shape)

    def _see(self, image: NDArray[np.uint8], window: Window | None) -> Started:
        self.seen.append(window)
        height, width = image.shape[:2]
        place = window or Window(SHAPE, 0, 0, height, width)
        low, size = np.array((place.left, place.top)), np.array((place.width, place.height))
        people = self.scene(number_of(image))
        inside = [p for p in people if not np.isnan(p).any() and (p >= low).all() and (p <= low + size).all()]
        keypoints = np.array(inside, np.float32).reshape(-1, 17, 2)
        count = len(keypoints)
        poses = edgepose.Poses(keypoints, np.full((count, 17), 0.9), np.full(count, 0.9), edgepose.COCO17)
        return Started(lambda: poses)


def run(pipeline: Seeing, source: Source, every: int = 15, **options: Any) -> list[int]:
    """How many people were found in each frame."""
    windowed = WindowedFrames(pipeline, every, **{"executor": AtOnce(), **options})  # type: ignore[arg-type]
    return [len(poses) for _, poses in in_order(source, windowed.start, lambda: 1)]


def whole(pipeline: Seeing) -> list[int]:
    return [number for number, window in enumerate(pipeline.seen) if window is None]


def test_one_who_walks_stays_in_a_small_window() -> None:
    pipeline = Seeing(lambda number: standing(100 + 4 * number, 180, 120)[None])
    assert run(pipeline, frames(90)) == [1] * 90
    # A frame is started before the one before is known, and another one while the network gets ready.
    assert whole(pipeline) == [0, 1, 2, 15, 16, 30, 31, 45, 46, 60, 61, 75, 76]
    areas = [window.area for window in pipeline.seen if window is not None]
    assert max(areas) <= SHAPE[0] * SHAPE[1] / 3


def test_people_keep_the_size_that_they_have_in_the_whole_frame() -> None:
    for height, width in ((360, 640), (720, 1280), (721, 1283), (1080, 810), (100, 900)):
        scale = min(SHAPE[0] / height, SHAPE[1] / width)
        found = windows(SHAPE, height, width, 8)
        assert 1 <= len({window.shape for window in found}) <= len(SHARES)
        for window in found:
            assert window.height <= height
            assert window.width <= width
            assert min(window.shape[0] / window.height, window.shape[1] / window.width) == pytest.approx(scale, rel=0.02)
            assert all(side % 8 == 0 for side in window.shape)
        assert [window.area for window in found] == sorted(window.area for window in found)


def test_people_far_apart_are_seen_in_the_whole_frame() -> None:
    pipeline = Seeing(lambda number: np.stack([standing(60, 100, 150), standing(580, 250, 150)]))
    assert run(pipeline, frames(20)) == [2] * 20
    assert whole(pipeline) == list(range(20))


def test_somebody_new_is_seen_within_an_interval_and_two_frames() -> None:
    def scene(number: int) -> NDArray[np.float64]:
        return np.stack([standing(100, 180, 120), standing(560, 180, 120) if number >= 20 else NOBODY])

    found = run(Seeing(scene), frames(60), every=10)
    assert found.index(2) <= 20 + 10 + 2
    assert found[found.index(2) :] == [2] * (60 - found.index(2))


def test_the_whole_frame_is_seen_when_somebody_was_lost() -> None:
    def scene(number: int) -> NDArray[np.float64]:
        return standing(100 if number < 30 else 500, 180, 120)[None]

    pipeline = Seeing(scene)
    found = run(pipeline, frames(60), every=1000)
    assert [number for number, count in enumerate(found) if not count] == [30, 31]
    assert whole(pipeline) == [0, 1, 2, 32, 33]


def test_frames_of_another_size_are_seen_whole_first() -> None:
    def scene(number: int) -> NDArray[np.float64]:
        return standing(100, 90, 60)[None] * (2 if number < 30 else 1)

    pipeline = Seeing(scene)
    source = frames(60, size=lambda number: (360, 640) if number < 30 else (180, 320))
    assert run(pipeline, source, every=1000) == [1] * 60
    assert {30, 31} <= set(whole(pipeline))


def test_no_frame_waits_for_the_network_to_get_ready() -> None:
    executor = ByHand(at_once=0)
    pipeline = Seeing(lambda number: standing(320, 180, 120)[None])
    assert run(pipeline, frames(30), every=1000, executor=executor) == [1] * 30
    assert whole(pipeline) == list(range(30))
    assert len(executor.waiting) >= 1


def test_a_failure_to_get_ready_reaches_the_caller() -> None:
    pipeline = Seeing(lambda number: standing(320, 180, 120)[None])

    def fail(shape: tuple[int, int]) -> None:
        raise edgepose.ModelError(f"no memory for {shape}")

    pipeline.prepare = fail  # type: ignore[method-assign]
    with pytest.raises(edgepose.ModelError, match="no memory for"):
        run(pipeline, frames(30))


# The real pipeline.


class Echo:
    """An engine that keeps what it is given, and answers maps of zeros."""

    output_channels = (19, 38)
    requests = 1

    def __init__(self) -> None:
        self.given: list[NDArray[np.uint8]] = []

    def submit(self, batch: NDArray[np.uint8]) -> Echo:
        self.given.append(batch)
        self.shape = batch.shape[1] // 8, batch.shape[2] // 8
        return self

    def result(self) -> list[NDArray[np.float32]]:
        return [np.zeros((1, channels, *self.shape), np.float32) for channels in self.output_channels]


def test_a_window_is_the_part_of_the_frame_at_the_same_scale() -> None:
    engine = Echo()
    model = registry.from_yaml("tiny", tiny_models.DESCRIPTION, "tests")
    pipeline: Any = make_pipeline(Opened(engine, model), Options(input_size=64), lambda name: None)  # type: ignore[arg-type, return-value]
    assert isinstance(pipeline, BottomUp)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert pipeline.input_shape(64, 96) == (64, 96)
    pipeline.start_in(image, Window((32, 48), 16, 8, 32, 48)).result()
    np.testing.assert_array_equal(engine.given[0][0], image[8:40, 16:64])
    pipeline.prepare((32, 24))
    assert engine.given[1].shape == (1, 32, 24, 3)


def test_points_of_a_window_are_in_pixels_of_the_frame(tiny_estimator: edgepose.PoseEstimator) -> None:
    pipeline: Any = tiny_estimator.pipeline
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    part = np.ascontiguousarray(image[40:104, 60:156])
    window = Window((64, 96), 60, 40, 64, 96)
    alone = pipeline.start_in(part, Window((64, 96), 0, 0, 64, 96)).result()
    np.testing.assert_allclose(
        pipeline.start_in(image, window).result().keypoints, alone.keypoints + np.array((60, 40)), atol=1e-3
    )


@pytest.fixture
def follows(tmp_path: Any) -> edgepose.PoseEstimator:
    return edgepose.PoseEstimator(tiny_models.save(tmp_path), follow=True, detect_every=4)


def test_videos_are_followed_and_pictures_refused(follows: edgepose.PoseEstimator, tmp_path: Any) -> None:
    images = [np.random.default_rng(n).integers(0, 256, (64, 96, 3), np.uint8) for n in range(9)]
    source = Source("clip", "video", (Frame(image, n, n / 30, "clip") for n, image in enumerate(images)), fps=30.0)
    assert [frame.index for frame in follows.stream(source, track=True)] == list(range(9))
    assert len(list(follows.stream(images))) == 9
    assert len(follows.batch(images)) == 9
    from edgepose.media.images import write_image

    write_image(tmp_path / "photo.png", images[0])
    for pictures in (tmp_path, tmp_path / "photo.png"):
        with pytest.raises(edgepose.InputError, match="expected a video, or a camera, to follow people in"):
            list(follows.stream(pictures))


def test_following_anew_in_every_frame_is_a_contradiction(tmp_path: Any) -> None:
    with pytest.raises(edgepose.InputError, match="follow given, but with detect_every 1"):
        edgepose.PoseEstimator(tiny_models.save(tmp_path), follow=True, detect_every=1)


def test_networks_run_while_another_shape_is_compiled(follows: edgepose.PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = follows.engine
    real: Callable[..., Any] = engine._compile
    begun, go_on = threading.Event(), threading.Event()

    def slow(shape: tuple[int, int, int]) -> Any:
        if shape[1] == 16:
            begun.set()
            assert go_on.wait(20)
        return real(shape)

    monkeypatch.setattr(engine, "_compile", slow)
    thread = threading.Thread(target=lambda: engine.submit(np.zeros((1, 16, 16, 3), np.uint8)).result())
    thread.start()
    assert begun.wait(20)
    engine.submit(np.zeros((1, 32, 32, 3), np.uint8)).result()
    go_on.set()
    thread.join()
    assert {(1, 16, 16), (1, 32, 32)} <= set(engine._compiled)
