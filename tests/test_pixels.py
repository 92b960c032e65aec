"""Frames as pictures: every format that FFmpeg decodes to, by the colours that the file states."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from pictures import quadrants, video_frame, write_clip, write_video

from edgepose.media.sources import Frame, open_source


def read(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source)


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p16le", "bgr0", "bgra", "yuva420p", "gray", "gray16le"]
)
def test_every_format_of_pixels(tmp_path: Path, pixels: str) -> None:
    """An odd width, whose rows are padded in memory, too."""
    for width in (96, 90):
        picture = quadrants(64, width)
        frames = read(write_clip(tmp_path / f"clip{width}.mkv", [picture] * 3, codec="ffv1", pixels=pixels))
        assert len(frames) == 3
        expected = picture
        if pixels.startswith("gray"):
            expected = np.dstack([cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)] * 3)
        for frame in frames:
            assert frame.image.shape == (64, width, 3)
            assert (frame.image.dtype, frame.image.flags.c_contiguous, frame.image.flags.writeable) == (np.uint8, True, True)
            assert np.percentile(np.abs(frame.image.astype(int) - expected), 80) <= 4


@pytest.mark.parametrize("full_range", [False, True], ids=["television", "full"])
@pytest.mark.parametrize(("matrix", "number"), [("ITU601", 5), ("ITU709", 1), ("BT2020", 9)])
def test_matrix_and_range_are_those_that_the_file_states(tmp_path: Path, matrix: str, number: int, full_range: bool) -> None:
    path = tmp_path / "clip.mkv"
    colour_range: Any = 2 if full_range else 1
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        stream.colorspace, stream.color_range = number, colour_range
        frame = VideoFrame.from_ndarray(quadrants(64, 96), format="bgr24")
        frame = frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=colour_range)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert np.abs(read(path)[0].image.astype(int) - quadrants(64, 96)).max() <= 4


def test_transparent_frames_are_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / "clip.mov"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgba"
        pixels = np.dstack([quadrants(64, 96)[..., ::-1], np.full((64, 96), 255, np.uint8)])
        pixels[:, :48, 3] = 0
        file.mux(stream.encode(VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba")))
        file.mux(stream.encode())
    (frame,) = read(path)
    assert (frame.image[:, :48] == 255).all()
    np.testing.assert_array_equal(frame.image[:, 48:], quadrants(64, 96)[:, 48:])


def test_frames_are_freed_as_soon_as_nobody_has_them(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 30)
    gc.collect()
    gc.disable()
    try:
        with open_source(path, read_ahead=False) as source:
            for _ in source:
                pass
        assert sum(isinstance(thing, VideoFrame) for thing in gc.get_objects()) <= 3
    finally:
        gc.enable()


def test_frames_stay_as_they_are_while_others_are_read(tmp_path: Path) -> None:
    frames = read(write_clip(tmp_path / "clip.mkv", [video_frame(i) for i in range(40)], codec="ffv1"))
    np.testing.assert_allclose([np.median(frame.image) for frame in frames], range(0, 160, 4), atol=4)
