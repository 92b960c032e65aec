"""Annotated frames as a video file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import OutputError
from edgepose.geometry import fit_letterbox
from edgepose.media.files import Arrival, unwritable
from edgepose.media.frames import DEFAULT_FPS, Frame, Picture, Source
from edgepose.media.images import check_image
from edgepose.media.kinds import VIDEO_CODECS as VIDEO_CODECS
from edgepose.media.outputs import check_folder, spare_source
from edgepose.poses import Poses

logger = logging.getLogger(__name__)

# The codecs take even sides only (OpenCV cuts odd ones), and VP8 fails on tiny ones.
MIN_SIDE = 16


def open_sink(path: str | Path, source: Source, name: str) -> VideoSink:
    """The sink for an annotated video of `source`, at its rate."""
    return VideoSink(path, source.fps)


class VideoSink:
    """An annotated video. The first frame sets its size; frames of other sizes are scaled and centred to fit.

    It grows beside its place, and is moved there when it is closed, or when an error or Ctrl-C ends it.

    Args:
        path: A file name; its suffix (.mp4, .mov, .mkv, .avi, .webm) chooses the codec. Missing folders are made.
        fps: Frames per second; None: 25.

    Raises:
        OutputError: The suffix is unknown, or the file cannot be written. While closing: the video is not whole, as on a
            full disk, which OpenCV does not report earlier. If it does not play at all, an older one stays.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self._path = Path(path)
        self._fps = fps or DEFAULT_FPS
        if self._path.suffix.lower() not in VIDEO_CODECS:
            raise OutputError(f"{path}: unknown video suffix {self._path.suffix!r}; expected one of {', '.join(VIDEO_CODECS)}")
        check_folder(self._path.parent)
        self._arrival = Arrival(Path(os.path.realpath(path)), self._path.suffix)
        self._writer: Any = None
        self._first = (0, 0)  # Height and width of the first frame, ...
        self._size = (0, 0)  # ... and of the video.
        self._count = 0

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        """Append the annotated `picture` of `frame`."""
        image = picture()
        check_image(image)
        if self._writer is None:
            spare_source(self._path, frame.path)
            self._open(*image.shape[:2])
        self._writer.write(self._fit(image))
        self._count += 1

    def close(self) -> None:
        """Finish the file, and make sure that its last frame can be read; closing twice does no harm."""
        if self._writer is None:
            return
        plays = is_whole = True  # As far as is known, should Ctrl-C come now.
        try:
            self._release()
            plays, is_whole = self._played()
        finally:
            kept = self._arrive(plays)
        if not is_whole:
            raise OutputError(f"{self._path}: the video is not whole, of {self._count} frames; is the disk full?{kept}")

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        elif self._writer is not None:
            self._release()
            try:
                kept = self._arrive(self._played()[0])
            except OutputError as failure:  # The error on its way out matters more.
                kept = str(failure)
            if kept:
                logger.warning("%s: not whole%s", self._path, kept)

    def _played(self) -> tuple[bool, bool]:
        """Whether the first frame of the written video can be read, and whether all seem to be there."""
        written = cv2.VideoCapture(str(self._arrival.part))
        count = written.get(cv2.CAP_PROP_FRAME_COUNT)
        written.set(cv2.CAP_PROP_POS_FRAMES, max(0, count - 1))
        has_last, _ = written.read()
        written.release()
        plays = has_last
        if not plays:
            written = cv2.VideoCapture(str(self._arrival.part))
            plays, _ = written.read()
            written.release()
        # Some containers know their count only from the duration: allow for its rounding.
        return plays, has_last and count >= self._count / 2

    def _arrive(self, plays: bool) -> str:
        """Move the video to its place, unless it would replace one and does not play; returns a message about that."""
        if plays or not self._arrival.replaces:
            try:
                self._arrival.arrive()
            except OSError as error:
                raise self._arrival.stranded(error) from None
            return ""
        return f"; an older video stays, what was written is kept as {self._arrival.part}"

    def _open(self, height: int, width: int) -> None:
        self._first = (height, width)
        self._size = (max(height + height % 2, MIN_SIDE), max(width + width % 2, MIN_SIDE))
        try:
            self._arrival.prepare()
        except OSError as error:
            raise unwritable(self._path, error) from None
        codec = cv2.VideoWriter.fourcc(*VIDEO_CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._arrival.part), codec, self._fps, self._size[::-1])
        if not writer.isOpened():
            self._arrival.discard()
            what = f"a video of {self._size[1]} x {self._size[0]} at {self._fps:g} frames a second"
            raise OutputError(f"{self._path}: OpenCV cannot write {what} here; check the folder, or try an .avi")
        self._writer = writer

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        (height, width), (rows, columns) = self._size, image.shape[:2]
        if (rows, columns) == self._size:
            return image
        if (rows, columns) == self._first:
            padded = cv2.copyMakeBorder(image, 0, height - rows, 0, width - columns, cv2.BORDER_REPLICATE)
            return np.asarray(padded, np.uint8)
        fit = fit_letterbox(rows, columns, height, width)
        top, left = (height - fit.scaled_height) // 2, (width - fit.scaled_width) // 2
        canvas = np.zeros((height, width, 3), np.uint8)
        part = canvas[top : top + fit.scaled_height, left : left + fit.scaled_width]
        part[:] = cv2.resize(image, (fit.scaled_width, fit.scaled_height), interpolation=cv2.INTER_AREA)
        return canvas

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.release()
        self._writer = None
