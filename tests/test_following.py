"""Following, in a world where everybody's place is known: who is followed, dropped, found, and when the detector is asked."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from numpy.typing import NDArray
from pictures import write_video
from synthetic.worlds import AtOnce, ByHand, World, around, frames, picture, shown, standing

import edgepose
from edgepose import estimator as estimator_module
from edgepose.media.images import write_image
from edgepose.media.sources import Frame, Source
from edgepose.pipelines import following
from edgepose.pipelines.detection import MAX_BOXES
from edgepose.pipelines.followed import WEAK_FRAMES
from edgepose.pipelines.following import Follower, detection_interval, follow
from edgepose.tracking import Tracker

NOBODY = np.full((17, 2), np.nan)


def run(
    world: World, source: Source, every: int = 1000, *, executor: Executor | None = None, requests: int = 1
) -> Iterator[tuple[Frame, edgepose.Poses, NDArray[np.int64]]]:
    follower = Follower(world, every, is_live=source.is_live, executor=executor or AtOnce())  # type: ignore[arg-type]
    return follow(source, follower, lambda: requests)


def walking(number: int) -> NDArray[np.float64]:
    """Two who walk past each other at some distance, 4 and 3 pixels a frame."""
    return np.stack([standing(80 + 4 * number, 110), standing(560 - 3 * number, 260)])


@pytest.mark.parametrize("requests", [1, 3], ids=["latency", "throughput"])
def test_people_who_move_are_followed_after_one_detection(requests: int) -> None:
    world = World(walking)
    results = list(run(world, frames(120), requests=requests))
    assert [frame.index for frame, _, _ in results] == list(range(120))
    assert world.asked == [0]
    for frame, poses, keys in results[:110]:
        assert sorted(keys.tolist()) == [1, 2]
        expected = walking(frame.index)[keys - 1]
        np.testing.assert_allclose(poses.keypoints, expected, atol=1e-3)
        assert (np.diff(poses.confidence) <= 0).all()


@pytest.mark.parametrize("requests", [1, 2])
def test_the_detector_is_asked_in_the_first_frame_and_then_in_every_nth(requests: int) -> None:
    world = World(walking)
    list(run(world, frames(50), every=12, requests=requests))
    assert world.asked == [0, 12, 24, 36, 48]


@pytest.mark.parametrize(
    ("fps", "interval"),
    [(30.0, 15), (25.0, 12), (60.0, 30), (2.0, 1), (0.1, 1), (None, 15), (0.0, 15), (float("nan"), 15), (1e9, 15)],
)
def test_half_a_second_lies_between_detections(fps: float | None, interval: int) -> None:
    assert detection_interval(fps) == interval


def test_no_frame_waits_for_the_detector_but_the_first() -> None:
    executor = ByHand()
    results = run(World(walking), frames(60), every=5, executor=executor)
    assert shown(results) == [(n, [1, 2]) for n in range(60)]
    assert len(executor.waiting) == 1  # Still under way; it is asked nothing more.


def arriving(number: int) -> NDArray[np.float64]:
    """As the camera pans, somebody comes into the picture in frame 10."""
    pan = -5 * number
    return np.stack([standing(500 + pan, 110), standing(600 + pan, 250) if number >= 10 else NOBODY])


@pytest.mark.parametrize("late", [1, 4, 7])
def test_a_detection_that_comes_late_is_moved_on_with_the_people(late: int) -> None:
    executor = ByHand()
    world = World(arriving)
    found = []
    for frame, poses, keys in run(world, frames(40), every=12, executor=executor):
        found.append(sorted(keys.tolist()))
        assert len(poses) == len(keys)
        if executor.waiting and frame.index == 12 + late - 2:  # One frame is under way already.
            executor.run()
            assert world.asked == [0, 12]
    first = found.index([1, 2])
    assert first == 12 + late
    assert found[first:] == [[1, 2]] * (40 - first)


@pytest.mark.parametrize("every", [1, 5, 15])
def test_somebody_new_is_seen_within_an_interval_and_two_frames(every: int) -> None:
    for entry in (11, 16, 20):

        def scene(number: int, entry: int = entry) -> NDArray[np.float64]:
            return np.stack([standing(100, 200), standing(400, 200) if number >= entry else NOBODY])

        found = shown(run(World(scene), frames(60), every=every))
        first = next(number for number, keys in found if keys == [1, 2])
        assert first <= entry + every + 2


def test_nobody_is_there_twice() -> None:
    def detected_askew(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        boxes = World.detector_beside(world, image)
        return np.concatenate([boxes, boxes + np.array([12, -9, 14, 11, -0.1]), boxes * np.array([1, 1, 1, 0.8, 0.9])])

    world = World(walking)
    world.detector_beside = detected_askew  # type: ignore[method-assign]
    assert shown(run(world, frames(60), every=7)) == [(n, [1, 2]) for n in range(60)]
    assert max(world.looked) <= 6


def vanishing(number: int) -> NDArray[np.float64]:
    return np.stack([standing(150, 200), standing(400, 200) if number < 20 else NOBODY])


def test_somebody_who_is_lost_is_dropped_after_a_few_frames_and_looked_for_at_once() -> None:
    world = World(vanishing)
    found = shown(run(world, frames(40)))
    assert found[:20] == [(n, [1, 2]) for n in range(20)]
    assert [keys for _, keys in found[20 + WEAK_FRAMES :]] == [[1]] * (20 - WEAK_FRAMES)
    assert world.looked[-1] == 1
    assert world.asked == [0, 20 + WEAK_FRAMES - 1]


def test_somebody_weak_for_a_moment_is_kept() -> None:
    def scores(number: int, person: int) -> float:
        return 0.05 if person == 1 and number in (20, 21, 30) else 0.9

    world = World(walking, scores)
    found = shown(run(world, frames(60)))
    assert all(1 in keys for _, keys in found)
    assert [number for number, keys in found if 2 not in keys] == [20, 21, 30]
    assert world.asked == [0]


@pytest.mark.parametrize("speed", [(9, 0), (-9, 0), (0, 8), (0, -8)], ids=["right", "left", "down", "up"])
def test_who_leaves_the_picture_is_dropped(speed: tuple[int, int]) -> None:
    def scene(number: int) -> NDArray[np.float64]:
        return np.stack([standing(120, 90), standing(320 + speed[0] * number, 180 + speed[1] * number, 60)])

    world = World(scene)
    found = shown(run(world, frames(80)))
    assert found[-1] == (79, [1])
    assert world.looked[-1] == 1


@pytest.mark.parametrize("better", [0, 1])
def test_of_two_boxes_that_become_one_person_the_worse_goes(better: int) -> None:
    def scene(number: int) -> NDArray[np.float64]:
        both = [standing(300, 180), standing(330, 180)]
        if number >= 20:
            both[1 - better] = NOBODY
        return np.stack(both)

    world = World(scene, hidden=lambda number, person: number > 0)
    found = shown(run(world, frames(40)))
    assert found[19] == (19, [1, 2])
    assert found[20:] == [(n, [better + 1]) for n in range(20, 40)]
    assert world.looked[25] == 1


def cut(number: int) -> NDArray[np.float64]:
    """Three people, and in frame 30 another scene with two at other places."""
    if number < 30:
        return np.stack([standing(120 + number, 200), standing(300, 150), standing(520 - number, 220)])
    return np.stack([standing(210, 90, 100), standing(420, 280, 100)])


@pytest.mark.parametrize("executor", [AtOnce, None], ids=["at once", "in a thread"])
def test_a_cut_is_noticed_and_the_new_scene_seen_within_three_frames(executor: type[Executor] | None) -> None:
    world = World(cut)
    made = executor() if executor else following.ThreadPoolExecutor(1)
    results = [(len(poses), set(keys.tolist())) for _, poses, keys in run(world, frames(60), executor=made)]
    assert results[29] == (3, {1, 2, 3})
    assert all(count == 2 and not keys & {1, 2, 3} for count, keys in results[32:])
    assert world.asked[:2] == [0, 30]


def test_a_detection_of_the_scene_before_is_of_no_use() -> None:
    executor = ByHand()
    world = World(cut)
    results = []
    for frame, _, keys in run(world, frames(60), every=29, executor=executor):
        results.append(set(keys.tolist()))
        if frame.index >= 28:
            executor.run()
            executor.at_once = 100
    assert world.asked[:2] == [0, 29]
    assert all(len(keys) == 2 and not keys & {1, 2, 3} for keys in results[33:])


def test_a_flash_changes_nothing() -> None:
    world = World(walking, lambda number, person: 0.04 if number == 15 else 0.9)
    found = shown(run(world, frames(40)))
    assert [keys for number, keys in found if number != 15] == [[1, 2]] * 39


def test_frames_of_a_file_wait_where_nobody_is_followed_but_live_ones_do_not() -> None:
    def scene(number: int) -> NDArray[np.float64]:
        return np.stack([standing(300, 200) if number >= 20 else NOBODY])

    found = shown(run(World(scene), frames(60), executor=following.ThreadPoolExecutor(1)))
    assert [keys for number, keys in found if number >= 24] == [[1]] * 36

    executor = ByHand()
    live = Source("world", "camera", (Frame(picture(n), n, n / 30, "world") for n in range(60)), is_live=True, fps=30.0)
    assert shown(run(World(scene), live, executor=executor)) == [(n, []) for n in range(60)]


def test_a_detector_that_hangs_holds_up_a_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    def wait(futures: list[Any], timeout: float | None) -> None:
        waits.append(timeout)

    monkeypatch.setattr(following, "wait", lambda *a: wait(*a) or _Done())  # type: ignore[func-returns-value]
    assert len(list(run(World(lambda number: np.empty((0, 17, 2))), frames(40), executor=ByHand()))) == 40
    assert waits[0] is None
    assert waits[1:] == [following.MAX_WAIT_S] * 2  # Once on the way, and once at the end.


class _Done:
    done: frozenset[Any] = frozenset()


@pytest.mark.parametrize("number", [0, 12, 36])
@pytest.mark.parametrize("in_thread", [False, True])
def test_an_error_of_the_detector_reaches_the_caller_with_the_number_of_the_frame(number: int, in_thread: bool) -> None:
    def detect(image: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        boxes = World.detector_beside(world, image)
        if world.asked[-1] == number:
            raise ZeroDivisionError("no idea")
        return boxes

    world = World(walking)
    world.detector_beside = detect  # type: ignore[method-assign]
    results = run(world, frames(40), every=12, executor=following.ThreadPoolExecutor(1) if in_thread else None)
    seen: list[int] = []
    with pytest.raises(edgepose.ModelError, match=rf"^frame {number}: the detector failed; it says: ZeroDivisionError: no"):
        seen.extend(frame.index for frame, _, _ in results)
    assert seen == list(range(len(seen)))
    assert len(seen) >= number


def test_boxes_that_are_none_reach_the_caller_with_the_number_of_the_frame() -> None:
    world = World(walking)
    good = world.detector_beside
    world.detector_beside = lambda image: good(image) if image[0, 0, 1] < 5 else np.zeros((2, 9))  # type: ignore[method-assign]
    with pytest.raises(edgepose.InputError, match=r"frame 5: boxes of the detector have shape \(2, 9\)"):
        list(run(world, frames(40), every=5))


def test_a_failing_source_does_not_lose_the_frame_that_is_done() -> None:
    def failing() -> Iterator[Frame]:
        for n in range(5):
            yield Frame(picture(n), n, n / 30, "world")
        raise edgepose.SourceError("torn off")

    found: list[int] = []
    results = run(World(walking), Source("world", "video", failing()))
    with pytest.raises(edgepose.SourceError, match="torn off"):
        found.extend(frame.index for frame, _, _ in results)
    assert found == [0, 1, 2, 3, 4]


def test_frames_that_change_their_size_keep_their_people() -> None:
    def scene(number: int) -> NDArray[np.floating[Any]]:
        return walking(number) * (0.5 if number >= 30 else 1)

    world = World(scene)
    found = shown(run(world, frames(60, size=lambda number: (180, 320) if number >= 30 else (360, 640))))
    assert found == [(n, [1, 2]) for n in range(60)]


def test_frames_that_change_their_shape_begin_anew() -> None:
    def scene(number: int) -> NDArray[np.floating[Any]]:
        return walking(number) * (0.5 if number >= 30 else 1)

    world = World(scene)
    found = shown(run(world, frames(60, size=lambda number: (320, 320) if number >= 30 else (360, 640))))
    assert [keys for _, keys in found] == [[1, 2]] * 30 + [[3, 4]] * 30
    assert 30 in world.asked


@pytest.mark.parametrize(
    "clock",
    [lambda n: 0.0, lambda n: -n / 30, lambda n: n % 10 / 30, lambda n: 1e6 * n, lambda n: n / 30 + 3600 * (n > 20)],
    ids=["stands still", "runs back", "jumps back", "years", "a gap"],
)
def test_time_stamps_of_any_kind(clock: Any) -> None:
    source = Source("world", "video", (Frame(picture(n), n, clock(n), "world") for n in range(60)))
    found = shown(run(World(walking), source, every=10))
    assert found == [(n, [1, 2]) for n in range(60)]


def test_a_thousand_people_are_bounded_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    grid = np.stack([standing(8 + 16 * (n % 40), 8 + 14 * (n // 40), 10) for n in range(1000)])
    world = World(lambda number: grid)
    with caplog.at_level(logging.WARNING):
        results = list(run(world, frames(4), every=2))
    assert max(world.looked) <= MAX_BOXES
    assert all(0 < len(poses) <= MAX_BOXES for _, poses, _ in results)
    assert f"the {MAX_BOXES} most confident are kept" in caplog.text


def test_newcomers_beyond_the_bound_are_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.pipelines.followed.MAX_BOXES", 2)
    everybody = np.stack([standing(100 + 130 * n, 200) for n in range(4)])
    world = World(lambda number: everybody)
    with caplog.at_level(logging.WARNING):
        found = shown(run(world, frames(10), every=3))
    assert found == [(n, [1, 2]) for n in range(10)]
    assert "0 people are followed and 4 are new; 2 are followed" in caplog.text


def test_the_detector_has_a_picture_of_its_own() -> None:
    seen = []
    world = World(walking)

    def detect(image: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        seen.append(image.copy())
        return World.detector_beside(world, image)

    world.detector_beside = detect  # type: ignore[method-assign]
    executor = ByHand()
    for frame, _, _ in run(world, frames(30), every=10, executor=executor):
        frame.image[:] = 255  # The caller draws.
        if frame.index == 15:
            executor.run()
    assert [int(image.max()) for image in seen[:2]] == [0, 10]


def test_ending_early_asks_nothing_more() -> None:
    world, given = World(walking), []

    def pictures() -> Iterator[Frame]:
        for n in range(100):
            given.append(n)
            yield Frame(picture(n), n, n / 30, "world")

    executor = following.ThreadPoolExecutor(1)
    results = run(world, Source("world", "video", pictures()), every=2, executor=executor)
    for _ in range(5):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(given) <= 7
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(print)


def test_a_live_frame_is_given_before_the_next_one_comes() -> None:
    class Camera:
        ready = False
        is_live = True
        given = 0

        def __iter__(self) -> Camera:
            return self

        def __next__(self) -> Frame:
            self.given += 1
            if self.given > 10:
                raise StopIteration
            return Frame(picture(self.given), self.given, self.given / 30, "camera")

    camera = Camera()
    for frame, _, _ in run(World(walking), camera):  # type: ignore[arg-type]
        assert camera.given == frame.index


# Through the estimator.


class Recorded:
    """Boxes by a function of the caller's, with the numbers of the frames that it was asked about."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, image: NDArray[np.uint8]) -> list[list[float]]:
        self.asked.append(int(image[0, 0, 1]))
        self.threads.add(threading.current_thread().name)
        return [[*around(standing(60, 60, 60)), 0.9]]


