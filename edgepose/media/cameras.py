"""Cameras, through OpenCV: USB and built-in ones by number or device, Raspberry Pi's, and GStreamer pipelines."""

from __future__ import annotations

import glob
import importlib
import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.addresses import showable_text
from edgepose.errors import InputError, SourceError
from edgepose.media.frames import Frame, Source
from edgepose.media.images import MAX_PIXELS

logger = logging.getLogger(__name__)

# OpenCV answers "no frame" when a camera is gone and at every damaged frame alike, so it is gone when this many answers in a
# row say so, or when they have taken this long.
MAX_FAILED_READS = 1000
PATIENCE_S = 5.0
# OpenCV reads larger numbers as the choice of a backend, and crashes on negative ones.
MAX_CAMERAS = 100
PICAMERA = "picamera"
# What Raspberry Pi's camera is asked for where the caller does not say: its full size of 12 megapixels helps no network.
PICAMERA_SIZE = (1280, 720)


@dataclass(frozen=True)
class CameraOptions:
    """Settings to ask of a camera. It may choose others, which is logged.

    Attributes:
        width: Of its frames, pixels; None: as the camera has it. Needs `height`, too.
        height: Likewise.
        fps: Frames per second; None: as the camera has it.

    Raises:
        InputError: A number is out of range, or one of width and height is missing.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise InputError(f"camera width is {self.width} and height {self.height}; expected both or neither")
        if not all(side is None or 1 <= side <= 16_384 for side in (self.width, self.height)):
            raise InputError(f"camera size is {self.width} x {self.height}; expected 1 to 16384 pixels a side")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"camera fps is {self.fps}; expected above 0, to 1000")


def is_camera(source: str) -> bool:
    """Whether `source` is the name of a camera rather than of a file or a URL."""
    return (
        re.fullmatch(r"-?[0-9]{1,9}", source) is not None
        or source == PICAMERA
        or source.startswith(("/dev/video", "/dev/v4l/"))
        or _is_pipeline(source)
    )


def open_camera(camera: int | str, options: CameraOptions, every: int = 1) -> Source:
    """The frames of a camera.

    Args:
        camera: Its number, its device, "picamera", or a GStreamer pipeline that ends in an appsink.
        options: The settings to ask for; of no use for a pipeline, which contains its own.
        every: Give the first frame, and each so-manieth after it.

    Raises:
        SourceError: It is not there, or somebody else has it.
    """
    if camera == PICAMERA:
        return _from_capture(_PiCapture(options), PICAMERA, every)
    if isinstance(camera, str) and _is_pipeline(camera):
        return _from_capture(_open_pipeline(camera), showable_text(camera), every)
    name = f"camera {camera}" if isinstance(camera, int) else camera
    if isinstance(camera, int) and not 0 <= camera < MAX_CAMERAS:
        raise SourceError(f"there is no {name}; expected a number from 0 to {MAX_CAMERAS - 1}")
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        registry = cv2.videoio_registry
        tried = ", ".join(registry.getBackendName(backend) for backend in registry.getCameraBackends())
        present = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        raise SourceError(
            f"{name} cannot be opened (tried {tried or 'no backend: OpenCV has none for cameras'}; /dev/video*: {present});"
            " plug one in, give another number or a file, or try: edgepose demo"
        )
    _configure(capture, name, options)
    return _from_capture(capture, name, every)


def _from_capture(capture: Any, name: str, every: int) -> Source:
    """The frames of an opened `cv2.VideoCapture`, or an object that behaves like one."""
    width, height = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise SourceError(f"{name}: {width:.0f} x {height:.0f} pixels a frame; expected at most {MAX_PIXELS:,}")
    fps = capture.get(cv2.CAP_PROP_FPS)
    fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else None
    return Source(name, "camera", _read_capture(capture, name, every), True, fps, release=capture.release)


def _read_capture(capture: Any, name: str, every: int) -> Iterator[Frame]:
    index, started = 0, math.nan
    while True:
        image, failed = _next_image(capture)
        if image is None:
            break
        now, received = time.monotonic(), time.time()
        started = now if index == 0 else started
        if failed:
            logger.warning("%s, before frame %d: damaged; frames that could not be decoded: %d", name, index, failed)
        if index % every == 0:
            yield Frame(image, index, now - started, name, received=received)
        index += 1
    if index == 0:
        raise SourceError(f"{name}: no frame of it can be decoded; it may be damaged or of an unknown format")


def _next_image(capture: Any) -> tuple[NDArray[np.uint8] | None, int]:
    """The next frame that can be decoded, or None if none comes any more, and how many before it could not be."""
    started = time.monotonic()
    for failed in range(MAX_FAILED_READS):
        done, image = capture.read()
        if done:
            return image, failed
        if time.monotonic() - started > PATIENCE_S:
            break
    return None, 0


def _configure(capture: Any, name: str, options: CameraOptions) -> None:
    # USB 2 carries a few uncompressed frames a second at 720p, but thirty as MJPG. A camera that has no MJPG keeps its own.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    # Frames that wait in the driver are old frames.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    asked = {
        cv2.CAP_PROP_FRAME_WIDTH: options.width,
        cv2.CAP_PROP_FRAME_HEIGHT: options.height,
        cv2.CAP_PROP_FPS: options.fps,
    }
    asked = {what: value for what, value in asked.items() if value is not None}
    for what, value in asked.items():
        capture.set(what, value)
    given = {what: capture.get(what) for what in asked}
    if any(abs(given[what] - value) > 0.5 for what, value in asked.items() if value is not None):
        numbers = [" x ".join(f"{values[what]:g}" for what in asked) for values in (asked, given)]
        logger.warning("%s: asked for %s (width x height x fps), gives %s", name, *numbers)


def _is_pipeline(source: str) -> bool:
    return " ! " in source and "appsink" in source


def _open_pipeline(pipeline: str) -> Any:
    if cv2.CAP_GSTREAMER not in cv2.videoio_registry.getBackends():
        raise SourceError(
            "a GStreamer pipeline was given, and this OpenCV has no GStreamer (those from PyPI have none); install your "
            "system's OpenCV, such as python3-opencv, or give a camera number or URL"
        )
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(f"{showable_text(pipeline)!r}: GStreamer cannot run this pipeline; try it with gst-launch-1.0")
    return capture


class _PiCapture:
    """Raspberry Pi's camera through picamera2, with those methods of `cv2.VideoCapture` that are used here."""

    def __init__(self, options: CameraOptions) -> None:
        try:
            picamera2 = importlib.import_module("picamera2")
        except ImportError as error:
            raise SourceError(
                "picamera needs picamera2, which comes with Raspberry Pi OS: sudo apt install python3-picamera2, and make "
                "the virtual environment with --system-site-packages"
            ) from error
        except ValueError as error:  # "numpy.dtype size changed": raspberrypi/picamera2#1211
            raise SourceError(
                f"picamera2 was built for another numpy than the one installed here ({error}); in this virtual environment: "
                "python -m pip install --force-reinstall --no-deps simplejpeg"
            ) from error
        size = PICAMERA_SIZE if options.width is None else (options.width, options.height)
        self._said = {cv2.CAP_PROP_FRAME_WIDTH: size[0], cv2.CAP_PROP_FRAME_HEIGHT: size[1], cv2.CAP_PROP_FPS: options.fps}
        self._camera: Any = None
        try:
            self._camera = picamera2.Picamera2()
            controls = {} if options.fps is None else {"FrameRate": options.fps}
            # "RGB888" is named from the lowest bit up, so its bytes are BGR.
            main = {"size": size, "format": "RGB888"}
            # One buffer is filled while the other is read: none in which frames grow old.
            self._camera.configure(self._camera.create_video_configuration(main=main, controls=controls, buffer_count=2))
            self._camera.start()
        except Exception as error:  # IndexError for no camera, RuntimeError for a busy one, and others of libcamera's
            self.release()
            raise SourceError(
                f"picamera cannot be opened: {error or type(error).__name__}; see: rpicam-hello --list-cameras"
            ) from error

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        try:
            # As OpenCV's captures give them, so that they can be drawn on; it costs nothing where they are so already.
            return True, np.require(self._camera.capture_array("main"), requirements=["C", "W"])
        except Exception as error:  # likewise
            raise SourceError(f"picamera: no frame comes: {error}") from error

    def get(self, what: int) -> float:
        return float(self._said.get(what) or 0)

    def set(self, what: int, value: float) -> bool:
        return False

    def release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.stop()
            camera.close()
