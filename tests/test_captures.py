"""Videos, cameras and streams: real files, damaged on purpose, and captures that lie."""

from __future__ import annotations

import itertools
import math
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import CODECS, damage, encode, quadrants, video_frame, write_video

from edgepose.errors import SourceError
from edgepose.media import captures
from edgepose.media.captures import MAX_FAILED_READS
from edgepose.media.sources import Frame, open_source


def read(source: object, **options: int) -> list[Frame]:
    with open_source(source, **options) as frames:  # type: ignore[arg-type]
        return list(frames)


def brightness(frames: list[Frame]) -> list[int]:
    """The indices that the frames of a test video were made with."""
    return [round(float(np.median(frame.image)) / 4) for frame in frames]


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"clip{suffix}", 30, fps=25)
    with open_source(path) as source:
        assert (source.kind, source.name, source.is_live, source.fps, source.total) == ("video", str(path), False, 25, 30)
        frames = list(source)
    assert [f.index for f in frames] == list(range(30))
    assert [f.timestamp for f in frames] == pytest.approx([i / 25 for i in range(30)], abs=0.001)
    np.testing.assert_allclose(brightness(frames), range(30), atol=1)
    assert source.skipped == []


def test_a_closed_source_has_no_more_frames(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.avi", 10))
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_damaged_frames_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "clip.mp4", 60), 0.45, 0.6)
    with open_source(path) as source:
        frames = list(source)
    assert brightness(frames)[-1] >= 57, "the frames after the damage are lost"
    assert len(frames) < 60
    ((place, reason),) = source.skipped
    assert place.startswith(f"{path}, before frame ")
    lost = 60 - len(frames)
    assert reason == f"damaged; frames that could not be decoded: {lost}"
    # The clock goes on through the gap.
    assert frames[-1].timestamp == pytest.approx(59 / 25)


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


def test_a_whole_video_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(write_video(tmp_path / "clip.mp4", 12))
    assert not caplog.records


def test_a_phone_held_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # The matrix of a version-0 track header (ISO 14496-12, 8.3.2).
    assert struct.unpack_from(">9i", data, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, 0, 1 << 16, 0, -1 << 16, 0, 0, 96 << 16, 0, 1 << 30)
    path.write_bytes(data)
    frames = read(path)
    assert frames[0].image.shape == (128, 96, 3)
    # The square stands at the left edge below the middle; turned clockwise, at the top edge left of it.
    np.testing.assert_allclose(frames[0].image, np.rot90(video_frame(0), -1), atol=60)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", r"empty\.mp4: an empty file; expected a video or an image"),
        ("text.mp4", b"not a video " * 100, r"text\.mp4: neither a video that OpenCV can open nor an image"),
        ("cut.mp4", None, r"cut\.mp4: neither a video that OpenCV can open.*damaged or cut short"),
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


def test_a_video_without_a_single_good_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 20)
    start, *pictures = path.read_bytes().split(b"00dc")
    path.write_bytes(b"00dc".join([start, *(picture[:4] + bytes(len(picture) - 4) for picture in pictures)]))
    with pytest.raises(SourceError, match=r"clip\.avi: no frame of it can be decoded"):
        read(path)


@pytest.mark.parametrize("camera", [57, "57", "/dev/video57", Path("/dev/video57")], ids=str)
def test_no_camera_says_what_was_tried_and_what_else_there_is(camera: str | int) -> None:
    with pytest.raises(SourceError, match=r"57 cannot be opened \(tried .*V4L2.*\); plug one in, .* or try: edgepose demo$"):
        open_source(camera)


@pytest.mark.parametrize("camera", [-1, "-1", 100, 99_999_999_999], ids=repr)
def test_an_impossible_camera_is_not_tried(camera: int | str) -> None:
    with pytest.raises(SourceError, match=rf"there is no camera {camera}; expected a number from 0 to 99"):
        open_source(camera)


