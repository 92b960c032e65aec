"""Which codecs a video may have, and which encoder writes them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pictures import quadrants

from edgepose.errors import EdgePoseError, InputError, OutputError
from edgepose.media import encoders
from edgepose.media.encoders import ENCODERS, choose_encoders, has_encoder
from edgepose.media.frames import Frame
from edgepose.media.kinds import CODECS, VIDEO_CODECS
from edgepose.media.recording import CONTAINERS
from edgepose.media.video_sink import VideoSink
from edgepose.poses import Poses

PAIRS = [(suffix, codec) for suffix, codecs in VIDEO_CODECS.items() for codec in codecs]


def write(path: Path, images: list[np.ndarray], **options: object) -> None:  # type: ignore[type-arg]
    with VideoSink(path, 25, **options) as sink:  # type: ignore[arg-type]
        for index, image in enumerate(images):
            sink.write(Frame(image, index, index / 25, "x"), Poses.empty(), lambda image=image: image)  # type: ignore[misc]


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
@pytest.mark.parametrize("size", [(96, 128), (15, 33), (1, 1)])
def test_every_codec_that_a_container_is_said_to_hold_can_be_written_and_read(
    tmp_path: Path, suffix: str, codec: str, size: tuple[int, int]
) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, [cv2.GaussianBlur(quadrants(*size), (5, 5), 0)] * 5, codec=codec)
    with av.open(str(path)) as written:
        stream = written.streams.video[0]
        frames = [frame.to_ndarray(format="bgr24") for frame in written.decode(stream)]
        assert stream.codec_context.codec.canonical_name == codec
        assert float(stream.average_rate or 0) == 25
    assert len(frames) == 5
    least = 64 if codec == "hevc" else 16
    assert frames[-1].shape == (max(least, size[0] + size[0] % 2), max(least, size[1] + size[1] % 2), 3)


def test_the_table_of_containers_says_what_ffmpeg_can_hold() -> None:
    for suffix, codecs in VIDEO_CODECS.items():
        with av.open(io.BytesIO(), "w", format=CONTAINERS[suffix]) as container:
            for codec in codecs:
                assert codec in container.supported_codecs | {"av1"}, suffix


@pytest.mark.parametrize(
    ("codec", "least"), [("h264", 30), ("hevc", 30), ("vp9", 30), ("av1", 30), ("mpeg4", 30), ("mjpeg", 30)]
)
def test_pictures_look_as_they_did(tmp_path: Path, codec: str, least: float) -> None:
    images = [np.roll(cv2.GaussianBlur(quadrants(96, 128), (9, 9), 0), 2 * i, axis=1) for i in range(10)]
    write(tmp_path / "a.mkv", images, codec=codec)  # type: ignore[arg-type]
    with av.open(str(tmp_path / "a.mkv")) as written:
        for image, frame in zip(images, written.decode(video=0), strict=True):
            error = frame.to_ndarray(format="bgr24").astype(np.float32) - image
            assert 10 * np.log10(255**2 / np.mean(error**2)) > least
            # No colour is off as a whole, which another matrix or range would do.
            assert np.abs(error.mean(axis=(0, 1))).max() < 2.5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mov"])
def test_the_file_says_what_its_colours_are(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", [quadrants()] * 3)
    with av.open(str(tmp_path / f"a{suffix}")) as written:
        frame = next(written.decode(video=0))
        assert frame.format.name == "yuv420p"
        assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (6, 1, 1, 1)


def test_a_smaller_crf_is_larger_and_better(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(10)]
    sizes = []
    for crf in (5, 30, 51):
        write(tmp_path / "a.mp4", images, crf=crf)  # type: ignore[arg-type]
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


@pytest.mark.parametrize(
    ("name", "codec", "crf", "message"),
    [
        (
            "a.webm",
            "h264",
            None,
            r"a\.webm: a \.webm does not hold h264; expected one of vp9, av1, or a \.mp4, \.m4v, \.mov, \.mkv",
        ),
        ("a.avi", "av1", None, "does not hold av1"),
        ("a.mp4", "divx", None, "codec is 'divx'; expected one of h264, hevc, vp9, av1, mpeg4, mjpeg"),
        ("a.mp4", None, 52, r"crf is 52; expected 0 \(best\) to 51 \(smallest\) for h264"),
        ("a.mp4", None, -1, "crf is -1"),
        ("a.webm", None, 64, "crf is 64; expected 0 .* to 63"),
        ("a.avi", None, 20, "crf is 20; mjpeg by mjpeg has no such quality"),
        ("a.mp4", "mpeg4", 20, "has no such quality"),
        ("a.ogv", "h264", 20, "unknown video suffix"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_opened(
    tmp_path: Path, name: str, codec: str | None, crf: int | None, message: str
) -> None:
    with pytest.raises(EdgePoseError, match=message):
        VideoSink(tmp_path / name, codec=codec, crf=crf)
    assert list(tmp_path.iterdir()) == []


def test_without_an_encoder_for_h264_it_is_mpeg4_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoders, "has_encoder", lambda name: "264" not in name and has_encoder(name))
    write(tmp_path / "a.mp4", [quadrants()] * 3)
    with av.open(str(tmp_path / "a.mp4")) as written:
        assert written.streams.video[0].codec_context.name == "mpeg4"
    assert "no encoder for h264 that works here; it is written as mpeg4" in caplog.text
    with pytest.raises(OutputError, match=r"PyAV has no encoder for h264 \(libx264, libopenh264\); give another --codec"):
        VideoSink(tmp_path / "b.mp4", codec="h264")
    with pytest.raises(InputError, match="has no such quality"):
        VideoSink(tmp_path / "b.mp4", crf=20)


def test_an_encoder_that_does_not_open_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ENCODERS[0]._replace(options={"preset": "none such"})
    monkeypatch.setattr(encoders, "ENCODERS", (broken, *ENCODERS[1:]))
    write(tmp_path / "a.mp4", [quadrants()] * 3)
    assert "it is written as mpeg4" in caplog.text
    with pytest.raises(OutputError, match=r"a video of 48 x 32 at 25 frames a second cannot be written \(libx264: "):
        write(tmp_path / "b.mp4", [quadrants()], codec="h264")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_every_codec_has_an_encoder_here() -> None:
    assert {encoder.codec for encoder in ENCODERS if has_encoder(encoder.name)} == set(CODECS)
    assert not has_encoder("none such")
    assert choose_encoders(Path("a.mp4"), None, None)[0].name == "libx264"