@pytest.fixture(scope="module")
def top_down(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("top_down")
    return tiny_models.save(folder, (17,), description=tiny_models.TOP_DOWN, stride=4)


def noise(number: int) -> NDArray[np.uint8]:
    image = np.random.default_rng(number).integers(0, 256, (100, 120, 3), np.uint8)
    image[0, 0, 1] = number
    return image


def video(count: int = 12, fps: float | None = 8.0) -> Source:
    """The same picture again and again, but for the number."""
    pictures = [noise(0) for _ in range(count)]
    for number, image in enumerate(pictures):
        image[0, 0, 1] = number
    return Source("clip", "video", (Frame(image, n, n / 8, "clip") for n, image in enumerate(pictures)), fps=fps)


def estimator(path: Path, **options: Any) -> tuple[edgepose.PoseEstimator, Recorded]:
    detector = Recorded()
    return edgepose.PoseEstimator(path, detector=detector, min_score=0.0, min_confidence=0.0, **options), detector


@pytest.mark.parametrize("options", [{}, {"detect_every": 5}, {"detect_every": np.int64(6)}], ids=str)
@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_videos_are_followed(top_down: Path, options: dict[str, Any], hint: str) -> None:
    follows, detector = estimator(top_down, hint=hint, **options)
    found = list(follows.stream(video(), track=True))
    assert [frame.index for frame in found] == list(range(12))
    assert detector.asked[0] == 0
    assert len(detector.asked) < 12
    assert threading.current_thread().name not in detector.threads


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_an_interval_of_one_frame_finds_everybody_anew(top_down: Path, hint: str, batch_size: int) -> None:
    anew, detector = estimator(top_down, detect_every=1, hint=hint, batch_size=batch_size)
    alone = [anew(frame.image) for frame in video(6)]
    detector.asked.clear()
    for frame, poses in zip(anew.stream(video(6)), alone, strict=True):
        np.testing.assert_allclose(frame.poses.keypoints, poses.keypoints, atol=1e-3)
    assert detector.asked == list(range(6))


def test_pictures_are_not_followed(top_down: Path, tmp_path: Path) -> None:
    for n in range(5):
        write_image(tmp_path / f"{n}.png", noise(n))
    for options in ({}, {"detect_every": 3}):
        looks, detector = estimator(top_down, **options)
        list(looks.stream(tmp_path))
        list(looks.stream(str(tmp_path / "*.png")))
        list(looks.stream(tmp_path / "2.png"))
        assert detector.asked == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 2]
        detector.asked.clear()
        looks.batch([noise(1), noise(2)])
        looks(noise(3))
        assert detector.asked == [1, 2, 3]


