"""Videos and pictures that went wrong for somebody: a small file of each kind, from the folder of shared data."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.errors import SourceError
from edgepose.media.sources import Frame, Source, open_source

# Name: frames, height, width, frames per second, the last time in seconds, the width of a pixel over its height.
VIDEOS = {
    "base.mp4": (30, 240, 320, 25, 1.16, 0.999),
    "av1.mp4": (30, 240, 320, 25, 1.16, 0.999),
    "ts.ts": (30, 240, 320, 25, 1.16, 0.999),
    "noduration.mkv": (30, 240, 320, 25, 1.16, 1),
    "slowmo_211.mov": (30, 240, 320, 211.222, 0.1373, 0.999),
    "vfr_screenrec.mp4": (35, 120, 160, 4.412, 5.9667, 1),
    "editlist_cut.mp4": (17, 240, 320, 25, 0.64, 0.999),
    "marked_rot90.mp4": (15, 320, 180, 25, 0.56, 1),
    "anamorphic_sar2.mp4": (30, 240, 160, 25, 1.16, 2),
    "anim.gif": (12, 120, 160, 10, 1.1, 0.984),
}


@pytest.fixture
def cases(shared: Path) -> Path:
    folder = shared / "cases"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def read(path: Path) -> tuple[Source, list[Frame]]:
    with open_source(path) as source:
        return source, list(source)


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_is_read_as_it_is(cases: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    source, frames = read(cases / name)
    count, height, width, fps, last, aspect = VIDEOS[name]
    assert [frame.index for frame in frames] == list(range(count))
    assert {frame.image.shape for frame in frames} == {(height, width, 3)}
    assert source.fps == pytest.approx(fps, rel=1e-3)
    assert (frames[0].timestamp, frames[-1].timestamp) == pytest.approx((0, last), abs=1e-3)
    assert source.pixel_aspect == pytest.approx(aspect, abs=2e-3)
    assert (source.skipped, source.sound) == ([], None)
    assert not caplog.records


@pytest.mark.parametrize("name", [name for name in VIDEOS if name != "av1.mp4"])  # Which OpenCV cannot read.
def test_pixels_are_those_of_opencv(cases: Path, name: str) -> None:
    capture = cv2.VideoCapture(str(cases / name))
    for frame in read(cases / name)[1]:
        np.testing.assert_array_equal(frame.image, capture.read()[1])
    assert not capture.read()[0]


def test_a_variable_rate_keeps_its_times(cases: Path) -> None:
    times = [frame.timestamp for frame in read(cases / "vfr_screenrec.mp4")[1]]
    assert times[:7] == pytest.approx([0, 1, 2, 3, 4, 5, 5 + 1 / 30], abs=1e-3)


def test_a_damaged_middle_costs_the_damaged_frames(cases: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, frames = read(cases / "damaged_middle.mp4")
    assert [round(25 * frame.timestamp) for frame in frames[:8]] == [0, 3, 4, 6, 8, 9, 10, 12]
    assert (len(frames), frames[-1].timestamp) == (24, pytest.approx(1.16))
    assert [place.rpartition(" ")[2] for place, _ in source.skipped] == ["0", "3", "6"]
    assert {reason for _, reason in source.skipped} == {"damaged; frames that could not be decoded: 2"}
    assert not caplog.records  # All of them are accounted for.


def test_a_truncated_video_gives_what_there_is(cases: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, frames = read(cases / "truncated_faststart.mp4")
    assert len(frames) == 11
    assert [reason for _, reason in source.skipped] == ["damaged; frames that could not be decoded: 1"]
    assert "its header promises 30 frames, 11 were read; it is damaged, cut short, or lies" in caplog.text


def test_names_need_not_be_utf_8(cases: Path, tmp_path: Path) -> None:
    for name, count in (("base.mp4", 30), ("img/plain.jpg", 1)):
        path = os.fsencode(tmp_path) + b"/caf\xe9" + os.fsencode(Path(name).suffix)
        Path(os.fsdecode(path)).write_bytes((cases / name).read_bytes())
        for given in (os.fsdecode(path), Path(os.fsdecode(path))):
            with open_source(given) as source:
                assert len(list(source)) == count


@pytest.mark.parametrize("name", ["a%03d.gif", "http:b.mp4", "concat:c.mp4", "-d.mp4", "#?e.mp4", "f\n.mp4"])
def test_names_mean_nothing_to_ffmpeg(cases: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes((cases / "base.mp4").read_bytes())
    Path("a000.gif").write_bytes((cases / "anim.gif").read_bytes())
    assert len(read(Path(name))[1]) == 30


def test_a_photo_of_an_iphone_is_read_whole_or_not_at_all(cases: Path, tmp_path: Path) -> None:
    for path in (cases / "iphone_grid.heic", tmp_path / "photo.jpg", tmp_path / "photo"):
        if path.parent == tmp_path:
            path.write_bytes((cases / "iphone_grid.heic").read_bytes())
        if any(importlib.util.find_spec(reader) for reader in ("pillow_heif", "pi_heif")):
            assert [frame.image.shape for frame in read(path)[1]] == [(1024, 1024, 3)]
        else:
            with pytest.raises(SourceError) as caught:
                read(path)
            command = 'python -m pip install "edgepose[heif]"'
            assert str(caught.value) == f"{path}: HEIC is read by a package that is not installed; install it with: {command}"
