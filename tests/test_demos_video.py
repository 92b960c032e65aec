"""Demos over whole videos: what is written, and who has a turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from pictures import write_talkie

import edgepose
from demos import anonymise, many_cameras
from demos.many_cameras import Turns
from edgepose import Poses

FACE = {"nose": (100, 100), "l_eye": (110, 90), "r_eye": (90, 90)}


class Estimator(edgepose.PoseEstimator):
    """Sees the same face at the same place in each picture, without a network."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, image: object, **_: object) -> Poses:
        keypoints = np.full((1, 18, 2), np.nan)
        for name, place in FACE.items():
            keypoints[0, edgepose.OPENPOSE18.index(name)] = place
        return Poses(keypoints, np.where(np.isnan(keypoints[..., 0]), 0.0, 0.8), np.array([0.6]))

    def stream(self, source, *, track=False, smooth=False):
        tracker = edgepose.Tracker()
        for frame in source:
            poses = self(frame.image)
            poses = tracker.update(poses, frame.timestamp) if track else poses
            yield edgepose.EstimatedFrame(frame.image, frame.index, frame.timestamp, frame.path, poses)


def times_and_streams(path: Path) -> tuple[list[float], list[str]]:
    with av.open(str(path)) as container:
        kinds = [str(stream.type) for stream in container.streams]
        return [round(frame.time or 0.0, 2) for frame in container.decode(video=0)], kinds


@pytest.mark.parametrize("more", [[], ["--no-audio"]], ids=["with sound", "without"])
def test_an_anonymised_video_keeps_times_and_sound(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edgepose, "PoseEstimator", Estimator)
    clip = write_talkie(tmp_path / "clip.mkv")
    assert anonymise.main([str(clip), str(tmp_path / "out.mp4"), *more]) == 0
    before, after = times_and_streams(clip), times_and_streams(tmp_path / "out.mp4")
    assert len(after[0]) == len(before[0])
    np.testing.assert_allclose(np.diff(after[0]), np.diff(before[0]), atol=0.02)
    assert ("audio" in after[1]) == (not more)
    assert f"{len(before[0])} frames, {len(before[0])} heads blurred" in capsys.readouterr().out


def test_an_anonymised_photo_is_blurred_where_the_head_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgepose, "PoseEstimator", Estimator)
    image = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
    edgepose.write_image(tmp_path / "in.png", image)
    assert anonymise.main([str(tmp_path / "in.png"), str(tmp_path / "out.png")]) == 0
    after = edgepose.read_image(tmp_path / "out.png")
    assert np.array_equal(after[:, 200:], image[:, 200:])
    assert after[80:110, 80:120].std() < 0.5 * image[80:110, 80:120].std()


def test_an_anonymised_photo_never_replaces_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edgepose, "PoseEstimator", Estimator)
    edgepose.write_image(tmp_path / "in.png", np.zeros((64, 64, 3), np.uint8))
    before = (tmp_path / "in.png").read_bytes()
    assert anonymise.main([str(tmp_path / "in.png"), str(tmp_path / "in.png")]) == 1
    assert (tmp_path / "in.png").read_bytes() == before
    assert capsys.readouterr().err.count("\n") == 1


class Cameras:
    """Sources by name, in the place of `open_source`: "fast" gives frames without end, "stalled" none."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, name: str) -> edgepose.Source:
        if name == "absent":
            raise edgepose.SourceError("absent: cannot be opened")
        return edgepose.Source(name, "video" if name == "file" else "camera", self._frames(name), is_live=name != "file")

    def _frames(self, name: str) -> Iterator[edgepose.Frame]:
        if name == "stalled":
            self.go_on.wait(60)
            return
        for index in range(40 if name == "file" else 1_000_000):
            if name != "file" and self.go_on.is_set():
                return
            yield edgepose.Frame(np.zeros((8, 8, 3), np.uint8), index, index / 10, name)


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cameras]:
    cameras = Cameras()
    monkeypatch.setattr(edgepose, "open_source", cameras)
    yield cameras
    cameras.go_on.set()


def test_a_file_loses_no_frame_whoever_else_has_turns(cameras: Cameras) -> None:
    turns = Turns(["file", "fast"])
    seen = []
    for number, frame in turns:
        if number == 0:
            seen.append(frame.index)
            if frame.index == 39:
                break
    turns.close()
    assert seen == list(range(40))


def test_cameras_take_turns_and_one_that_stalls_takes_none(cameras: Cameras) -> None:
    turns = Turns(["fast", "stalled", "file", "fast"])
    taken: dict[int, list[int]] = {}
    for number, frame in turns:
        taken.setdefault(number, []).append(frame.index)
        if len(taken) == 3 and min(map(len, taken.values())) >= 5:
            break
    turns.close()
    assert sorted(taken) == [0, 2, 3]
    assert all(indices == sorted(set(indices)) for indices in taken.values())


def test_whose_turn_was_longest_ago_is_next(cameras: Cameras) -> None:
    turns = Turns(["stalled", "stalled", "stalled"])
    frame = edgepose.Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0, "made")
    order = []
    iterator = iter(turns)
    for _ in range(3):
        turns._waiting.update(dict.fromkeys(range(3), frame))
        order += [next(iterator)[0] for _ in range(2)]
        turns._waiting.clear()
    turns.close()
    assert order == [0, 1, 2, 0, 1, 2]


def test_a_camera_that_is_not_there_costs_the_others_nothing(
    cameras: Cameras, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edgepose, "PoseEstimator", Estimator)
    assert many_cameras.main(["absent", "file"]) == 1
    out, errors = capsys.readouterr()
    assert errors == "absent: cannot be opened\n"
    assert "file 0.00 s: 1 people [1]" in out
    assert "camera 1: 40 frames" in out