def test_arrays_are_followed_if_an_interval_is_given(top_down: Path) -> None:
    looks, detector = estimator(top_down)
    list(looks.stream(noise(n) for n in range(6)))
    assert detector.asked == list(range(6))
    looks, detector = estimator(top_down, detect_every=6)
    list(looks.stream(noise(n) for n in range(6)))
    assert detector.asked[0] == 0
    assert len(detector.asked) < 6


@pytest.mark.parametrize("value", [0, -3, 2.5, "5", True])
def test_intervals_that_are_none(top_down: Path, value: Any) -> None:
    with pytest.raises(edgepose.InputError, match=r"detect_every is .*; expected 1 or more, or None"):
        estimator(top_down, detect_every=value)


def test_a_bottom_up_model_needs_no_interval(tmp_path: Path) -> None:
    with pytest.raises(edgepose.InputError, match="detect_every given, but tiny is bottom-up"):
        edgepose.PoseEstimator(tiny_models.save(tmp_path), detect_every=5)


def test_the_detector_beside_has_one_thread_and_is_opened_when_it_is_needed(
    top_down: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_detector(name: object, threads: int | None) -> object:
        opened.append((name, threads))
        return Recorded()

    monkeypatch.setattr(estimator_module, "open_detector", open_detector)
    follows = edgepose.PoseEstimator(top_down, threads=2)
    assert opened == []
    for _ in range(2):
        list(follows.stream(video(3)))
    assert opened == [("default", 1)]
    follows(noise(0))
    assert opened == [("default", 1), ("default", 2)]


def test_an_image_that_is_none_is_refused(top_down: Path) -> None:
    follows, _ = estimator(top_down)
    bad = Source("clip", "video", iter([Frame(np.zeros((8, 8), np.uint8), 0, 0.0, "clip")]))
    with pytest.raises(edgepose.InputError, match="expected an image"):
        list(follows.stream(bad))


# Identities.


class Tracked:
    """The identities that a tracker gives to those who are followed."""

    def __init__(self) -> None:
        self.tracker = Tracker(max_gap_s=following.MAX_GAP_S)

    def __call__(self, results: Iterator[tuple[Frame, edgepose.Poses, NDArray[np.int64]]]) -> list[dict[int, float]]:
        """Of each frame, the place of the nose by identity."""
        seen = []
        for frame, poses, keys in results:
            ids = self.tracker.update(poses, frame.timestamp, keys).ids
            assert ids is not None
            seen.append(dict(zip(ids.tolist(), poses.keypoints[:, 0, 0].tolist(), strict=True)))
        return seen


@pytest.mark.parametrize("gap_s", [0.5, 1.0, 1.5])
def test_somebody_hidden_for_a_while_comes_back_as_the_same(gap_s: float) -> None:
    def scene(number: int) -> NDArray[np.float64]:
        gone = 30 <= number < 30 + gap_s * 30
        return np.stack([standing(150, 200), NOBODY if gone else standing(400 + number / 2, 200)])

    ids = Tracked()(run(World(scene), frames(110), every=15))
    assert ids[0].keys() == ids[-1].keys() == {1, 2}
    assert set().union(*ids) == {1, 2}


def test_keys_are_stronger_than_places_and_places_stronger_than_nothing() -> None:
    tracker = Tracker()

    def at(*places: float) -> edgepose.Poses:
        keypoints = np.stack([standing(x, 200) for x in places]).astype(np.float32)
        return edgepose.Poses(
            keypoints, np.ones(keypoints.shape[:2], np.float32), np.ones(len(places), np.float32), edgepose.COCO17
        )

    def ids(poses: edgepose.Poses, time: float, keys: list[int] | None) -> list[int]:
        updated = tracker.update(poses, time, None if keys is None else np.array(keys)).ids
        assert updated is not None
        return updated.tolist()

    assert ids(at(100, 300), 0.0, [7, 8]) == [1, 2]
    assert ids(at(300, 100), 0.1, [9, 10]) == [2, 1]  # New numbers: by place.
    assert ids(at(100, 300, 500), 0.2, [10, 9, 11]) == [1, 2, 3]
    assert ids(at(300, 100), 0.3, None) == [2, 1]
    assert ids(at(100, 300), 0.4, [7, 8]) == [1, 2]  # Numbers that are not remembered.
    assert ids(at(100, 300), 0.5, [8, 7]) == [2, 1]  # The caller knows who is who.


# The command line.


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edgepose", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_follows_and_refuses_what_it_cannot(tmp_path: Path, top_down: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", 12)
    model = tiny_models.save(tmp_path)
    for options in (["--model", top_down, "--detector", model], ["--model", model, "--follow", "--detect-every", 4]):
        done = command("run", clip, *options, "--track", "--json", tmp_path / "out.jsonl")
        assert done.returncode == 0, done.stderr
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 12
    write_image(tmp_path / "photo.png", noise(0))
    wrong: list[tuple[list[object], int, str]] = [
        ([clip, "--model", top_down, "--detect-every", 0], 2, "'0' given; expected a whole number from 1"),
        ([tmp_path / "photo.png", "--model", model, "--follow"], 1, "expected a video, or a camera, to follow people in"),
        ([clip, "--model", model, "--detect-every", 3], 1, "--detect-every given, but tiny is bottom-up"),
        ([clip, "--model", model, "--follow", "--detect-every", 1], 1, "follow given, but with detect_every 1"),
    ]
    for arguments, status, message in wrong:
        done = command("run", *arguments)
        assert done.returncode == status
        assert message in done.stderr
