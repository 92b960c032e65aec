"""Parts of a source: from a time, to a time, each so-manieth frame."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encode, quadrants, video_frame, write_clip, write_video

from edgepose.errors import InputError, SourceError
from edgepose.media.frames import Part
from edgepose.media.sources import Frame, open_source

COUNT = 60


def assert_same(frames: list[Frame], expected: list[Frame]) -> None:
    assert [frame.index for frame in frames] == [frame.index for frame in expected]
    assert [frame.timestamp for frame in frames] == [frame.timestamp for frame in expected]
    assert all((a.image == b.image).all() for a, b in zip(frames, expected, strict=True))


def clip(tmp_path: Path, kind: str) -> Path:
    moving = [video_frame(index) for index in range(COUNT)]
    options = {"g": "12", "bf": "2"}
    uneven = [*range(0, 800, 40), *range(3000, 3000 + 7 * (COUNT - 20), 7)]
    match kind:
        case "mp4":
            return write_clip(tmp_path / "a.mp4", moving, codec="libx264", options=options, sound_s=2)
        case "one key frame":
            return write_clip(tmp_path / "a.mp4", moving, codec="libx264", options={"g": "1000"})
        case "variable":
            return write_clip(tmp_path / "a.mkv", moving, codec="libx264", options=options, times_ms=uneven)
        case "ts":
            return write_clip(tmp_path / "a.ts", moving, codec="libx264", options=options)
        case "vp8":
            return write_clip(tmp_path / "a.webm", moving, codec="libvpx", options={"g": "12", "auto-alt-ref": "1"})
        case "raw":
            return write_clip(tmp_path / "a.h264", moving, codec="libx264", options=options, container="h264")
        case "avi":
            return write_video(tmp_path / "a.avi", COUNT)
        case _:
            return write_clip(tmp_path / "a.avi", moving, codec="mpeg4", options=options)


@pytest.mark.parametrize("kind", ["mp4", "one key frame", "variable", "ts", "vp8", "raw", "avi", "avi with B-frames"])
def test_a_part_is_the_same_frames_with_the_same_numbers(tmp_path: Path, kind: str) -> None:
    path = clip(tmp_path, kind)
    with open_source(path) as source:
        whole = list(source)
    assert len(whole) == COUNT
    last = whole[-1].timestamp
    for start, end, every in itertools.product((0, 0.04, 0.5, last / 2, last), (None, 0.6, last * 0.8), (1, 4)):
        if end is not None and end <= start:
            continue
        wanted = [f for f in whole if f.timestamp >= start and (end is None or f.timestamp < end)][::every]
        with open_source(path, start=start, end=end, every=every) as source:
            assert_same(list(source), wanted)


def test_what_ends_before_the_start_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 10)
    with open_source(path, start=5) as source, pytest.raises(SourceError, match=r"clip\.mp4: ends before 5 s"):
        list(source)


def test_the_number_to_expect(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 50)
    for options, total in (({"start": 1.0}, 25), ({"end": 1.0}, 25), ({"every": 7}, 8), ({"start": 1.0, "max_frames": 3}, 3)):
        with open_source(path, **options) as source:  # type: ignore[arg-type]
            assert source.total == total


@pytest.mark.parametrize("kind", ["folder", "arrays"])
def test_each_third_picture(tmp_path: Path, kind: str) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(encode(".png", np.full((4, 4, 3), number, np.uint8)))
    given: Any = tmp_path if kind == "folder" else [np.full((4, 4, 3), number, np.uint8) for number in range(8)]
    with open_source(given, every=3) as source:
        assert source.total == 3
        frames = list(source)
    assert [frame.index for frame in frames] == [frame.image[0, 0, 0] for frame in frames] == [0, 3, 6]


@pytest.mark.parametrize("options", [{"start": 1.0}, {"end": 1.0}])
def test_pictures_have_no_times(tmp_path: Path, options: dict[str, float]) -> None:
    (tmp_path / "a.png").write_bytes(encode(".png", quadrants()))
    images: list[NDArray[np.uint8]] = [quadrants()]
    for given in (tmp_path, tmp_path / "a.png", f"{tmp_path}/*.png", images):
        with pytest.raises(SourceError, match="pictures, which have no times; start and end choose a part of a video"):
            open_source(given, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "start is -1; expected seconds, 0 or more"),
        ({"start": math.nan}, "start is nan; expected seconds"),
        ({"start": math.inf}, "start is inf; expected seconds"),
        ({"start": "1"}, "start is '1'; expected seconds"),
        ({"end": 0}, "end is 0; expected seconds after the start, 0"),
        ({"start": 5, "end": 5}, "end is 5; expected seconds after the start, 5"),
        ({"end": math.nan}, "end is nan; expected seconds"),
        ({"every": 0}, "every is 0; expected a whole number, 1 or more"),
        ({"every": 1.5}, "every is 1.5; expected a whole number"),
        ({"every": True}, "every is True; expected a whole number"),
        ({"every": -3}, "every is -3; expected a whole number"),
    ],
    ids=str,
)
def test_numbers_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source([], **options)


@pytest.mark.parametrize(
    ("part", "total", "duration", "expected"),
    [
        (Part(), 10, 1.0, 10),
        (Part(), None, 1.0, None),
        (Part(every=3), 10, None, 4),
        (Part(0.5), 10, 1.0, 5),
        (Part(0.5), 10, None, None),
        (Part(2.0), 10, 1.0, 0),
        (Part(0.0, 5.0), 10, 1.0, 10),
    ],
)
def test_the_frames_to_expect(part: Part, total: int | None, duration: float | None, expected: int | None) -> None:
    assert part.expected(total, duration) == expected
