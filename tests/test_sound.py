"""The sound of a video in the one that is made from it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pictures import damage, loudness, video_frame, write_talkie

from edgepose.media.frames import Frame, Source
from edgepose.media.sinks import open_sinks
from edgepose.poses import Poses


def save(sound: Path, path: Path, start: float = 0.0, end: float = 2.0, **options: Any) -> None:
    """A run over a part of a video with sound."""
    stamps = [index / 25 for index in range(1000) if start <= index / 25 < end]
    frames = [Frame(video_frame(index), index, at, str(sound)) for index, at in enumerate(stamps)]
    source = Source(str(sound), "video", iter(frames), fps=25, sound=sound, files=[sound])
    with open_sinks(source, save=path, **options) as sinks:
        for frame in source:
            sinks.write(frame, Poses.empty(), lambda frame=frame: frame.image)  # type: ignore[misc]


def streams(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams]


@pytest.mark.parametrize(
    ("sound", "name", "codec"),
    [
        ("aac", "o.mp4", "aac"),
        ("aac", "o.mov", "aac"),
        ("aac", "o.mkv", "aac"),
        ("libmp3lame", "o.mp4", "mp3"),
        ("libmp3lame", "o.avi", "mp3"),
        ("libopus", "o.webm", "opus"),
        ("libopus", "o.mp4", "opus"),
        ("flac", "o.mkv", "flac"),
        ("pcm_s16le", "o.mov", "pcm_s16le"),
        ("pcm_s16le", "o.mp4", "aac"),
        ("libopus", "o.mov", "aac"),
        ("aac", "o.webm", "opus"),
        ("aac", "o.avi", "pcm_s16le"),
    ],
)
def test_sound_is_copied_where_the_container_takes_it_and_else_encoded_anew(
    tmp_path: Path, sound: str, name: str, codec: str
) -> None:
    clip = write_talkie(tmp_path / "clip.mkv", sound=sound)
    save(clip, tmp_path / name)
    assert streams(tmp_path / name)[1:] == [codec]
    changes, end = loudness(tmp_path / name)
    assert changes == pytest.approx([0.5, 1, 1.5, 2][: len(changes)], abs=0.06)
    assert len(changes) >= 3
    assert end == pytest.approx(2, abs=0.1)


def test_sound_of_mpeg_ts_is_put_into_mp4(tmp_path: Path) -> None:
    save(write_talkie(tmp_path / "clip.ts"), tmp_path / "o.mp4")
    changes, _ = loudness(tmp_path / "o.mp4")
    assert streams(tmp_path / "o.mp4") == ["h264", "aac"]
    assert changes[:3] == pytest.approx([0.5, 1, 1.5], abs=0.06)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.webm", "o.avi"])
@pytest.mark.parametrize(("start", "end"), [(0, 0.8), (1.2, 2), (2.28, 3.72)])
def test_sound_is_cut_as_the_frames_are(tmp_path: Path, name: str, start: float, end: float) -> None:
    clip = write_talkie(tmp_path / "clip.mkv", 4)
    save(clip, tmp_path / name, start, end)
    changes, last = loudness(tmp_path / name)
    expected = [at - start for at in np.arange(0.5, 4, 0.5) if start < at < end]
    assert changes[: len(expected)] == pytest.approx(expected, abs=0.06)
    assert last == pytest.approx(end - start, abs=0.1)
    with av.open(str(tmp_path / name)) as container:
        assert next(container.decode(video=0)).time == pytest.approx(0, abs=0.001)
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(end - start, abs=0.1)


def test_without_sound_if_so_wanted_or_if_there_is_none(tmp_path: Path) -> None:
    clip = write_talkie(tmp_path / "clip.mkv", 1)
    save(clip, tmp_path / "o.mp4", audio=False)
    assert streams(tmp_path / "o.mp4") == ["h264"]
    save(write_talkie(tmp_path / "mute.mkv", 1, tracks=0), tmp_path / "o.mp4")
    assert streams(tmp_path / "o.mp4") == ["h264"]


def test_of_several_tracks_one_is_kept_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(write_talkie(tmp_path / "clip.mkv", 1, tracks=2), tmp_path / "o.mp4")
    assert streams(tmp_path / "o.mp4") == ["h264", "aac"]
    assert "has 2 tracks of sound; the video that is written gets number 1" in caplog.text


@pytest.mark.parametrize("name", ["o.mp4", "o.webm"])
def test_broken_sound_never_costs_the_video(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    clips = [tmp_path / "gone.mkv", tmp_path / "text.mkv", damage(write_talkie(tmp_path / "hurt.mkv"), 0.3, 0.9)]
    clips[1].write_text("no video")
    for clip in clips:
        with caplog.at_level(logging.WARNING):
            save(clip, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 50
    assert "gone.mkv: its sound cannot be kept (No such file or directory); the video is written without" in caplog.text
    assert "text.mkv: its sound cannot be kept" in caplog.text


def test_sound_that_fails_in_the_middle_ends_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edgepose.media import sound

    placed = sound.Sound._placed

    def failing(self: Any) -> Any:
        for number, item in enumerate(placed(self)):
            if number == 40:
                raise av.error.InvalidDataError(1, "Invalid data found when processing input")
            yield item

    monkeypatch.setattr(sound.Sound, "_placed", failing)
    save(write_talkie(tmp_path / "clip.mkv"), tmp_path / "o.mp4")
    assert "its sound is broken and ends early in the video that is written: Invalid data" in caplog.text
    assert 0.5 < loudness(tmp_path / "o.mp4")[1] < 1.2
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50
