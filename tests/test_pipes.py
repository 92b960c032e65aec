"""Standard input and FIFOs: videos and pictures that come in pieces, once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import encode, quadrants, video_frame, write_clip, write_video

from edgepose.errors import SourceError
from edgepose.media.sources import open_source, source_files

READ = """
import sys
from edgepose.errors import SourceError
from edgepose.media.sources import open_source
try:
    with open_source("-") as source:
        frames = list(source)
    print(source.kind, source.name, source.is_live, len(frames), frames[0].path, *frames[0].image.shape)
except SourceError as error:
    print(error)
"""


def read_standard_input(data: bytes) -> str:
    return subprocess.run([sys.executable, "-c", READ], input=data, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi", ".webm"])
def test_a_video_on_standard_input(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == ".webm" else "mpeg4"
    path = write_clip(tmp_path / f"clip{suffix}", [video_frame(i) for i in range(10)], codec=codec)
    assert read_standard_input(path.read_bytes()) == "video standard input False 10 standard input 96 128 3\n"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
def test_a_picture_on_standard_input(suffix: str) -> None:
    said = read_standard_input(encode(suffix, quadrants()))
    assert said == "images standard input False 1 standard input 32 48 3\n"


def test_pictures_in_a_row_are_a_video() -> None:
    said = read_standard_input(b"".join(encode(".jpg", video_frame(i)) for i in range(7)))
    assert said == "video standard input False 7 standard input 96 128 3\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input: empty; expected a video or an image\n"),
        (b"hello", "standard input: neither a video that FFmpeg can open nor an image; it may be damaged or cut short\n"),
        (b"\xff\xd8\xff" + bytes(100), "standard input: damaged image: its header is cut short or damaged\n"),
    ],
    ids=["nothing", "text", "damaged"],
)
def test_what_is_neither(data: bytes, message: str) -> None:
    assert read_standard_input(data) == message


def test_standard_input_is_no_file() -> None:
    assert source_files("-") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs")
@pytest.mark.parametrize("content", ["video", "picture"])
def test_a_fifo_is_read_as_it_comes(tmp_path: Path, content: str) -> None:
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    video = write_clip(tmp_path / "clip.mkv", [video_frame(i) for i in range(10)]).read_bytes()
    data = video if content == "video" else encode(".png", quadrants())
    writer = threading.Thread(target=lambda: fifo.write_bytes(data))
    writer.start()
    with open_source(fifo) as source:
        assert len(list(source)) == (10 if content == "video" else 1)
    writer.join()


def test_a_part_of_what_comes_through_a_pipe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", [video_frame(i) for i in range(10)])
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(path.read_bytes())
    with open_source(f"/dev/fd/{reader}", start=0.2, end=0.35, every=2) as source:
        assert [frame.index for frame in source] == [5, 7]
    os.close(reader)


STALLED = """
import sys
from edgepose.media.sources import open_source
print("waiting", flush=True)
with open_source("-") as source:
    for frame in source:
        print("frame", flush=True)
"""


@pytest.mark.parametrize("sent", ["nothing", "half"])
def test_a_pipe_that_says_nothing_more_is_interrupted(tmp_path: Path, sent: str) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (60, 96, 128, 3), np.uint8))
    data = write_clip(tmp_path / "clip.ts", noise).read_bytes() if sent == "half" else b""
    with subprocess.Popen(
        [sys.executable, "-c", STALLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        if data:
            assert process.stdout.readline() == b"frame\n"
        time.sleep(0.3)  # Until it waits.
        began = time.monotonic()
        process.send_signal(2)
        process.wait(20)
        assert time.monotonic() - began < 3
        assert b"KeyboardInterrupt" in (process.stderr.read() if process.stderr else b"")


def test_an_index_at_the_end_cannot_come_through_a_pipe(tmp_path: Path) -> None:
    said = read_standard_input(write_video(tmp_path / "clip.mp4", 10).read_bytes())
    assert said.startswith(("standard input: neither a video that FFmpeg can open", "video standard input"))


def test_a_missing_fifo_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "fifo")
