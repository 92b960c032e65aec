"""Annotated frames as a video file."""

from __future__ import annotations

import logging
import os
import time
from fractions import Fraction
from math import inf, isfinite
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import OutputError
from edgepose.geometry import fit_letterbox
from edgepose.media.encoders import Encoder, choose_encoders
from edgepose.media.files import Arrival, report_leftovers, unwritable
from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.images import check_image
from edgepose.media.kinds import VIDEO_CODECS as VIDEO_CODECS
from edgepose.media.outputs import check_folder, spare_source
from edgepose.media.recording import Recording, finish, keeps_aspect, plays
from edgepose.media.sound import FAILURES
from edgepose.media.timeline import Timeline
from edgepose.poses import Poses

logger = logging.getLogger(__name__)

# The rate where neither frames nor their source tell of one.
DEFAULT_FPS = 25.0
# More is not written in a file's head; frames that have times may come faster.
MAX_FPS = 10_000
# A run that is stopped ends soon. A video whose final form takes longer than so many seconds, and than such a part of its
# length, stays in pieces.
_PATIENCE_S, _PATIENCE = 1.0, 0.01
# Units of time in which the usual rates are whole: 1/120000 s, and for MPEG-4, which takes no smaller ones, half as many.
_UNIT, _UNIT_MPEG4 = Fraction(1, 120_000), Fraction(1, 60_000)
# AVI has a fixed rate: that of the source; or more, where none is known, or one so low that it may be a variable one's mean.
_LEAST_FPS, _AMPLE_FPS = 24, 60


def open_sink(
    path: str | Path, source: Source, name: str, *, codec: str | None = None, crf: int | None = None, audio: bool = True
) -> VideoSink:
    """The sink for an annotated video of `source`, with its times, the shape of its pixels, and its sound."""
    sound = source.sound if audio else None
    return VideoSink(
        path, source.fps, timed=source.is_timed, pixel_aspect=source.pixel_aspect, sound=sound, codec=codec, crf=crf
    )


