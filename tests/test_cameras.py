"""Cameras, by stand-ins: what is asked of them, and what is said when they are not there."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import quadrants

from edgepose.errors import InputError, SourceError
from edgepose.media import cameras
from edgepose.media.cameras import MAX_FAILED_READS, CameraOptions, is_camera
from edgepose.media.sources import open_source


class Capture:
    """A `cv2.VideoCapture` that notes what is set, in order, and gives what it can."""

    def __init__(self, most: dict[int, float] | None = None, *, opened: bool = True) -> None:
        self.most = most or {}
        self.opened = opened
        self.asked: list[tuple[int, float]] = []
        self.values: dict[int, float] = {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48, cv2.CAP_PROP_FPS: 30}
        self.arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Capture:
        self.arguments = arguments
        return self

    def isOpened(self) -> bool:
        return self.opened

    def set(self, what: int, value: float) -> bool:
        self.asked.append((what, value))
        self.values[what] = min(value, self.most.get(what, value))
        return True

    def get(self, what: int) -> float:
        return self.values.get(what, 0)

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, quadrants()

    def release(self) -> None:
        pass


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    capture = Capture()
    monkeypatch.setattr(cv2, "VideoCapture", capture)
    return capture


def test_mjpg_and_a_small_buffer_are_always_asked_for(capture: Capture) -> None:
    with open_source(0) as source:
        assert next(source).image.shape == (32, 48, 3)
    assert capture.asked[:2] == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]
    assert capture.arguments == (0,)


def test_size_and_rate_are_asked_for_after_the_format_that_allows_them(
    capture: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    with open_source("/dev/video3", camera=CameraOptions(1280, 720, 60)) as source:
        assert (source.kind, source.is_live, source.fps) == ("camera", True, 60)
    assert capture.arguments == ("/dev/video3",)
    assert capture.asked[2:5] == [
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 60),
    ]
    assert caplog.text == ""


def test_a_camera_that_gives_something_else_is_reported(capture: Capture, caplog: pytest.LogCaptureFixture) -> None:
    capture.most = {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480, cv2.CAP_PROP_FPS: 30}
    with open_source(0, camera=CameraOptions(1280, 720, 60)):
        pass
    assert "camera 0: asked for 1280 x 720 x 60 (width x height x fps), gives 640 x 480 x 30" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"width": 640},
        {"height": 480},
        {"width": 0, "height": 480},
        {"width": 640, "height": 99999},
        *({"fps": fps} for fps in (0, -1, float("nan"), 1e9)),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"camera \w+ is .*expected"):
        CameraOptions(**options)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0", True),
        ("12", True),
        ("/dev/video0", True),
        ("/dev/v4l/by-id/usb-cam", True),
        ("picamera", True),
        ("v4l2src device=/dev/video0 ! videoconvert ! appsink", True),
        ("picamera.mp4", False),
        ("0.jpg", False),
        ("wow ! such.jpg", False),
        ("rtsp://host/appsink", False),
        ("", False),
    ],
)
def test_names_of_cameras(source: str, expected: bool) -> None:
    assert is_camera(source) == expected


PIPELINE = "videotestsrc ! videoconvert ! appsink"


def test_a_pipeline_where_opencv_has_no_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "videoio_registry", SimpleNamespace(getBackends=lambda: [cv2.CAP_FFMPEG]))
    with pytest.raises(SourceError, match=r"this OpenCV has no GStreamer .*python3-opencv"):
        open_source(PIPELINE)


@pytest.mark.parametrize("works", [True, False])
def test_a_pipeline_where_opencv_has_gstreamer(capture: Capture, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    monkeypatch.setattr(cv2, "videoio_registry", SimpleNamespace(getBackends=lambda: [cv2.CAP_GSTREAMER]))
    capture.opened = works
    if works:
        with open_source(PIPELINE) as source:
            assert next(source).path == PIPELINE
        assert capture.arguments == (PIPELINE, cv2.CAP_GSTREAMER)
        # The pipeline says it all.
        assert cv2.CAP_PROP_FOURCC not in dict(capture.asked)
    else:
        with pytest.raises(SourceError, match="GStreamer cannot run this pipeline; try it with gst-launch"):
            open_source(PIPELINE)


class Picamera2:
    """picamera2's class, as far as it is used."""

    last: Picamera2 | None = None
    error: Exception | None = None

    def __init__(self) -> None:
        Picamera2.last = self
        self.calls: list[str] = []
        self.configuration: dict[str, Any] = {}
        if self.error and "busy" not in str(self.error):
            raise self.error

    def create_video_configuration(self, **options: Any) -> dict[str, Any]:
        return options

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    def start(self) -> None:
        if self.error:
            raise self.error
        self.calls.append("start")

    def capture_array(self, name: str) -> NDArray[np.uint8]:
        assert name == "main"
        return quadrants()

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def picamera(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=Picamera2))  # type: ignore[arg-type]
    monkeypatch.setattr(Picamera2, "error", None)
    return Picamera2


