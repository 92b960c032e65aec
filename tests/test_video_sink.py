"""Videos that are written can be played, whatever frames come and whatever ends the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import quadrants, video_frame, write_video

from edgepose.errors import InputError, OutputError
from edgepose.media.recording import plays
from edgepose.media.sources import Frame, open_source
from edgepose.media.video_sink import VIDEO_CODECS, VideoSink
from edgepose.poses import Poses
from edgepose.skeleton import OPENPOSE18

FRAME = Frame(quadrants(), 0, 0.0, "camera 0")


def put(sink: VideoSink, frame: Frame, image: NDArray[np.uint8]) -> None:
    """Write a picture in which nobody was found."""
    sink.write(frame, Poses.empty(OPENPOSE18), lambda: image)


def play(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    """All frames of a video, read plainly, and its rate."""
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames: list[NDArray[np.uint8]] = []
    while True:
        done, image = capture.read()
        if not done:
            return frames, fps
        frames.append(np.asarray(image, np.uint8))


@pytest.mark.parametrize("suffix", VIDEO_CODECS)
def test_what_is_written_can_be_played(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"Tänzer{suffix}"
    with VideoSink(path, 30) as sink:
        for i in range(12):
            put(sink, FRAME, video_frame(i))
    frames, fps = play(path)
    assert fps == pytest.approx(30)
    assert len(frames) == 12
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(np.median(frame), 4 * i, atol=4)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (15, 33), (97, 129), (96, 129), (3000, 20)])
def test_any_size(tmp_path: Path, suffix: str, height: int, width: int) -> None:
    path = tmp_path / f"a{suffix}"
    image = np.full((height, width, 3), 100, np.uint8)
    with VideoSink(path) as sink:
        put(sink, FRAME, image)
        put(sink, FRAME, image)
    frames, fps = play(path)
    assert len(frames) == 2
    assert fps == 25
    assert frames[0].shape == (max(16, height + height % 2), max(16, width + width % 2), 3)
    np.testing.assert_allclose(frames[0], 100, atol=6)


def test_frames_of_other_sizes_are_fitted_into_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    grey = [np.full((*size, 3), 200, np.uint8) for size in ((96, 128), (192, 256), (96, 64), (40, 200), (1, 1))]
    with VideoSink(path) as sink:
        for image in grey:
            put(sink, FRAME, image)
    frames, _ = play(path)
    assert [f.shape for f in frames] == [(96, 128, 3)] * 5
    bright = [f[..., 0] > 100 for f in frames]
    assert [round(float(b.mean()), 1) for b in bright] == [1, 1, 0.5, 0.3, 0.8]
    assert bright[2][:, 36:92].all()
    assert not bright[2][:, :28].any()
    assert not bright[2][:, 100:].any()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_an_error_in_the_middle_leaves_a_video_that_plays(tmp_path: Path, suffix: str, error: type[BaseException]) -> None:
    path = tmp_path / f"a{suffix}"

    def run() -> None:
        with VideoSink(path) as sink:
            for i in range(10):
                if i == 7:
                    raise error
                put(sink, FRAME, video_frame(i))

    with pytest.raises(error):
        run()
    assert len(play(path)[0]) == 7


def test_nothing_is_written_where_there_is_no_frame(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4"):
        pass
    assert not list(tmp_path.iterdir())


def test_an_older_video_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with VideoSink(path) as sink:
        assert os.listdir(tmp_path) == ["a.mp4"]
        for i in range(3):
            put(sink, FRAME, video_frame(i))
            assert path.read_bytes() == b"old"
        assert len(list(tmp_path.glob(".a.*.part.mp4"))) == 1
    assert len(play(path)[0]) == 3
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_an_error_before_the_first_frame_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    for path in (tmp_path / "a.mp4", tmp_path / "new" / "b.mp4"):
        with pytest.raises(RuntimeError), VideoSink(path):
            raise RuntimeError
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    put(sink, FRAME, video_frame(0))
    sink.close()
    sink.close()
    assert len(play(tmp_path / "a.mp4")[0]) == 1


@pytest.mark.parametrize("name", ["a.gif", "a", "a.jpg"])
def test_unknown_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"unknown video suffix .*; expected one of \.mp4, "):
        VideoSink(tmp_path / name)


def test_a_file_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot be written: File exists"):
        VideoSink(tmp_path / "file" / "a.mp4")


def test_a_folder_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with (
        VideoSink(tmp_path / "a.mp4") as sink,
        pytest.raises(OutputError, match=r"a\.mp4: cannot be written: Is a directory"),
    ):
        put(sink, FRAME, quadrants())


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4") as sink, pytest.raises(InputError, match="expected an image"):
        put(sink, FRAME, np.zeros((4, 4), np.uint8))


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 5)
    with open_source(path) as source, VideoSink(path) as sink:
        frame = next(source)
        with pytest.raises(OutputError, match=r"clip\.avi: is the source itself"):
            put(sink, frame, frame.image)
    assert len(play(path)[0]) == 5


def write_noise(path: Path) -> None:
    """A video that a small disk has no room for."""
    random = np.random.default_rng(0)
    with VideoSink(path) as sink:
        for _ in range(40):
            put(sink, FRAME, random.integers(0, 256, (96, 128, 3), np.uint8))


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".webm"])
def test_a_full_disk_ends_the_run_and_what_was_written_plays(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]], suffix: str
) -> None:
    with (
        small_disk(120_000),
        pytest.raises(OutputError, match=r"the video is not whole, of [0-9]+ frames; is the disk full\? \(File too large\)"),
    ):
        write_noise(tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == [f"a{suffix}"]
    assert plays(tmp_path / f"a{suffix}")


def test_a_full_disk_does_not_cost_a_video_that_plays(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    with small_disk(600), pytest.raises(OutputError, match=r"is the disk full\?"):
        write_noise(path)
    assert "an older video stays, what was written is kept as" in caplog.text
    assert len(play(path)[0]) == 3


@pytest.mark.parametrize("name", ["a" * 250 + ".mp4", "é" * 120 + ".avi", "o\udce9.mp4"], ids=["long", "two bytes", "no UTF-8"])
def test_any_name_that_the_file_system_takes(tmp_path: Path, name: str) -> None:
    with VideoSink(tmp_path / name) as sink:
        put(sink, FRAME, video_frame(0))
    assert os.listdir(tmp_path) == [name]
