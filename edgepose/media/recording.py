"""A video file that grows frame by frame, plays up to wherever it ends, and is put into its final form when it is whole.

While it grows, MP4 and MOV are written in fragments and Matroska in clusters, each of them complete, so that a file that is cut
off by a power cut or a kill plays. Its final form has an index at its front, which browsers want before they play, and sound.
"""

from __future__ import annotations

import logging
import math
import os
import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import OutputContainer
from av.container.core import Flags
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from edgepose.media.encoders import KEYFRAMES_S, Encoder, add_video, to_yuv
from edgepose.media.sound import FAILURES, Sound

logger = logging.getLogger(__name__)

# FFmpeg's names of the containers.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
# What may be lost of a recording that is killed: no more than this, and what the encoder holds.
_PIECE_S = 0.5
_FRAGMENTS = {"movflags": "empty_moov+default_base_moof+frag_keyframe", "frag_duration": str(round(_PIECE_S * 1e6))}
_CLUSTERS = {"cluster_time_limit": str(round(_PIECE_S * 1e3))}
_GROWING = {"mp4": _FRAGMENTS, "mov": _FRAGMENTS, "matroska": _CLUSTERS, "webm": _CLUSTERS, "avi": {}}
_FINAL = {
    "mp4": {"movflags": "faststart"},
    "mov": {"movflags": "faststart"},
    "matroska": {"cues_to_front": "1"},
    "webm": {"cues_to_front": "1"},
    "avi": {},
}


def keeps_aspect(suffix: str, codec: str) -> bool:
    """Whether a video can say that its pixels are not square: its codec does, or else its container."""
    return codec not in ("vp9", "av1") or suffix in (".mp4", ".m4v")


class Recording:
    """A video that is being written.

    Args:
        path: The file, absolute.
        suffix: Of the video, one of `CONTAINERS`.
        encoder: Writes the frames.
        size: (height, width) of the frames, even.
        rate: The frames a second to expect; a hint.
        unit: The unit of the frames' times, seconds.
        aspect: The width of a pixel over its height.
        crf: The quality, or None for the encoder's own.

    Raises:
        FAILURES: The file or the encoder cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        suffix: str,
        encoder: Encoder,
        size: tuple[int, int],
        *,
        rate: Fraction,
        unit: Fraction,
        aspect: Fraction,
        crf: int | None,
    ) -> None:
        # SVT-AV1 prints what it does, other than errors, unless the environment says otherwise.
        os.environ.setdefault("SVT_LOG", "1")
        self._encoder, self._unit = encoder, unit
        self._next_key = 0
        name = CONTAINERS[suffix]
        self._container: OutputContainer | None = av.open(str(path), "w", format=name, container_options=_GROWING[name])
        try:
            self._container.flags |= cast("int", Flags.flush_packets.value)
            self._stream: VideoStream = add_video(self._container, encoder, size, rate, unit, aspect, crf)
            self._container.start_encoding()
        except BaseException:
            self._container = None
            raise

    def write(self, image: NDArray[np.uint8], at: int, step: float) -> None:
        """Append `image` (H, W, 3) uint8 BGR, which is shown from `at` on, in units, for about `step` seconds.

        Raises:
            FAILURES: It cannot be written; is the disk full?
        """
        assert self._container is not None
        frame = to_yuv(image, self._encoder)
        frame.pts, frame.time_base, frame.duration = at, self._unit, max(1, round(step / self._unit))
        if at >= self._next_key:
            frame.pict_type = PictureType.I
            self._next_key = at + round(KEYFRAMES_S / self._unit)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds; closing twice does no harm.

        Raises:
            FAILURES: It cannot be written.
        """
        container, self._container = self._container, None
        if container is None:
            return
        try:
            container.mux(self._stream.encode(None))
        finally:
            container.close()


def finish(
    recorded: Path,
    path: Path,
    suffix: str,
    *,
    rate: Fraction,
    end: float,
    sound: Path | None = None,
    start: float = 0.0,
    until: float = math.inf,
) -> None:
    """Write the video of `recorded` as `path` in its final form: the same pictures, an index at the front, and sound.

    Sound that is broken costs a warning, and never the video.

    Args:
        recorded: The file as it grew.
        path: The file to be made.
        suffix: Of the video, one of `CONTAINERS`.
        rate: Frames a second, on average.
        end: When the last frame ends, seconds.
        sound: The video whose sound is added, or None.
        start: The place in that video where the first frame is, seconds.
        until: When to give up, by `time.monotonic`.

    Raises:
        FAILURES: The file cannot be written, or not until then.
    """
    copy = partial(_copy, recorded, path, CONTAINERS[suffix], rate, end, until)
    if sound is not None:
        try:
            with Sound(sound, start, end) as opened:
                copy(opened)
        except TimeoutError:
            raise
        except FAILURES as error:
            reason = getattr(error, "strerror", None) or error
            logger.warning("%s: its sound cannot be kept (%s); the video is written without", sound, reason)
        else:
            return
    copy(None)


def plays(path: Path) -> bool:
    """Whether the first frame of a video can be read."""
    try:
        with av.open(str(path), "r") as container:
            return any(True for _ in container.decode(video=0))
    except FAILURES:
        return False


def _copy(recorded: Path, path: Path, name: str, rate: Fraction, end: float, until: float, sound: Sound | None) -> None:
    """Copy packets of pictures and sound, interleaved by time, so that few are held at once."""
    with av.open(str(recorded), "r") as source, av.open(str(path), "w", format=name, container_options=_FINAL[name]) as out:
        video = source.streams.video[0]
        copied = out.add_stream_from_template(video, opaque=True)
        copied.rate = rate
        if video.sample_aspect_ratio:  # MP4 has it apart from the codec's parameters, which alone are copied.
            copied.sample_aspect_ratio = video.sample_aspect_ratio
        copied.time_base = video.time_base
        heard = iter(sound.packets()) if sound is not None and sound.add_to(out) else iter(())
        waiting = next(heard, None)
        unit = video.time_base
        assert unit is not None
        held: av.Packet[Any] | None = None
        for packet in source.demux(video):
            if not packet.size or packet.pts is None:
                continue
            if time.monotonic() > until:
                raise TimeoutError("that takes too long for a run that is stopped")
            if held is not None:
                _mux(out, held, packet.pts)
            while waiting is not None and waiting[0] <= packet.pts * unit:
                out.mux(waiting[1])
                waiting = next(heard, None)
            packet.stream, held = copied, packet
        if held is not None:
            _mux(out, held, round(end / unit))
        while waiting is not None:
            out.mux(waiting[1])
            waiting = next(heard, None)


def _mux(out: OutputContainer, packet: av.Packet[Any], end: int) -> None:
    """Write a packet whose picture is shown until `end`, which containers do not know while they grow."""
    packet.duration = max(1, end - (packet.pts or 0))
    out.mux(packet)
