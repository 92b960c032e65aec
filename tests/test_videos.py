"""Videos: real files of many kinds, damaged on purpose, and what is no video at all."""

from __future__ import annotations

import itertools
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from pictures import CODECS, damage, quadrants, video_frame, write_clip, write_video

from edgepose.errors import SourceError
from edgepose.media import containers
from edgepose.media.sources import Frame, open_source


def read(source: object, **options: int) -> list[Frame]:
    with open_source(source, **options) as frames:  # type: ignore[arg-type]
        return list(frames)


def brightness(frames: list[Frame]) -> list[int]:
    """The indices that the frames of a test video were made with."""
    return [round(float(np.median(frame.image)) / 4) for frame in frames]


def moving(count: int) -> list[np.ndarray]:
    return [video_frame(index) for index in range(count)]


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"clip{suffix}", 30, fps=25)
    with open_source(path) as source:
        assert (source.kind, source.name, source.is_live, source.fps, source.total) == ("video", str(path), False, 25, 30)
        assert (source.pixel_aspect, source.sound, source.gone_since) == (1, None, None)
        frames = list(source)
    assert [f.index for f in frames] == list(range(30))
    assert [f.timestamp for f in frames] == pytest.approx([i / 25 for i in range(30)], abs=0.001)
    assert {f.received for f in frames} == {None}
    np.testing.assert_allclose(brightness(frames), range(30), atol=1)
    assert source.skipped == []


