"""Drawing on pictures: people with their limbs, joints and identities, and the figures in the corner of a live picture.

Limbs are thick lines with round ends, and joints are such lines of no length: one kernel draws all of both.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Float, Image
from edgepose.errors import InputError
from edgepose.kernels.capsules import draw_capsules
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
_PARTS |= {"toe": "leg", "heel": "leg", "root": "arm"}
_PARTS |= {f"{finger}{joint}": "arm" for finger in ("thumb", "forefinger", "finger") for joint in range(1, 5)}
_OUTLINE: Colour = (24, 24, 24)
_TEXT: Colour = (240, 240, 240)

# A line is this part of the picture's shorter side: 4 px at 720p, 7 at 1080p.
_THICKNESS = 1 / 160
# How much further than half their thickness lines and discs reach to each side, in pixels: that of OpenCV's anti-aliased ones.
_LINE_EXTRA, _DISC_EXTRA = 0.67, 0.72
# Points that lie this far from the picture's corner, in pixels, are mistakes, and are not drawn.
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
    width = max(1, round(min(image.shape[:2]) * _THICKNESS) if thickness is None else min(thickness, max(image.shape[:2])))
    style = _style(poses.skeleton)
    people, parts = len(poses), len(style.ends)
    ends = np.where(shown[..., None], poses.keypoints, np.float32(np.nan))[:, style.ends]  # (N, P, 2, 2)
    if color_by == "limb":
        ends = ends.swapaxes(0, 1)
        sizes, colours = style.sizes.repeat(people), style.colours.repeat(people, axis=0)
    else:
        # The best person last, on top.
        ends = ends[::-1]
        numbers = range(people) if poses.ids is None else poses.ids.tolist()
        sizes = np.tile(style.sizes, people)
        colours = np.array([person_colour(number) for number in numbers], np.uint8)[::-1].repeat(parts, axis=0)
    ends = ends.reshape(-1, 2, 2)
    border = max(2, round(width / 2))  # On both sides together: it sets the figure off from any background.
    pixels = np.asarray(canvas)  # The kernel takes arrays alone, none of their subclasses.
    draw_capsules(pixels, ends, _radii(sizes, width, border), np.full(colours.shape, _OUTLINE, np.uint8))
    draw_capsules(pixels, ends, _radii(sizes, width, 0), colours)
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


def _radii(sizes: Float, width: int, border: int) -> Float:
    """The radii (M,) in pixels of lines, whose size is 0, and of discs, whose size is in line widths."""
    # As in OpenCV, an odd thickness of a line counts as the next even one.
    line = (width + border + 1) // 2 + _LINE_EXTRA
    discs = (np.round(sizes * width) + border) / 2 + _DISC_EXTRA
    return np.where(sizes > 0, discs, line).astype(np.float32)


def _write_id(canvas: Image, number: int, found: Float, width: int) -> None:
    """Write `number` on a label above the highest of the keypoints `found` (M, 2), inside the picture."""
    height, across = canvas.shape[:2]
    width = min(width, max(1, min(height, across) // 20))  # However thick lines are, labels are smaller than the picture.
    label = _label(number, width)
    high, wide = label.shape[:2]
    x, y = found[found[:, 1].argmin()]
    # Between the edges, so that the number of somebody half in the picture can still be read.
    left = max(0, int(min(x - wide / 2, across - wide)))
    top = max(0, int(min(y - 3 * width - high, height - high)))
    canvas[top : top + high, left : left + wide] = label[: height - top, : across - left]


@lru_cache(maxsize=64)
def _label(number: int, width: int) -> Image:
    """`number` on a rectangle of its colour, for lines that are `width` pixels wide."""
    text, font, scale, stroke = str(number), cv2.FONT_HERSHEY_SIMPLEX, max(0.35, 0.15 * width), max(1, width // 3)
    (wide, high), _ = cv2.getTextSize(text, font, scale, stroke)
    label = np.full((high + 2 * width, wide + 2 * width, 3), person_colour(number), np.uint8)
    cv2.putText(label, text, (width, high + width), font, scale, _OUTLINE, stroke, cv2.LINE_AA)
    return label


class _Style(NamedTuple):
    """The P parts of a skeleton, limbs and joints, in the order in which they are drawn."""

    ends: NDArray[np.intp]  # (P, 2) keypoints at both ends; twice the same one for a joint
    sizes: Float  # (P,) of joints in line widths, 0 for limbs
    colours: Image  # (P, 3)


@lru_cache(maxsize=8)
def _style(skeleton: Skeleton) -> _Style:
    side = [{"r": "right", "l": "left"}.get(name[0], "middle") if name[1:2] == "_" else "middle" for name in skeleton.keypoints]
    part = [_PARTS.get(name.rpartition("_")[2], "face") for name in skeleton.keypoints]

    def colour(*ends: int) -> Colour:
        # From the neck to a shoulder is that shoulder's side; from hip to hip is neither.
        sides = {side[i] for i in ends} - {"middle"}
        if len(sides) != 1:
            return _MIDDLE
        return _PALETTE[sides.pop(), max((part[i] for i in ends), key=("face", "arm", "leg").index)]

    # In the order of the palette, so that the middle is drawn on top; eyes and ears are small, as they lie close together.
    order = {colour: place for place, colour in enumerate((*_PALETTE.values(), _MIDDLE))}
    limbs = sorted(((colour(*ends), 0.0, ends) for ends in skeleton.limbs), key=lambda limb: order[limb[0]])
    joints = sorted(
        ((colour(i), 1.4 if part[i] == "face" else 2.0, (i, i)) for i in range(len(skeleton))),
        key=lambda joint: (order[joint[0]], joint[1]),
    )
    colours, sizes, ends = zip(*limbs, *joints, strict=True)
    return _Style(np.array(ends, np.intp), np.array(sizes, np.float32), np.array(colours, np.uint8))
