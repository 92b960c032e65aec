"""Picture data as a source: one picture, or the frames of an animation, which is a video."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

from edgepose.errors import SourceError
from edgepose.media.animations import Step, is_animation, play, webp_steps
from edgepose.media.frames import Frame, Part, Source
from edgepose.media.images import MAX_PIXELS, decode_image, on_white

_START = 64  # Bytes that tell whether a picture is animated.


def open_pictures(data: bytes, name: str, part: Part) -> Source:
    """The picture in `data`, or the frames of an animation.

    Raises:
        SourceError: It is none; while iterating, for a single picture.
    """
    if is_animation(data[:_START]) and data.startswith(b"RIFF"):
        return _open_webp(data, name, part)
    if is_animation(data[:_START]) or data.startswith(b"GIF8"):
        from edgepose.media.videos import open_pipe  # Here, because PyAV takes a while to load, and most pictures need none.

        return open_pipe(io.BytesIO(data), name, part)
    refuse_times(part, name)
    return Source(name, "images", _one(data, name), total=1)


def refuse_times(part: Part, name: str) -> None:
    """Make sure that no part in time is asked of pictures.

    Raises:
        SourceError: One is.
    """
    if part.has_times:
        raise SourceError(f"{name}: pictures, which have no times; start and end choose a part of a video")


def _one(data: bytes, name: str) -> Iterator[Frame]:
    yield Frame(decode_image(data, name), 0, 0.0, name)


def _open_webp(data: bytes, name: str, part: Part) -> Source:
    try:
        canvas, steps = webp_steps(data)
    except ValueError:
        raise SourceError(f"{name}: damaged animation; copy or download it again") from None
    if canvas[0] * canvas[1] > MAX_PIXELS:
        raise SourceError(f"{name}: {canvas[0]} x {canvas[1]} pixels a frame; expected at most {MAX_PIXELS:,}")
    if not steps:
        raise SourceError(f"{name}: an animation without a frame; it may be cut short")
    duration = sum(step.seconds for step in steps)
    skipped: list[tuple[str, str]] = []
    frames = _webp_frames(canvas, steps, name, part, skipped)
    total = part.expected(len(steps), duration)
    return Source(name, "video", frames, fps=len(steps) / duration, total=total, skipped=skipped)


def _webp_frames(
    canvas: tuple[int, int], steps: list[Step], name: str, part: Part, skipped: list[tuple[str, str]]
) -> Iterator[Frame]:
    starts = itertools.accumulate((step.seconds for step in steps), initial=0.0)
    index = given = 0
    for start, shown in zip(starts, play(canvas, steps, name), strict=False):
        if start >= part.end:
            return
        if shown is None:
            skipped.append((f"{name}, before frame {index}", "damaged; frames that could not be decoded: 1"))
            continue
        if start >= part.start:
            if given % part.every == 0:
                yield Frame(on_white(shown, may_be_empty=True), index, start, name)
            given += 1
        index += 1
    if index == 0:
        raise SourceError(f"{name}: no frame of it can be decoded; it may be damaged or of an unknown format")
