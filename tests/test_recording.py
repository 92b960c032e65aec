"""Videos that grow frame by frame, play wherever they end, and get their final form."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pictures import video_frame

from edgepose.media import recording, video_sink
from edgepose.media.frames import Frame, Source
from edgepose.media.kinds import CODECS, VIDEO_CODECS
from edgepose.media.recording import finish
from edgepose.media.sinks import open_sinks
from edgepose.media.video_sink import VideoSink
from edgepose.poses import Poses

FORMS = [".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"]


def put(sink: VideoSink, index: int, at: float) -> None:
    sink.write(Frame(video_frame(index), index, at, "camera 0"), Poses.empty(), lambda: video_frame(index))


def record(path: Path, stamps: Sequence[float], fps: float | None = 25, **options: Any) -> None:
    with VideoSink(path, fps, timed=True, **options) as sink:
        for index, at in enumerate(stamps):
            put(sink, index, at)


def read(path: Path) -> tuple[list[float], float]:
    """The times of the frames of a video, and its length, seconds."""
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
        return times, (container.duration or 0) / av.time_base


VARIABLE = [2, 3, 4, 5, *(5 + i / 30 for i in range(1, 30))]


@pytest.mark.parametrize("suffix", FORMS)
def test_a_variable_rate_lasts_as_long_and_starts_at_0(tmp_path: Path, suffix: str) -> None:
    record(tmp_path / f"a{suffix}", VARIABLE, len(VARIABLE) / 4)
    times, length = read(tmp_path / f"a{suffix}")
    tolerance = 0.02 if suffix == ".avi" else 0.002
    assert times == pytest.approx([at - 2 for at in VARIABLE], abs=tolerance)
    assert length == pytest.approx(4, abs=0.03)


@pytest.mark.parametrize("fps", [211.222, 29.97, 23.976, 1, 12.5, 1000, 0.1])
def test_any_rate_can_be_written(tmp_path: Path, fps: float) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi"):
        record(tmp_path / name, [i / fps for i in range(10)], fps)
        times, length = read(tmp_path / name)
        assert times == pytest.approx([i / fps for i in range(10)], abs=0.02 if name == "a.avi" else 0.001)
        assert length == pytest.approx(10 / fps, abs=0.02 + 1 / fps if name == "a.avi" else 0.002)


@pytest.mark.parametrize("suffix", FORMS)
def test_a_live_source_is_recorded_in_real_time(tmp_path: Path, suffix: str) -> None:
    random = np.random.default_rng(0)
    stamps = np.cumsum(random.uniform(0.02, 0.3, 60)) - 0.02
    record(tmp_path / f"a{suffix}", list(stamps), None)
    times, length = read(tmp_path / f"a{suffix}")
    assert length == pytest.approx(stamps[-1] - stamps[0], abs=0.35)
    assert times[-1] == pytest.approx(stamps[-1] - stamps[0], abs=0.03)


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize(
    "stamps",
    [[0.0] * 20, [*np.arange(10) / 25, *np.arange(10) / 25], [0, 0.04, np.nan, np.inf, 1e18, -1e18, 0.08], [1e15, 1e15 + 1]],
    ids=["stands", "set back", "wild", "far"],
)
def test_clocks_that_fail_do_not_break_the_video(tmp_path: Path, suffix: str, stamps: list[float]) -> None:
    record(tmp_path / f"a{suffix}", stamps)
    times, length = read(tmp_path / f"a{suffix}")
    assert len(times) == len(stamps)
    assert all(a < b for a, b in itertools.pairwise(times))
    assert length < 2.5


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_the_index_is_in_front_and_nothing_is_in_pieces(tmp_path: Path, suffix: str) -> None:
    record(tmp_path / f"a{suffix}", list(np.arange(100) / 25))
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data


def test_the_index_of_matroska_is_in_front(tmp_path: Path) -> None:
    record(tmp_path / "a.mkv", list(np.arange(100) / 25))
    data = (tmp_path / "a.mkv").read_bytes()
    assert 0 < data.index(b"\x1c\x53\xbb\x6b") < data.index(b"\x1f\x43\xb6\x75")  # Cues, then the first cluster.


@pytest.mark.parametrize("codec", CODECS)
def test_there_is_a_place_to_jump_to_every_few_seconds_at_any_rate(tmp_path: Path, codec: str) -> None:
    record(tmp_path / "a.mkv", [*np.arange(100) / 5], 1000, codec=codec)
    with av.open(str(tmp_path / "a.mkv")) as container:
        keys = [
            float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size and packet.is_keyframe
        ]
    assert np.diff([*keys, 20]).max() <= 4.2


@pytest.mark.parametrize("suffix", FORMS)
def test_it_plays_while_it_grows(tmp_path: Path, suffix: str) -> None:
    with VideoSink(tmp_path / f"a{suffix}", 25, timed=True) as sink:
        seen = []
        for index in range(100):
            put(sink, index, index / 25)
            if index % 33 == 32:
                (part,) = tmp_path.glob(f".a.*.part{suffix}")
                with av.open(str(part)) as container:
                    seen.append(sum(1 for _ in container.decode(video=0)))
    # No more than a second is missing.
    assert all(33 * (i + 1) - count <= 25 for i, count in enumerate(seen)), seen


RECORDER = """
    import itertools, sys
    from pictures import video_frame
    from edgepose.media.frames import Frame
    from edgepose.media.video_sink import VideoSink
    from edgepose.poses import Poses

    with VideoSink(sys.argv[1], 25, timed=True) as sink:
        for index in itertools.count():
            sink.write(Frame(video_frame(index), index, index / 25, "camera"), Poses.empty(), lambda: video_frame(index))
            if index == 75:
                print("there", flush=True)
                sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("suffix", FORMS)