class VideoSink:
    """An annotated video. The first frame sets its size; frames of other sizes are scaled and centred to fit.

    It grows beside its place, where it plays at any moment, and is moved there when it is closed, or when an error or Ctrl-C
    ends it. Then its index goes to its front, and sound is added.

    Args:
        path: A file name; its suffix (.mp4, .m4v, .mov, .mkv, .webm, .avi) chooses the container. Missing folders are made.
        fps: Frames per second: of frames that have no times, and otherwise a hint; None: 25.
        timed: Frames are shown at their own times, from that of the first on. An .avi, which has a fixed rate, shows each at
            the nearest place of the rate, and leaves out those that no place is left for.
        pixel_aspect: The width of a pixel over its height, when shown. Where the file cannot say so, as WebM cannot, frames are
            stretched instead.
        sound: A video file whose sound is kept, for as long as the frames that are written last.
        codec: One of `CODECS`; None: the first that `VIDEO_CODECS` has for the suffix.
        crf: Constant quality, from 0, the best, to 51 (h264, hevc) or 63 (vp9, av1); None: one that looks like the source.

    Raises:
        OutputError: The suffix is unknown, such a file holds no such codec, or the file cannot be written. While writing or
            closing: the video is not whole, as on a full disk. If it does not play at all, an older one stays.
        InputError: The codec or its quality is unknown.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        *,
        timed: bool = False,
        pixel_aspect: float = 1.0,
        sound: Path | None = None,
        codec: str | None = None,
        crf: int | None = None,
    ) -> None:
        self._path, self._timed, self._sound, self._codec, self._crf = Path(path), timed, sound, codec, crf
        self._suffix = self._path.suffix.lower()
        self._encoders = choose_encoders(self._path, codec, crf)
        self._fps = fps if fps is not None and isfinite(fps) and fps > 0 else None
        self._rate = min(max(Fraction(self._fps or DEFAULT_FPS).limit_denominator(1001), Fraction(1, 1000)), Fraction(MAX_FPS))
        self._aspect = Fraction(pixel_aspect).limit_denominator(10_000)
        check_folder(self._path.parent)
        self._arrival = Arrival(Path(os.path.realpath(path)), self._path.suffix)
        report_leftovers(self._arrival)
        self._recording: Recording | None = None
        self._timeline: Timeline | None = None
        self._first = (0, 0)  # Height and width of the first frame, ...
        self._shown = (0, 0)  # ... of the part of the video that it fills, ...
        self._size = (0, 0)  # ... and of the video.
        self._count = self._left_out = 0
        self._failure: Exception | None = None

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        """Append the annotated `picture` of `frame`."""
        image = picture()
        check_image(image)
        if self._recording is None:
            spare_source(self._path, frame.path)
            self._open(*image.shape[:2])
        assert self._recording is not None
        assert self._timeline is not None
        at = self._timeline.place(frame.timestamp)
        if at is None:
            self._left_out += 1
            return
        self._count += 1
        try:
            self._recording.write(self._fit(image), at, self._timeline.step)
        except FAILURES as error:
            self._failure = error
            raise self._broken() from None

    def close(self) -> None:
        """Finish the file and move it to its place; closing twice does no harm."""
        if self._recording is None:
            return
        kept = self._end()
        if self._failure is not None:
            raise self._broken(kept)

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        elif self._recording is not None:
            try:
                kept = self._end(is_stopped=issubclass(error, KeyboardInterrupt))
            except OutputError as failure:  # The error on its way out matters more.
                kept = f"; {failure}"
            if kept:
                logger.warning("%s: not whole%s", self._path, kept)

    def _end(self, *, is_stopped: bool = False) -> str:
        """Bring the video to its place, and into its final form; returns a message about one that has to stay elsewhere."""
        recording, self._recording = self._recording, None
        assert recording is not None
        try:
            recording.close()
        except FAILURES as error:
            self._failure = self._failure or error
        finally:  # Should a signal come now or later, what is there arrives, and plays.
            kept = self._arrive()
        if self._failure is None:
            self._finish(is_stopped)
        if self._left_out:
            logger.warning(
                "%s: %d frames are left out: they came closer together than an %s, with its fixed rate, has places; an .mp4 or "
                ".mkv shows them all", self._path, self._left_out, self._suffix,
            )  # fmt: skip
        return kept

    def _arrive(self) -> str:
        """Move the video to its place, unless it would replace one and does not play; returns a message about that."""
        if self._failure is not None and self._arrival.replaces and not plays(self._arrival.part):
            self._arrival.release()
            return f"; an older video stays, what was written is kept as {self._arrival.part}"
        try:
            self._arrival.arrive()
        except OSError as error:
            raise self._arrival.stranded(error) from None
        return ""

    def _finish(self, is_stopped: bool) -> None:
        """Replace the video by its final form, where that can be written."""
        assert self._timeline is not None
        patience = max(_PATIENCE_S, _PATIENCE * self._timeline.end) if is_stopped else inf
        final = Arrival(self._arrival.place, self._path.suffix)
        try:
            finish(
                self._arrival.place,
                final.part,
                self._suffix,
                rate=Fraction(self._count / self._timeline.end).limit_denominator(1001) if self._timed else self._rate,
                end=self._timeline.end,
                sound=self._sound if self._timed else None,
                start=self._timeline.start or 0.0,
                until=time.monotonic() + patience,
            )
            final.arrive()
        except FAILURES as error:
            reason = getattr(error, "strerror", None) or error
            without = " and without sound" if self._sound is not None else ""
            logger.warning(
                "%s: is whole, but stays in pieces%s, because its final form cannot be written: %s", self._path, without, reason
            )
        finally:
            final.discard()  # It is not there any more if all went well.

    def _open(self, height: int, width: int) -> None:
        self._first = (height, width)
        try:
            self._arrival.prepare()
        except OSError as error:
            raise unwritable(self._path, error) from None
        reasons = []
        for encoder in self._encoders:
            try:
                self._record(encoder)
            except FAILURES as error:
                reasons.append(f"{encoder.name}: {getattr(error, 'strerror', None) or error}")
                continue
            usual = VIDEO_CODECS[self._suffix][0]
            if self._codec is None and encoder.codec != usual:
                logger.warning(
                    "%s: the FFmpeg inside PyAV has no encoder for %s that works here; it is written as %s, which takes more "
                    "room, and which not every player reads", self._path, usual, encoder.codec,
                )  # fmt: skip
            self._arrival.hold()
            return
        self._arrival.discard()
        what = f"a video of {self._size[1]} x {self._size[0]} at {float(self._rate):g} frames a second"
        raise OutputError(f"{self._path}: {what} cannot be written ({'; '.join(reasons)}); check the folder, or try an .avi")

    def _record(self, encoder: Encoder) -> None:
        height, width = self._first
        aspect = self._aspect
        if not keeps_aspect(self._suffix, encoder.codec):
            height, width = (round(side * max(by, Fraction(1))) for side, by in ((height, 1 / aspect), (width, aspect)))
            aspect = Fraction(1)
        self._shown = (height, width)
        # The codecs take even sides only, and fail on tiny ones.
        height, width = (max(side + side % 2, encoder.least_side) for side in self._shown)
        self._size = (height, width)
        is_fixed = self._suffix == ".avi"
        unit = _UNIT_MPEG4 if encoder.codec == "mpeg4" else _UNIT
        rate = self._rate
        if is_fixed:
            if self._timed and (self._fps is None or rate < _LEAST_FPS):
                rate *= -(-_AMPLE_FPS // rate)
            unit = 1 / rate
        self._timeline = Timeline(self._rate, unit, is_timed=self._timed, is_fixed=is_fixed)
        self._recording = Recording(
            self._arrival.part, self._suffix, encoder, self._size, rate=rate, unit=unit, aspect=aspect, crf=self._crf
        )

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        (height, width), (rows, columns) = self._size, image.shape[:2]
        if (rows, columns) == self._first != self._shown:
            image = np.asarray(cv2.resize(image, self._shown[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
            rows, columns = self._shown
        if (rows, columns) == self._size:
            return image
        if (rows, columns) == self._shown:
            padded = cv2.copyMakeBorder(image, 0, height - rows, 0, width - columns, cv2.BORDER_REPLICATE)
            return np.asarray(padded, np.uint8)
        fit = fit_letterbox(rows, columns, height, width)
        top, left = (height - fit.scaled_height) // 2, (width - fit.scaled_width) // 2
        canvas = np.zeros((height, width, 3), np.uint8)
        part = canvas[top : top + fit.scaled_height, left : left + fit.scaled_width]
        part[:] = cv2.resize(image, (fit.scaled_width, fit.scaled_height), interpolation=cv2.INTER_AREA)
        return canvas

    def _broken(self, kept: str = "") -> OutputError:
        reason = getattr(self._failure, "strerror", None) or self._failure
        return OutputError(f"{self._path}: the video is not whole, of {self._count} frames; is the disk full? ({reason}){kept}")
