"""Encoders of video: which of FFmpeg's writes which codec, how well, and how fast.

All of them write frames in the order in which they are shown, so that a file that is cut off anywhere plays up to there.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from edgepose.errors import InputError, OutputError
from edgepose.media.kinds import CODECS, VIDEO_CODECS

# The network has more to do for a frame, and wants the cores.
ENCODING_THREADS = min(4, max(1, cv2.getNumberOfCPUs() // 2))
# A picture that needs no other comes as often, so that players can jump there; and after so many others at the latest.
KEYFRAMES_S = 4.0
_KEYFRAMES = 300
# Encoders ask for the rate, and SVT-AV1 takes no higher one; frames may come faster all the same.
_MOST_FPS = 240
# The matrix between BGR and YUV is that of BT.601, as OpenCV has it (AVCOL_SPC_SMPTE170M), and so the file says.
MATRIX_601 = 6
_LAMBDA = 118  # FFmpeg's unit of `global_quality`: FF_QP2LAMBDA.


class Encoder(NamedTuple):
    """One of FFmpeg's encoders, with the options that it is used with.

    Attributes:
        name: FFmpeg's name of it.
        codec: One of `CODECS`.
        options: Of the encoder. `{threads}` stands for the number of threads.
        crf: The constant quality that is used by default; None if it has no such option.
        worst: The largest `crf`.
        quantizer: For encoders without `crf`, the size of a quantizer's step, from 2 (best) to 31.
        least_side: No side of a frame may be shorter, pixels.
    """

    name: str
    codec: str
    options: dict[str, str]
    crf: int | None = None
    worst: int = 51
    quantizer: int | None = None
    least_side: int = 16


# Presets and qualities chosen by `benchmarks/encoders.py`: about what MPEG-4 costs, in about half of its bytes.
ENCODERS = (
    # Threads that share a frame rather than take one each do not hold frames back.
    Encoder("libx264", "h264", {"preset": "ultrafast", "x264-params": "sliced-threads=1"}, 22),
    Encoder("libopenh264", "h264", {"rc_mode": "quality", "allow_skip_frames": "0"}),
    Encoder(
        "libx265",
        "hevc",
        {
            "preset": "ultrafast",
            "forced-idr": "1",
            "x265-params": "log-level=none:bframes=0:rc-lookahead=0:pools={threads}",
            "tag": "hvc1",
        },
        24,
        least_side=64,  # It writes beyond its memory for frames that are less wide than a block.
    ),
    Encoder(
        "libvpx-vp9",
        "vp9",
        {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0", "auto-alt-ref": "0", "b": "0"},
        32,
        63,
    ),
    Encoder("libsvtav1", "av1", {"preset": "11", "svtav1-params": "pred-struct=1:lp={threads}"}, 32, 63),
    Encoder("libaom-av1", "av1", {"usage": "realtime", "cpu-used": "9", "row-mt": "1", "lag-in-frames": "0", "b": "0"}, 32, 63),
    Encoder("mpeg4", "mpeg4", {}, quantizer=4),
    Encoder("mjpeg", "mjpeg", {}, quantizer=3),
)


def choose_encoders(path: Path, codec: str | None, crf: int | None) -> list[Encoder]:
    """The encoders to try for a video at `path`, best first.

    Args:
        path: Its suffix says which codecs the file can hold.
        codec: One of `CODECS`, or None: the first for the suffix, and MPEG-4 where FFmpeg has no encoder for that.
        crf: The quality that is asked for, or None.

    Raises:
        OutputError: The suffix is unknown, such a file holds no such codec, or there is no encoder for it.
        InputError: There is no such codec, or the quality is none of its.
    """
    suffix = path.suffix.lower()
    held = VIDEO_CODECS.get(suffix)
    if held is None:
        raise OutputError(f"{path}: unknown video suffix {path.suffix!r}; expected one of {', '.join(VIDEO_CODECS)}")
    if codec is not None and codec not in CODECS:
        raise InputError(f"codec is {codec!r}; expected one of {', '.join(CODECS)}")
    if codec is not None and codec not in held:
        others = ", ".join(each for each, codecs in VIDEO_CODECS.items() if codec in codecs)
        raise OutputError(f"{path}: a {suffix} does not hold {codec}; expected one of {', '.join(held)}, or a {others}")
    codecs = [codec] if codec is not None else [held[0], *(("mpeg4",) if "mpeg4" in held else held[1:])]
    wanted = [encoder for each in codecs for encoder in ENCODERS if encoder.codec == each]
    found = [encoder for encoder in wanted if has_encoder(encoder.name)]
    if not found:
        missing = ", ".join(encoder.name for encoder in wanted)
        raise OutputError(f"{path}: the FFmpeg inside PyAV has no encoder for {codecs[0]} ({missing}); give another --codec")
    if crf is not None:
        with_crf = [encoder for encoder in found if encoder.crf is not None]
        if not with_crf:
            raise InputError(f"crf is {crf}; {found[0].codec} by {found[0].name} has no such quality; leave it out")
        found = with_crf
        if not 0 <= crf <= found[0].worst:
            raise InputError(f"crf is {crf}; expected 0 (best) to {found[0].worst} (smallest) for {found[0].codec}")
    return found


def has_encoder(name: str) -> bool:
    """Whether the FFmpeg inside PyAV has this encoder."""
    with suppress(av.codec.codec.UnknownCodecError):
        return av.Codec(name, "w").is_encoder
    return False


def add_video(
    container: OutputContainer,
    encoder: Encoder,
    size: tuple[int, int],
    rate: Fraction,
    base: Fraction,
    aspect: Fraction,
    crf: int | None,
) -> VideoStream:
    """Add a stream of video to `container`, with the encoder opened.

    Args:
        container: The file.
        encoder: Writes the frames.
        size: (height, width) of the frames, even.
        rate: The frames a second to expect; a hint.
        base: The unit of the frames' times, seconds.
        aspect: The width of a pixel over its height.
        crf: The quality, or None.

    Raises:
        av.error.FFmpegError: The encoder cannot be opened for such frames.
        ValueError: The file holds no such video.
    """
    options = {key: value.format(threads=ENCODING_THREADS) for key, value in encoder.options.items()}
    tag = options.pop("tag", None)
    stream = container.add_stream(encoder.name, rate=min(rate, Fraction(_MOST_FPS)), options=options)
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.height, context.width = size
    context.time_base = base
    context.sample_aspect_ratio = aspect
    context.gop_size = _KEYFRAMES
    context.thread_count = ENCODING_THREADS
    if tag is not None:
        context.codec_tag = tag
    if encoder.crf is not None:
        context.options["crf"] = str(encoder.crf if crf is None else crf)
    if encoder.quantizer is not None:
        context.flags |= Flags.qscale
        context.global_quality = encoder.quantizer * _LAMBDA
    context.pix_fmt = "yuvj420p" if encoder.name == "mjpeg" else "yuv420p"
    _tag_colours(context, is_full=encoder.name == "mjpeg")
    context.open()
    return stream


def to_yuv(image: NDArray[np.uint8], encoder: Encoder) -> VideoFrame:
    """`image` (H, W, 3) uint8 BGR, with even sides, as the encoder takes it."""
    is_full = encoder.name == "mjpeg"
    if is_full:
        frame = VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuvj420p")
    else:
        # A third of what swscale takes.
        frame = VideoFrame.from_ndarray(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8), "yuv420p")
    _tag_colours(frame, is_full=is_full)
    return frame


def _tag_colours(what: VideoFrame | av.VideoCodecContext, *, is_full: bool) -> None:
    what.colorspace = MATRIX_601
    what.color_range = ColorRange.JPEG if is_full else ColorRange.MPEG
    what.color_primaries, what.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