def test_passwords_are_not_repeated() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://admin:secret@127.0.0.1:9/live?channel=1")
    assert str(caught.value).startswith("rtsp://127.0.0.1:9/live?channel=1 cannot be opened")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:SEC@RET@127.0.0.1:9/live",
        "rtsp://admin:SECRET/@127.0.0.1:9/live",
        "http://127.0.0.1:9/video.cgi?user=admin&pwd=SECRET",
        "http://127.0.0.1:9/user=admin_password=SECRET_channel=1",
        "http://admin:SECRET@[1.2/",
        "http://admin:SEC\u2100RET@host/",
        "http://u:[SECRET]@host/",
        "rtsp:/admin:SECRET@127.0.0.1:9/live",
        "admin:SECRET@127.0.0.1/live",
        "rtspsrc location=rtsp://admin:SECRET@127.0.0.1/ user-pw=SECRET ! appsink",
    ],
)
def test_no_secret_of_an_address_is_repeated(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address)
    assert not re.search("SEC|RET", str(caught.value) + "".join(capfd.readouterr()))


class Capture:
    """A `cv2.VideoCapture` whose frames, clock and promises the test sets. None in `clock_ms` is a frame that fails."""

    def __init__(
        self, clock_ms: list[float | None], *, fps: float = 25, count: float = 0, size: tuple[int, int] = (8, 8)
    ) -> None:
        self.clock = iter(clock_ms)
        self.now = 0.0
        self.reads = 0
        self.released = False
        width, height = size
        self.said = {
            cv2.CAP_PROP_FPS: fps,
            cv2.CAP_PROP_FRAME_COUNT: count,
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
        }

    def isOpened(self) -> bool:
        return True

    def set(self, *_: float) -> bool:
        return True

    def get(self, what: int) -> float:
        return self.now if what == cv2.CAP_PROP_POS_MSEC else self.said[what]

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.reads += 1
        now = next(self.clock, None)
        if now is None:
            return False, None
        self.now = now
        return True, quadrants(8, 8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def a_file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"opened by a stand-in")
    return path


def use(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> Capture:
    monkeypatch.setattr(captures.cv2, "VideoCapture", lambda *_: capture)
    return capture


@pytest.mark.parametrize(
    ("clock_ms", "fps", "expected"),
    [
        ([0, 40, 80], 25, [0, 0.04, 0.08]),
        ([0, 30, 110, 120], 25, [0, 0.03, 0.11, 0.12]),
        ([0, 0, 0], 25, [0, 0.04, 0.08]),
        ([0, 0, 0], 0, [0, 0.04, 0.08]),
        ([0, 0, 0], math.nan, [0, 0.04, 0.08]),
        ([0, 0, 0], 90_000, [0, 0.04, 0.08]),
        ([0, 100, 50, 200], 10, [0, 0.1, 0.2, 0.3]),
        ([math.nan, math.nan], 10, [0, 0.1]),
        ([-1, -1, -1], 10, [0, 0.1, 0.2]),
        ([500, 600], 10, [0.5, 0.6]),
    ],
    ids=["steady", "variable", "stopped", "no fps", "fps is NaN", "fps is a clock rate", "backwards", "NaN", "none", "late"],
)
def test_time_always_goes_on(
    a_file: Path, monkeypatch: pytest.MonkeyPatch, clock_ms: list[float | None], fps: float, expected: list[float]
) -> None:
    use(Capture(clock_ms, fps=fps), monkeypatch)
    frames = read(a_file)
    assert [f.timestamp for f in frames] == pytest.approx(expected)
    assert all(b.timestamp > a.timestamp for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, 90_000])
def test_an_impossible_rate_is_none(a_file: Path, monkeypatch: pytest.MonkeyPatch, fps: float) -> None:
    use(Capture([0], fps=fps), monkeypatch)
    assert open_source(a_file).fps is None


@pytest.mark.parametrize(("count", "total"), [(0, None), (-1, None), (-2.3e17, None), (2e9, None), (7, 7)])
def test_an_impossible_count_is_none(a_file: Path, monkeypatch: pytest.MonkeyPatch, count: float, total: int | None) -> None:
    use(Capture([0], count=count), monkeypatch)
    assert open_source(a_file).total == total


def test_more_frames_than_promised_are_all_read(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Capture([0, 40, 80], count=1), monkeypatch)
    assert len(read(a_file)) == 3


