"""Drawing on pictures: people with their limbs, joints and identities, and the figures in the corner of a live picture.

All lines of a colour go to OpenCV in one call; joints are lines of no length, which its round line ends turn into discs.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Float, Image
from edgepose.errors import InputError
from edgepose.media.images import check_image
from edgepose.opencv import cv2
from edgepose.poses import Poses
from edgepose.skeleton import Skeleton

Colour = tuple[int, int, int]  # BGR

# Warm colours for the right side, cool ones for the left, told apart also by colour-blind people: Okabe and Ito's
# palette (jfly.uni-koeln.de/color), two of its colours brightened for dark photos.
_PALETTE: dict[tuple[str, str], Colour] = {
    ("right", "face"): (66, 228, 240),  # yellow
    ("right", "arm"): (0, 159, 230),  # orange
    ("right", "leg"): (40, 84, 235),  # vermilion
    ("left", "face"): (233, 180, 86),  # sky blue
    ("left", "arm"): (215, 130, 20),  # blue
    ("left", "leg"): (130, 185, 0),  # bluish green
}
_MIDDLE: Colour = (240, 240, 240)
_PARTS = {"shoulder": "arm", "elbow": "arm", "wrist": "arm", "hip": "leg", "knee": "leg", "ankle": "leg"}
_OUTLINE: Colour = (24, 24, 24)
_TEXT: Colour = (240, 240, 240)

# A line is this part of the picture's shorter side: 4 px at 720p, 7 at 1080p.
_THICKNESS = 1 / 160
# OpenCV takes coordinates in sixteenths of a pixel ...
_SHIFT = 4
# ... as 32-bit integers: points further out than this, in pixels, are not worth drawing exactly.
_FAR = 1e6
# The hues of neighbouring identities are the golden ratio of the circle apart, so that they differ however many there are.
_GOLDEN = 0.618034


def draw_poses(
    image: Image,
    poses: Poses,
    *,
    color_by: Literal["limb", "person"] = "limb",
    thickness: int | None = None,
    min_score: float = 0.0,
    out: Image | None = None,
) -> Image:
    """`image` with `poses` drawn on it; identities are written where a tracker gave them.

    Args:
        image: (H, W, 3) uint8 BGR.
        poses: People in pixels of `image`.
        color_by: "limb": a colour per limb, warm at the person's right, cool at the left. "person": a colour per
            identity, always the same for the same one, or per place in the list where there are none.
        thickness: Of lines, in pixels; None: by the size of the image.
        min_score: Keypoints that score less, in [0, 1], are not drawn.
        out: Where to draw, an array like `image`; `image` itself where it is not needed any more. None: a new one.

    Returns:
        `out`, or the new image.

    Raises:
        InputError: `image` is not an image, `color_by` is neither of the two, or `out` cannot hold the picture.
    """
    check_image(image)
    if color_by not in ("limb", "person"):
        raise InputError(f"color_by is {color_by!r}; expected 'limb' or 'person'")
    canvas = _canvas(image, out)
    shown = (poses.scores > 0) & (poses.scores >= min_score) & (np.abs(poses.keypoints) < _FAR).all(axis=2)
    if not shown.any():
        return canvas
    width = max(1, round(min(image.shape[:2]) * _THICKNESS)) if thickness is None else max(1, thickness)
    # NaN cannot be cast to an integer; the points that are not shown become 0.
    points = (np.where(shown[..., None], poses.keypoints, 0) * (1 << _SHIFT)).round().astype(np.int32)
    style = _style(poses.skeleton)
    bones = points[:, style.limbs]  # (N, L, 2, 2)
    has_bone = shown[:, style.limbs[:, 0]] & shown[:, style.limbs[:, 1]]  # (N, L)
    joints = np.repeat(points[:, :, None], 2, axis=2)  # (N, K, 2, 2)

    border = max(2, round(width / 2))  # On both sides together: it sets the figure off from any background.
    _lines(canvas, bones[has_bone], _OUTLINE, width + border)
    for size, chosen in style.discs:
        _lines(canvas, joints[:, chosen][shown[:, chosen]], _OUTLINE, round(size * width) + border)
    if color_by == "limb":
        for colour, chosen in style.limb_colours:
            _lines(canvas, bones[:, chosen][has_bone[:, chosen]], colour, width)
        for colour, size, chosen in style.joint_colours:
            _lines(canvas, joints[:, chosen][shown[:, chosen]], colour, round(size * width))
    else:
        # The best person last, on top.
        for i in reversed(range(len(poses))):
            colour = person_colour(i if poses.ids is None else int(poses.ids[i]))
            _lines(canvas, bones[i][has_bone[i]], colour, width)
            for size, chosen in style.discs:
                _lines(canvas, joints[i, chosen][shown[i, chosen]], colour, round(size * width))
    if poses.ids is not None:
        for number, person, found in zip(poses.ids.tolist(), poses.keypoints, shown, strict=True):
            if found.any():
                _write_id(canvas, number, person[found], width)
    return canvas


def draw_figures(image: Image, *, fps: float, people: int, dropped: int = 0) -> Image:
    """`image` (H, W, 3) uint8 BGR as a new image, with the rate and the counts of a live picture at its top left.

    Args:
        image: The picture.
        fps: Frames a second.
        people: The people in this frame.
        dropped: Frames that were passed over so far; not written while there are none.
    """
    canvas = image.copy()
    words = [f"{fps:.1f} FPS", f"{people} {'person' if people == 1 else 'people'}"]
    text, font = "   ".join([*words, f"{dropped} dropped"] if dropped else words), cv2.FONT_HERSHEY_SIMPLEX
    scale = max(0.4, min(image.shape[:2]) / 800)
    stroke = max(1, round(2 * scale))
    (wide, high), _ = cv2.getTextSize(text, font, scale, stroke)
    margin = round(0.5 * high)
    # On a dark rectangle, so that it can be read on any background.
    cv2.rectangle(canvas, (0, 0), (wide + 2 * margin, high + 2 * margin), _OUTLINE, cv2.FILLED)
    cv2.putText(canvas, text, (margin, high + margin), font, scale, _TEXT, stroke, cv2.LINE_AA)
    return canvas


def _canvas(image: Image, out: Image | None) -> Image:
    """The array to draw on: `out`, or a new image, with the content of `image`."""
    if out is None:
        return image.copy()
    if out.shape != image.shape or out.dtype != np.uint8 or not (out.flags.c_contiguous and out.flags.writeable):
        kind = ("" if out.flags.writeable else "read-only ") + ("" if out.flags.c_contiguous else "non-contiguous ")
        raise InputError(f"out is {kind}{out.dtype} {out.shape}; expected writeable, contiguous uint8 {image.shape}")
    if out is not image:
        np.copyto(out, image)
    return out


def person_colour(number: int) -> Colour:
    """The colour (BGR) of identity `number`: the same for the same number, well apart for neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.65, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _lines(canvas: Image, ends: NDArray[np.int32], colour: Colour, thickness: int) -> None:
    """Draw lines (M, 2, 2) in sixteenths of a pixel."""
    if len(ends):
        cv2.polylines(canvas, list(ends[:, :, None]), False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _write_id(canvas: Image, number: int, found: Float, width: int) -> None:
    """Write `number` on a label above the highest of the keypoints `found` (M, 2), inside the picture."""
    text, font, scale, stroke = str(number), cv2.FONT_HERSHEY_SIMPLEX, max(0.35, 0.15 * width), max(1, width // 3)
    (wide, high), _ = cv2.getTextSize(text, font, scale, stroke)
    x, y = found[found[:, 1].argmin()]
    # Between the edges, so that the number of somebody half in the picture can still be read.
    left = int(np.clip(x - wide / 2, width, max(width, canvas.shape[1] - wide - width)))
    bottom = int(np.clip(y - 4 * width, high + width, max(high + width, canvas.shape[0] - width)))
    corners = (left - width, bottom - high - width), (left + wide + width - 1, bottom + width - 1)
    cv2.rectangle(canvas, *corners, person_colour(number), cv2.FILLED)
    cv2.putText(canvas, text, (left, bottom), font, scale, _OUTLINE, stroke, cv2.LINE_AA)


class _Style(NamedTuple):
    """The colours and sizes of a skeleton. Sizes of discs are in line widths; limbs and joints are given by their indices."""

    limbs: NDArray[np.intp]  # (L, 2) keypoints
    limb_colours: list[tuple[Colour, NDArray[np.intp]]]
    discs: list[tuple[float, NDArray[np.intp]]]
    joint_colours: list[tuple[Colour, float, NDArray[np.intp]]]


@lru_cache(maxsize=8)
def _style(skeleton: Skeleton) -> _Style:
    side = [{"r": "right", "l": "left"}[name[0]] if name[1] == "_" else "middle" for name in skeleton.keypoints]
    part = [_PARTS.get(name.rpartition("_")[2], "face") for name in skeleton.keypoints]

    def colour(*ends: int) -> Colour:
        # From the neck to a shoulder is that shoulder's side; from hip to hip is neither.
        sides = {side[i] for i in ends} - {"middle"}
        if len(sides) != 1:
            return _MIDDLE
        return _PALETTE[sides.pop(), max((part[i] for i in ends), key=("face", "arm", "leg").index)]

    sizes = [1.4 if p == "face" else 2.0 for p in part]  # Eyes and ears lie close together.
    limbs = [colour(*ends) for ends in skeleton.limbs]
    joints = [(colour(i), size) for i, size in enumerate(sizes)]
    # In this order, so that the middle is drawn on top.
    order = {colour: place for place, colour in enumerate((*_PALETTE.values(), _MIDDLE))}

    def where(values: list[Any], value: object) -> NDArray[np.intp]:
        return np.array([i for i, each in enumerate(values) if each == value], np.intp)

    return _Style(
        np.array(skeleton.limbs, np.intp),
        [(c, where(limbs, c)) for c in sorted(set(limbs), key=order.__getitem__)],
        [(size, where(sizes, size)) for size in sorted(set(sizes))],
        [(c, size, where(joints, (c, size))) for c, size in sorted(set(joints), key=lambda each: (order[each[0]], each[1]))],
    )
