"""Poses drawn with OpenCV's anti-aliased lines: what `edgepose.drawing` is compared to, in looks and in time."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.drawing import person_colour
from edgepose.poses import Poses
from edgepose.skeleton import Skeleton

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR

OUTLINE: Colour = (24, 24, 24)
MIDDLE: Colour = (240, 240, 240)
# In the order in which they are drawn.
PALETTE: dict[tuple[str, str], Colour] = {
    ("r", "face"): (66, 228, 240),
    ("r", "arm"): (0, 159, 230),
    ("r", "leg"): (40, 84, 235),
    ("l", "face"): (233, 180, 86),
    ("l", "arm"): (215, 130, 20),
    ("l", "leg"): (130, 185, 0),
}
COLOURS = (*PALETTE.values(), MIDDLE)
PARTS = {"shoulder": "arm", "elbow": "arm", "wrist": "arm", "hip": "leg", "knee": "leg", "ankle": "leg"}
SHIFT = 4  # coordinates are in sixteenths of a pixel
FAR = 1e6


def draw_with_opencv(image: Image, poses: Poses, color_by: Literal["limb", "person"] = "limb") -> Image:
    """`image` with `poses` drawn on it, without their identities, as a new image."""
    canvas = image.copy()
    shown = np.asarray((poses.scores > 0) & (np.abs(poses.keypoints) < FAR).all(axis=2), np.bool_)
    width = max(1, round(min(image.shape[:2]) / 160))
    points = (np.where(shown[..., None], poses.keypoints, 0) * (1 << SHIFT)).round().astype(np.int32)
    limbs = np.array(poses.skeleton.limbs)
    bones = points[:, limbs]
    has_bone = shown[:, limbs[:, 0]] & shown[:, limbs[:, 1]]
    joints = np.repeat(points[:, :, None], 2, axis=2)
    limb_colours, joint_colours, sizes = _style(poses.skeleton)

    def discs(people: slice, chosen: NDArray[np.bool_], colour: Colour, border: int) -> None:
        for size in (1.4, 2.0):
            which = chosen & (sizes == size)
            _lines(canvas, joints[people][:, which][shown[people][:, which]], colour, round(size * width) + border)

    everybody, everything = slice(None), np.ones(len(poses.skeleton), bool)
    border = max(2, round(width / 2))
    _lines(canvas, bones[has_bone], OUTLINE, width + border)
    discs(everybody, everything, OUTLINE, border)
    if color_by == "limb":
        for colour in COLOURS:
            chosen = (limb_colours == colour).all(axis=1)
            _lines(canvas, bones[:, chosen][has_bone[:, chosen]], colour, width)
        for colour in COLOURS:
            discs(everybody, (joint_colours == colour).all(axis=1), colour, 0)
    else:
        for i in reversed(range(len(poses))):
            colour = person_colour(i if poses.ids is None else int(poses.ids[i]))
            _lines(canvas, bones[i][has_bone[i]], colour, width)
            discs(slice(i, i + 1), everything, colour, 0)
    return canvas


def _lines(canvas: Image, ends: NDArray[np.int32], colour: Colour, thickness: int) -> None:
    """Draw lines (M, 2, 2)."""
    if len(ends):
        cv2.polylines(canvas, list(ends[:, :, None]), False, colour, thickness, cv2.LINE_AA, SHIFT)


def _style(skeleton: Skeleton) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.float64]]:
    """The colours of limbs (L, 3) and of joints (K, 3), and the joints' sizes (K,) in line widths."""
    side = [name[0] if name[1] == "_" else "" for name in skeleton.keypoints]
    part = [PARTS.get(name.rpartition("_")[2], "face") for name in skeleton.keypoints]

    def colour(*ends: int) -> Colour:
        sides = {side[i] for i in ends} - {""}
        if len(sides) != 1:
            return MIDDLE
        return PALETTE[sides.pop(), max((part[i] for i in ends), key=("face", "arm", "leg").index)]

    sizes = np.array([1.4 if each == "face" else 2.0 for each in part])
    return np.array([colour(*ends) for ends in skeleton.limbs]), np.array([colour(i) for i in range(len(skeleton))]), sizes