@pytest.mark.parametrize(
    ("options", "size", "controls"),
    [(CameraOptions(), (1280, 720), {}), (CameraOptions(640, 480, 24), (640, 480), {"FrameRate": 24})],
    ids=["default", "asked"],
)
def test_raspberry_pis_camera(
    picamera: type[Picamera2], options: CameraOptions, size: tuple[int, int], controls: dict[str, float]
) -> None:
    with open_source("picamera", camera=options) as source:
        assert (source.kind, source.is_live, source.fps) == ("camera", True, options.fps)
        np.testing.assert_array_equal(next(source).image, quadrants())
    assert picamera.last is not None
    assert picamera.last.configuration == {
        "main": {"size": size, "format": "RGB888"},
        "controls": controls,
        "buffer_count": 2,
    }
    assert picamera.last.calls == ["start", "stop", "close"]


@pytest.mark.parametrize("error", [IndexError("list index out of range"), RuntimeError("device is busy")], ids=repr)
def test_raspberry_pis_camera_that_is_not_there_or_busy(
    picamera: type[Picamera2], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Picamera2, "error", error)
    with pytest.raises(SourceError, match=f"picamera cannot be opened: {error}; see: rpicam-hello --list-cameras"):
        open_source("picamera")


def test_without_picamera2_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="sudo apt install python3-picamera2"):
        open_source("picamera")


def test_a_picamera2_for_another_numpy_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SourceError, match=r"numpy\.dtype size changed.*--force-reinstall --no-deps simplejpeg"):
        open_source("picamera")


@pytest.mark.parametrize("camera", [57, "57", "/dev/video57", Path("/dev/video57")], ids=str)
def test_no_camera_says_what_was_tried_and_what_else_there_is(camera: str | int) -> None:
    with pytest.raises(SourceError, match=r"57 cannot be opened \(tried .*V4L2.*\); plug one in, .* or try: edgepose demo$"):
        open_source(camera)


@pytest.mark.parametrize("camera", [-1, "-1", 100, 99_999_999_999], ids=repr)
def test_an_impossible_camera_is_not_tried(camera: int | str) -> None:
    with pytest.raises(SourceError, match=rf"there is no camera {camera}; expected a number from 0 to 99"):
        open_source(camera)


class Flaky(Capture):
    """A camera that gives a frame for each True, fails for each False, and then is gone."""

    def __init__(self, answers: list[bool], **said: float) -> None:
        super().__init__()
        self.answers = iter(answers)
        self.reads = 0
        self.released = False
        names = {"fps": cv2.CAP_PROP_FPS, "width": cv2.CAP_PROP_FRAME_WIDTH}
        self.values |= {names[name]: value for name, value in said.items()}

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        self.reads += 1
        return next(self.answers, False), quadrants(8, 8)

    def release(self) -> None:
        self.released = True


def use(capture: Flaky, monkeypatch: pytest.MonkeyPatch) -> Flaky:
    monkeypatch.setattr(cv2, "VideoCapture", capture)
    return capture


def test_a_camera_is_live_and_timed_by_our_clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([100.0, 100.0, 100.0, 100.5, 100.5, *[101.0] * 2 * MAX_FAILED_READS])
    monkeypatch.setattr(cameras.time, "monotonic", lambda: next(clock))
    use(Flaky([True, True, False, True], fps=30), monkeypatch)
    before = time.time()
    with open_source(0, read_ahead=False) as source:
        assert (source.kind, source.name, source.is_live, source.fps, source.total) == ("camera", "camera 0", True, 30, None)
        first, second, third = source
    assert (first.timestamp, second.timestamp, third.timestamp) == (0, 0.5, 1)
    assert first.path == "camera 0"
    assert first.received is not None
    assert before <= first.received <= time.time()
    assert source.skipped == []  # Or it would grow for as long as the camera runs.
    assert "before frame 2: damaged; frames that could not be decoded: 1" in caplog.text


def test_a_camera_expects_as_many_frames_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Flaky([True] * 3), monkeypatch)
    with open_source("0", max_frames=2, read_ahead=False) as source:
        assert source.total == 2
        assert len(list(source)) == 2


def test_each_third_frame_of_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Flaky([True] * 10), monkeypatch)
    with open_source(0, every=3, read_ahead=False) as source:
        assert [frame.index for frame in source] == [0, 3, 6, 9]


def test_a_camera_has_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="camera 0: live, without a start and an end to choose"):
        open_source(0, start=1)


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, 90_000])
def test_an_impossible_rate_is_none(monkeypatch: pytest.MonkeyPatch, fps: float) -> None:
    use(Flaky([True], fps=fps), monkeypatch)
    assert open_source(0).fps is None


def test_a_camera_is_gone_after_a_bounded_number_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = [False] * (MAX_FAILED_READS - 1)
    capture = use(Flaky([True, *gap, True]), monkeypatch)
    with open_source(0, read_ahead=False) as source:
        assert len(list(source)) == 2
    assert capture.reads == 2 + len(gap) + MAX_FAILED_READS
    assert capture.released


def test_patience_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(cameras.time, "monotonic", lambda: next(clock))
    capture = use(Flaky([True]), monkeypatch)
    with open_source(0, read_ahead=False) as source:
        assert len(list(source)) == 1
    assert capture.reads == 3


def test_a_camera_of_gigantic_frames_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = use(Flaky([True], width=10_000_000), monkeypatch)
    with pytest.raises(SourceError, match="10000000 x 48 pixels a frame; expected at most"):
        open_source(0)
    assert capture.released
