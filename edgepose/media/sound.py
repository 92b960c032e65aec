"""The sound of a video, for one that is made from it: copied as it is where the new file can hold it, or encoded anew."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

logger = logging.getLogger(__name__)

# The codecs of sound, by FFmpeg's names, that players expect in a file of such a container, and the encoder for all others.
# Matroska holds everything.
_HELD: dict[str, tuple[frozenset[str] | None, str]] = {
    "mp4": (frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}), "aac"),
    "mov": (frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"}), "aac"),
    "matroska": (None, "aac"),
    "webm": (frozenset({"opus", "vorbis"}), "libopus"),
    "avi": (frozenset({"mp3", "ac3", "pcm_s16le", "pcm_u8"}), "pcm_s16le"),
}
_OPUS_RATE = 48_000
# What is wrong with broken sound, by the names of Python and PyAV.
FAILURES = (av.error.FFmpegError, OSError, ValueError, OverflowError)


class Sound:
    """The sound of a file, as packets for another, for as long as its pictures last.

    Use it in a `with` statement.

    Args:
        path: The file.
        start: The place in it that becomes the beginning, seconds after its own.
        end: The place where the sound ends, seconds after `start`.

    Raises:
        FAILURES: The file cannot be opened.
    """

    def __init__(self, path: Path, start: float, end: float) -> None:
        self._path, self._start, self._end = path, start, end
        self._input: InputContainer | None = None
        self._source: AudioStream | None = None
        self._target: AudioStream | None = None
        self._resampler: AudioResampler | None = None

    def __enter__(self) -> Sound:
        # A list of files, or a part of it on the network, is not followed.
        with ExitStack() as stack:
            self._input = stack.enter_context(
                av.open(str(self._path.absolute()), "r", options={"protocol_whitelist": "file"}, metadata_errors="ignore")
            )
            stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._input is not None:
            self._input.close()

    def add_to(self, container: OutputContainer) -> bool:
        """Add a stream for it to `container`; False if there is no sound.

        Raises:
            FAILURES: The sound is broken, or of a kind that nothing here decodes.
        """
        assert self._input is not None
        tracks = self._input.streams.audio
        best = self._input.streams.best("audio")
        if not isinstance(best, AudioStream):
            return False
        if len(tracks) > 1:
            logger.warning(
                "%s: has %d tracks of sound; the video that is written gets number %d%s",
                self._path, len(tracks), tracks.index(best) + 1, f" ({best.language})" if best.language else "",
            )  # fmt: skip
        self._source = best
        held, encoder = _HELD[container.format.name]
        codec = best.codec_context.codec.canonical_name
        if held is None or codec in held:
            try:
                self._target = container.add_stream_from_template(best, opaque=True)
            except ValueError:  # Matroska does not hold everything after all.
                logger.debug("%s: the sound is encoded anew", self._path)
            else:
                return True
        rate = _OPUS_RATE if encoder == "libopus" else best.codec_context.sample_rate
        layout = "mono" if best.codec_context.layout.nb_channels == 1 else "stereo"
        target = container.add_stream(encoder, rate=rate)
        assert isinstance(target, AudioStream)
        target.codec_context.layout = layout
        if encoder != "pcm_s16le":
            target.codec_context.bit_rate = 96_000 if layout == "mono" else 160_000
        target.codec_context.open()
        size = target.codec_context.frame_size or None
        self._resampler = AudioResampler(target.codec_context.format, layout, rate, size)
        self._target = target
        return True

    def packets(self) -> Iterator[tuple[float, Packet[Any]]]:
        """The packets, each with its time in seconds; where the sound is broken, those before.

        Reads as far as is asked for, and keeps none.
        """
        assert self._input is not None
        assert self._source is not None
        try:
            yield from self._copied() if self._resampler is None else self._encoded(self._resampler)
        except FAILURES as error:
            logger.warning(
                "%s: its sound is broken and ends early in the video that is written: %s", self._path, _reason(error)
            )

    def _placed(self) -> Iterator[tuple[float, Packet[Any]]]:
        """The packets of the file, with their times from `start` on."""
        assert self._input is not None
        assert self._source is not None
        unit = self._source.time_base
        assert unit is not None
        # Frames have their times on the file's clock, which begins with the first of its streams.
        zero = self._start + (self._input.start_time or 0) / av.time_base
        if self._start > 1:
            self._input.seek(math.floor((zero - 1) * av.time_base))
        for packet in self._input.demux(self._source):
            if packet.pts is None or not packet.size:
                continue
            at = float(packet.pts * unit) - zero
            if at >= self._end:
                # Containers keep streams together; what is far behind the end does not come before it.
                if at >= self._end + 10:
                    return
                continue
            yield at, packet

    def _copied(self) -> Iterator[tuple[float, Packet[Any]]]:
        assert self._source is not None
        assert self._target is not None
        unit = self._source.time_base
        assert unit is not None
        last = -1
        shift: int | None = None
        for at, packet in self._placed():
            if at < -1e-3 or packet.pts is None:
                continue
            if shift is None:
                shift = packet.pts - max(0, round(at / unit))
            pts = packet.pts - shift
            if pts <= last:  # A clock that runs back: no container takes it.
                continue
            last = packet.pts = packet.dts = pts
            packet.stream, packet.time_base = self._target, unit
            yield at, packet

    def _encoded(self, resampler: AudioResampler) -> Iterator[tuple[float, Packet[Any]]]:
        assert self._source is not None
        assert self._target is not None
        rate = self._target.codec_context.sample_rate
        unit = Fraction(1, rate)
        written = -1  # Samples; known with the first frame.
        for at, packet in self._placed():
            for decoded in self._source.decode(packet):
                decoded.pts = None
                for frame in resampler.resample(decoded):
                    if at + frame.samples / rate < 0 and written < 0:
                        continue
                    written = max(0, round(at * rate)) if written < 0 else written
                    frame.pts, frame.time_base = written, unit
                    written += frame.samples
                    for encoded in self._target.encode(frame):
                        yield frame.pts / rate, encoded
        for frame in resampler.resample(None):
            if written >= 0:
                frame.pts, frame.time_base = written, unit
                written += frame.samples
                for encoded in self._target.encode(frame):
                    yield frame.pts / rate, encoded
        for encoded in self._target.encode(None):
            yield written / rate, encoded


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