def test_a_closed_source_has_no_more_frames(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.avi", 10))
    next(source)
    source.close()
    source.close()
    assert list(source) == []


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_damaged_frames_are_passed_over_and_counted(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "DECODING_THREADS", threads)
    path = damage(write_video(tmp_path / "clip.mp4", 60), 0.45, 0.6)
    with open_source(path) as source:
        frames = list(source)
    assert brightness(frames)[-1] >= 57, "the frames after the damage are lost"
    assert len(frames) < 60
    places, reasons = zip(*source.skipped, strict=True)
    assert all(place.startswith(f"{path}, before frame ") for place in places)
    lost = [int(reason.removeprefix("damaged; frames that could not be decoded: ")) for reason in reasons]
    assert sum(lost) == 60 - len(frames)
    # The clock goes on through the gap.
    assert frames[-1].timestamp == pytest.approx(59 / 25)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_number_of_threads_loses_the_frames_after_a_damaged_one(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "DECODING_THREADS", threads)
    path = write_clip(tmp_path / "clip.mp4", moving(20), codec="libx264", options={"g": "1", "bf": "0"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]
    for number in (5, 17):
        at, size = places[number]
        data[at + 4 : at + size] = bytes(size - 4)
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert [round(frame.timestamp * 25) for frame in frames] == [i for i in range(20) if i not in (5, 17)]
    assert [place for place, _ in source.skipped] == [f"{path}, before frame 5", f"{path}, before frame 16"]


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_frames_that_vanish_are_missed_at_the_end(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    # These containers look for the next intact frame by themselves, and tell nobody.
    path = damage(write_video(tmp_path / f"clip{suffix}", 60), 0.4, 0.6)
    frames = read(path)
    assert brightness(frames)[-1] >= 58
    assert len(frames) < 55
    assert f"{path}: its header promises 60 frames, {len(frames)} were read" in caplog.text


def test_a_video_cut_short_gives_what_there_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "clip.avi", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 20 < len(read(path)) < 40
    assert "its header promises 60 frames" in caplog.text


@pytest.mark.parametrize("times_ms", [None, [*range(0, 400, 40), *range(5000, 5080, 40)]], ids=["steady", "a pause"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_a_whole_video_says_nothing(
    tmp_path: Path, suffix: str, times_ms: list[int] | None, caplog: pytest.LogCaptureFixture
) -> None:
    read(write_clip(tmp_path / f"clip{suffix}", moving(12), times_ms=times_ms, sound_s=8))
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_time_is_that_of_the_file(tmp_path: Path, suffix: str) -> None:
    times = [0, 30, 110, 120, 1000]
    frames = read(write_clip(tmp_path / f"clip{suffix}", moving(5), times_ms=times))
    assert [f.timestamp for f in frames] == pytest.approx([t / 1000 for t in times], abs=0.002)


def test_time_always_goes_on(tmp_path: Path) -> None:
    """A raw stream has no clock, and what is joined from pieces has one that runs back."""
    raw = write_clip(tmp_path / "clip.h264", moving(10), codec="libx264", container="h264")
    joined = write_clip(tmp_path / "clip.ts", moving(10), codec="libx264", container="mpegts")
    joined.write_bytes(joined.read_bytes() * 2)
    for path, count in ((raw, 10), (joined, 20)):
        frames = read(path)
        assert len(frames) == count
        assert all(b.timestamp > a.timestamp for a, b in itertools.pairwise(frames))
        assert frames[9].timestamp == pytest.approx(9 / 25, abs=0.05)


def test_pictures_that_begin_after_the_sound_are_as_late(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", moving(3), times_ms=[500, 540, 580], sound_s=1)
    with open_source(path) as source:
        assert source.sound == path
        assert [f.timestamp for f in source] == pytest.approx([0.5, 0.54, 0.58], abs=0.02)


@pytest.mark.parametrize(
    ("matrix", "shape", "turn"),
    [
        ((0, 1, -1, 0), (128, 96), lambda a: np.rot90(a, -1)),
        ((0, -1, 1, 0), (128, 96), lambda a: np.rot90(a, 1)),
        ((-1, 0, 0, -1), (96, 128), lambda a: a[::-1, ::-1]),
        ((-1, 0, 0, 1), (96, 128), lambda a: a[:, ::-1]),
        ((1, 0, 0, -1), (96, 128), lambda a: a[::-1]),
        ((0, 1, 1, 0), (128, 96), lambda a: a.swapaxes(0, 1)),
        ((0, 0, 0, 0), (96, 128), lambda a: a),
    ],
    ids=["upright", "upside down", "half", "mirrored", "flipped", "transposed", "nonsense"],
)
def test_a_phone_held_in_any_way(tmp_path: Path, matrix: tuple[int, ...], shape: tuple[int, int], turn: object) -> None:
    path = write_clip(tmp_path / "clip.mp4", [quadrants(96, 128)] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # The matrix of a version-0 track header (ISO 14496-12, 8.3.2).
    assert struct.unpack_from(">9i", data, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frames = read(path)
    assert frames[0].image.shape == (*shape, 3)
    expected = turn(quadrants(96, 128))  # type: ignore[operator]
    assert np.percentile(np.abs(frames[0].image.astype(int) - expected), 80) < 12
    assert frames[0].image.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", r"empty\.mp4: an empty file; expected a video or an image"),
        ("text.mp4", b"not a video " * 100, r"text\.mp4: neither a video that FFmpeg can open nor an image"),
        ("cut.mp4", None, r"cut\.mp4: neither a video that FFmpeg can open.*damaged or cut short"),
        ("notes.txt", b"hello", r"notes\.txt: neither a video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is None:
        whole = write_video(tmp_path / "whole.mp4").read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(path)


@pytest.mark.parametrize("suffix", [".mp3", ".mkv"])
def test_sound_alone_is_no_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"song{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mp3" if suffix == ".mp3" else "mp2", rate=48_000)
        for index in range(20):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            block.sample_rate, block.pts = 48_000, 1152 * index
            file.mux(stream.encode(block))
        file.mux(stream.encode())
    with pytest.raises(SourceError, match=rf"song{suffix}: no pictures in it, but audio \(.*\); expected a video or an image"):
        open_source(path)


def test_a_video_without_a_single_good_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 20)
    start, *pictures = path.read_bytes().split(b"00dc")
    path.write_bytes(b"00dc".join([start, *(picture[:4] + bytes(len(picture) - 4) for picture in pictures)]))
    with pytest.raises(SourceError, match=r"clip\.avi: no frame of it can be decoded"):
        read(path)


BOUNDED = """
import resource, sys
from edgepose.errors import SourceError
from edgepose.media.sources import open_source
count = 0
try:
    for frame in open_source(sys.argv[1]):
        count += 1
except SourceError as error:
    print(error)
print(count)
"""


def read_with_bound(path: Path) -> str:
    """What is said and read where pictures may have 20,000 pixels; frames of 128 x 96 have 12,288."""
    environment = {**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": "20000"}
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_video_of_gigantic_frames_is_refused(tmp_path: Path) -> None:
    large = [video_frame(index, 192, 256) for index in range(5)]
    said = read_with_bound(write_clip(tmp_path / "clip.mp4", large))
    assert re.fullmatch(rf"{tmp_path}/clip\.mp4: .* more than 20,000 pixels a frame\n0\n", said)


def test_frames_that_become_gigantic_are_passed_over(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.ts", moving(10), codec="libx264", container="mpegts").read_bytes()
    large = [video_frame(index, 192, 256) for index in range(10)]
    path = tmp_path / "clip.ts"
    path.write_bytes(small + write_clip(tmp_path / "large.ts", large, codec="libx264", container="mpegts").read_bytes())
    assert [frame.image.shape for frame in read(path)] == [(96, 128, 3)] * 10 + [(192, 256, 3)] * 10
    assert read_with_bound(path).splitlines()[-1] == "10"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (4, 2), (64, 4)])
def test_decoding_takes_half_of_the_cores_and_few_of_many(tmp_path: Path, cores: int, threads: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    script = (
        "import os, sys\n"
        f"os.cpu_count = lambda: {cores}\n"
        "from pathlib import Path\n"
        "from edgepose.media.containers import reopening\n"
        "video = reopening(Path(sys.argv[1]), 'clip')()\n"
        "print(video.stream.codec_context.thread_count)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{threads}\n"
