"""Pictures and videos for the tests of media: small, real files, and the ways in which they go wrong."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG", ".webm": "VP80"}


def quadrants(height: int = 32, width: int = 48) -> Image:
    """A picture whose quarters differ in colour, so that no turn or flip of it looks like another."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (20, 40, 200)
    image[: height // 2, width // 2 :] = (30, 180, 60)
    image[height // 2 :, : width // 2] = (210, 70, 30)
    image[height // 2 :, width // 2 :] = (220, 220, 215)
    return image


def encode(suffix: str, image: NDArray[Any]) -> bytes:
    """`image` in the format of `suffix`, without loss where the format can (WebP and JPEG: nearly)."""
    options = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 100], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}
    done, data = cv2.imencode(suffix, image, options.get(suffix, []))
    assert done
    return data.tobytes()


def exif(orientation: int) -> bytes:
    """The smallest block of EXIF that tells an orientation: a little-endian TIFF with one tag."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)


def oriented(suffix: str, stored: Image, orientation: int) -> bytes:
    """A file that stores `stored` and says how to turn it."""
    if suffix == ".tiff":
        return _tiff(stored, orientation)
    data, block = encode(suffix, stored), exif(orientation)
    if suffix == ".jpg":
        segment = b"Exif\0\0" + block
        return data[:2] + struct.pack(">HH", 0xFFE1, 2 + len(segment)) + segment + data[2:]
    if suffix == ".png":
        chunk = b"eXIf" + block
        return data[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    assert suffix == ".webp"
    height, width = (side - 1 for side in stored.shape[:2])
    extended = struct.pack("<4sIIHBHB", b"VP8X", 10, 0x08, width, 0, height, 0)
    chunks = extended + data[12:] + struct.pack("<4sI", b"EXIF", len(block)) + block
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _tiff(image: Image, orientation: int) -> bytes:
    """A baseline TIFF: one uncompressed RGB strip."""
    height, width = image.shape[:2]
    pixels = image[..., ::-1].tobytes()
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 8 + len(pixels)),  # The three bit depths follow the pixels.
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (274, 3, 1, orientation),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    depths = struct.pack("<3H", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels) + len(depths)) + pixels + depths + directory


def video_frame(index: int, height: int = 96, width: int = 128) -> Image:
    """Frame `index` of every test video: a moving square on a brightness that tells the index."""
    image = np.full((height, width, 3), 4 * index % 256, np.uint8)
    left = index % max(1, width - 16)
    image[height // 2 : height // 2 + 16, left : left + 16] = (0, 0, 255)
    return image


def write_video(path: Path, count: int = 30, *, fps: float = 25, height: int = 96, width: int = 128) -> Path:
    """A video of `count` frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODECS[path.suffix]), fps, (width, height))
    assert writer.isOpened()
    for index in range(count):
        writer.write(video_frame(index, height, width))
    writer.release()
    return path


def damage(path: Path, start: float, end: float) -> Path:
    """Overwrite a part of a file, given in fractions of its length, with noise."""
    data = bytearray(path.read_bytes())
    first, last = int(start * len(data)), int(end * len(data))
    data[first:last] = np.random.default_rng(0).integers(0, 256, last - first, np.uint8).tobytes()
    path.write_bytes(data)
    return path


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(*entries: tuple[int, int, int, int], order: str = "<", after: bytes = b"") -> bytes:
    """A TIFF of one directory, with entries (tag, type, count, value or place), and what comes `after` it."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    directory = b""
    for tag, kind, count, value in entries:
        is_short = kind == 3 and count == 1 and order == ">"  # Shorter numbers stand first in their four bytes.
        directory += struct.pack(f"{order}HHII", tag, kind, count, value << 16 if is_short else value)
    return start + directory + bytes(4) + after


def grey_tiff(width: int, height: int, *first: tuple[int, int, int, int], after: bytes = b"") -> bytes:
    """A grey TIFF of nothing but black, whose rows all are the same few bytes; entries that come `first` are its own."""
    row = zlib.compress(bytes(width))
    rest = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries = [*first, *rest, (278, 4, 1, 1), (273, 4, height, 0), (279, 4, height, 0)]
    place = 8 + 2 + 12 * len(entries) + 4 + len(after)
    offsets = place + len(row)
    entries[-2:] = [(273, 4, height, offsets), (279, 4, height, offsets + 4 * height)]
    arrays = struct.pack(f"<{height}I", *[place] * height) + struct.pack(f"<{height}I", *[len(row)] * height)
    return tiff(*entries, after=after + row + arrays)


def write_clip(
    path: Path,
    pictures: Iterable[Image],
    *,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    container: str | None = None,
    times_ms: Sequence[int] | None = None,
    sound_s: float = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of `pictures`, 25 a second, or at `times_ms`, made with PyAV; and a tone beside it, where it lasts."""
    with av.open(os.fspath(path), "w", format=container) as file:
        stream: Any = None
        tone = file.add_stream("mp2", rate=48_000) if sound_s else None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = file.add_stream(codec, rate=25, options=options or {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels
                stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pixels)
            frame.pts = times_ms[index] if times_ms else 40 * index
            frame.time_base = Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if tone is not None:
            samples = np.zeros((1, 1152), np.int16)
            for index in range(round(sound_s * 48_000 / 1152)):
                block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                block.sample_rate, block.pts = 48_000, 1152 * index
                file.mux(tone.encode(block))
            file.mux(tone.encode())
    return path


def write_talkie(path: Path, seconds: float = 2.0, *, sound: str = "aac", tracks: int = 1, fps: int = 25) -> Path:
    """A video with sound: a tone of 1 kHz in the second half of every second, when the picture is bright, and silence."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=fps)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = 128, 96
        heard = [container.add_stream(sound, rate=48_000) for _ in range(tracks)]
        for index in range(round(seconds * fps)):
            image = np.full((96, 128, 3), 200 if index / fps % 1 >= 0.5 else 20, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(video.encode(None))
        for track in heard:
            assert isinstance(track, av.AudioStream)
            resampler = av.AudioResampler(
                track.codec_context.format, track.codec_context.layout, 48_000, track.frame_size or 1024
            )
            times = np.arange(round(seconds * 48_000)) / 48_000
            wave = np.sin(2 * np.pi * 1000 * times) * (times % 1 >= 0.5) * 20_000
            frame = av.AudioFrame.from_ndarray(np.repeat(wave.astype(np.int16), 2)[None], "s16", "stereo")
            frame.sample_rate, frame.pts = 48_000, 0
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return path


def loudness(path: Path) -> tuple[NDArray[np.float64], float]:
    """The times at which the sound of a video gets loud or silent, seconds, and when it ends."""
    resampler = av.AudioResampler("s16", "mono", 48_000)
    levels: list[float] = []
    with av.open(str(path)) as container:
        origin = (container.start_time or 0) / av.time_base
        start = None
        for frame in container.decode(audio=0):
            start = frame.time - origin if start is None else start
            for piece in resampler.resample(frame):
                levels.extend(np.abs(piece.to_ndarray()[0].astype(np.float64)))
    assert start is not None
    # The largest of each hundredth of a second.
    peaks = np.asarray(levels)[: len(levels) // 480 * 480].reshape(-1, 480).max(axis=1) > 5000
    return start + (np.flatnonzero(np.diff(peaks.astype(int))) + 1) / 100, start + len(levels) / 48_000