def test_the_end_is_found_after_a_bounded_number_of_failures(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gap: list[float | None] = [None] * (MAX_FAILED_READS - 1)
    capture = use(Capture([0, *gap, 40]), monkeypatch)
    with open_source(a_file) as source:
        assert len(list(source)) == 2
    assert source.skipped == [(f"{a_file}, before frame 1", f"damaged; frames that could not be decoded: {len(gap)}")]
    assert capture.reads == 2 + len(gap) + MAX_FAILED_READS
    assert capture.released


def test_patience_ends_too(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(captures.time, "monotonic", lambda: next(clock))
    capture = use(Capture([0]), monkeypatch)
    assert len(read(a_file)) == 1
    assert capture.reads == 3


def test_a_video_of_gigantic_frames_is_refused(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = use(Capture([0], size=(20_000, 20_000)), monkeypatch)
    with pytest.raises(SourceError, match="20000 x 20000 pixels a frame; expected at most"):
        open_source(a_file)
    assert capture.released


def test_a_camera_is_live_and_timed_by_our_clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([100.0, 100.0, 100.0, 100.5, 100.5, *[101.0] * 2 * MAX_FAILED_READS])
    monkeypatch.setattr(captures.time, "monotonic", lambda: next(clock))
    use(Capture([0, 7, None, 8], fps=30, count=-1), monkeypatch)
    with open_source(0, read_ahead=False) as source:
        assert (source.kind, source.name, source.is_live, source.fps, source.total) == ("camera", "camera 0", True, 30, None)
        first, second, third = source
    assert (first.timestamp, second.timestamp, third.timestamp) == (0, 0.5, 1)
    assert first.path == "camera 0"
    assert source.skipped == []  # Or it would grow for as long as the camera runs.
    assert "before frame 2: damaged; frames that could not be decoded: 1" in caplog.text


def test_a_camera_expects_as_many_frames_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Capture([0, 1, 2]), monkeypatch)
    with open_source("0", max_frames=2, read_ahead=False) as source:
        assert source.total == 2
        assert len(list(source)) == 2


class Handler(BaseHTTPRequestHandler):
    """Serves a video file, and a camera's MJPEG stream of five pictures."""

    video = b""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/clip.mp4":
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(len(self.video)))
            self.end_headers()
            self.wfile.write(self.video)
        else:
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for index in range(5):
                picture = encode(".jpg", video_frame(index))
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
                self.wfile.write(picture + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    Handler.video = write_video(tmp_path / "clip.mp4", 10).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_an_mjpeg_stream(server: str) -> None:
    with open_source(f"{server}/live", read_ahead=False) as source:
        assert (source.kind, source.is_live, source.total) == ("stream", True, None)
        frames = list(source)
    np.testing.assert_allclose(brightness(frames), range(5), atol=1)
    assert frames[0].path == f"{server}/live"


def test_a_video_on_a_server_is_not_live(server: str) -> None:
    with open_source(f"{server}/clip.mp4") as source:
        assert (source.kind, source.is_live, source.fps, source.total) == ("stream", False, 25, 10)
        assert len(list(source)) == 10


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (4, 2), (64, 4)])
def test_decoding_takes_half_of_the_cores_and_few_of_many(tmp_path: Path, cores: int, threads: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    script = (
        "import sys, cv2\n"
        f"cv2.getNumberOfCPUs = lambda: {cores}\n"
        "from edgepose.media import captures\n"
        "opened, VideoCapture = [], cv2.VideoCapture\n"
        "captures.cv2.VideoCapture = lambda *given: opened.append(VideoCapture(*given)) or opened[-1]\n"
        "from pathlib import Path\n"
        "source = captures.open_video(Path(sys.argv[1]))\n"
        "print(opened[-1].get(cv2.CAP_PROP_N_THREADS), len(list(source)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{threads}.0 3\n"


def test_what_ffmpeg_does_not_open_is_left_to_others(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture([0, 40])
    asked: list[tuple[Any, ...]] = []

    def open_one(*given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(isOpened=lambda: False) if len(given) > 1 else capture

    monkeypatch.setattr(captures.cv2, "VideoCapture", open_one)
    assert len(list(captures.open_video(a_file))) == 2
    assert [len(given) for given in asked] == [3, 1]