def test_a_killed_recording_lies_beside_its_place_and_plays_and_the_next_run_says_so(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    record(path, [0, 1])
    before = path.read_bytes()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    recorder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RECORDER), str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    with recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == b"there\n"
        (part,) = tmp_path.glob(f".a.*.part{suffix}")
        VideoSink(path)
        assert caplog.text == ""  # It is being written, and not left.
        recorder.send_signal(signal.SIGKILL)
    assert path.read_bytes() == before
    times, _ = read(part)
    assert len(times) >= 50
    record(path, [0, 1])
    (message,) = caplog.messages
    assert "an earlier run was cut off before its end" in message
    assert str(part) in message
    assert part.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_final_form_that_cannot_be_written_leaves_what_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "_copy", full)
    record(tmp_path / "a.mp4", [0, 1, 2])
    assert "is whole, but stays in pieces, because its final form cannot be written: No space left" in caplog.text
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 1, 2])

    def stopped(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(video_sink, "finish", stopped)
    with pytest.raises(error):
        record(tmp_path / "b.mp4", [0, 1, 2])
    assert read(tmp_path / "b.mp4")[0] == pytest.approx([0, 1, 2])
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


def test_a_signal_while_the_file_is_closed_does_not_keep_it_from_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = recording.Recording.close

    def interrupted(self: recording.Recording) -> None:
        close(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(recording.Recording, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "a.mp4", [0, 1, 2])
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 1, 2])
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_run_that_is_stopped_does_not_wait_long_for_the_final_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video_sink, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(video_sink, "_PATIENCE", 0.0)
    with pytest.raises(KeyboardInterrupt), VideoSink(tmp_path / "a.mp4", timed=True) as sink:  # noqa: PT012
        put(sink, 0, 0)
        put(sink, 1, 1)
        raise KeyboardInterrupt
    assert "takes too long for a run that is stopped" in caplog.text
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 1])


def test_a_disk_without_room_for_the_final_form_keeps_the_video(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]], caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path / "a.mp4", [0, 1, 2])
    os.rename(tmp_path / "a.mp4", tmp_path / "b.mp4")
    with small_disk(500), pytest.raises(OSError, match=r".*"):
        finish(tmp_path / "b.mp4", tmp_path / "a.mp4", ".mp4", rate=Fraction(1), end=3)


@pytest.mark.parametrize(("suffix", "codec"), [(suffix, codec) for suffix in VIDEO_CODECS for codec in VIDEO_CODECS[suffix]])
@pytest.mark.parametrize("aspect", [2.0, 4 / 3, 0.5, 6137 / 6144])
def test_the_shape_of_the_picture_is_kept(tmp_path: Path, suffix: str, codec: str, aspect: float) -> None:
    frames = [Frame(video_frame(i), i, i / 25, "clip.mp4") for i in range(3)]
    source = Source("clip.mp4", "video", iter(frames), fps=25, pixel_aspect=aspect)
    with open_sinks(source, save=tmp_path / f"a{suffix}", codec=codec) as sinks:
        for frame in source:
            sinks.write(frame, Poses.empty(), lambda frame=frame: frame.image)  # type: ignore[misc]
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        video = container.streams.video[0]
        shape = float(video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio or 1)
        assert video.width / video.height * shape == pytest.approx(128 / 96 * aspect, rel=0.01)
        assert sum(1 for _ in container.decode(video)) == 3


def test_pictures_that_come_too_close_together_for_a_fixed_rate_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        record(tmp_path / "a.avi", list(np.arange(100) / 1000), 25)
    assert "frames are left out: they came closer together than an .avi, with its fixed rate, has places" in caplog.text
    assert read(tmp_path / "a.avi")[1] == pytest.approx(0.2, abs=0.08)
