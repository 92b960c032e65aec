"""Transforms from a frame to the network's input and back, as plain numbers: whole frames and crops around people.

Pixel centres lie at integers, so resizing a frame by `scale` maps x to (x + 0.5) * scale - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepose.arrays import Double, Float
from edgepose.errors import InputError

# Input shapes are drawn from a few aspect ratios (width / height), so that a folder of mixed pictures compiles few
# networks. These are the shapes of cameras and screens, upright and lying, with some between; a picture takes the
# narrowest that holds it at full height and is padded at the right.
ASPECT_BUCKETS: tuple[float, ...] = (1 / 2, 9 / 16, 2 / 3, 3 / 4, 7 / 8, 1.0, 7 / 6, 4 / 3, 3 / 2, 16 / 9, 2.0, 21 / 9)


@dataclass(frozen=True)
class Letterbox:
    """A frame scaled to fit the top left of an input of fixed size, its aspect kept, the rest padded.

    Attributes:
        height, width: The input's size in pixels.
        scaled_height, scaled_width: The part of it that the frame fills.
        scale_xy: Input pixels per frame pixel on each axis (they differ a little, by the rounding of the scaled size).
    """

    height: int
    width: int
    scaled_height: int
    scaled_width: int
    scale_xy: tuple[float, float]

    def to_frame(self, xy: Float) -> Float:
        """Points (..., 2) in input pixels as points in frame pixels."""
        scale = np.array(self.scale_xy, np.float32)
        return (xy + np.float32(0.5)) / scale - np.float32(0.5)


def fit_letterbox(frame_height: int, frame_width: int, height: int, width: int) -> Letterbox:
    """The letterbox of a frame in an input of `height` x `width` pixels."""
    scale = min(height / frame_height, width / frame_width)
    scaled_height = min(height, max(1, round(frame_height * scale)))
    scaled_width = min(width, max(1, round(frame_width * scale)))
    return Letterbox(height, width, scaled_height, scaled_width, (scaled_width / frame_width, scaled_height / frame_height))


def bucket_width(frame_height: int, frame_width: int, height: int, multiple: int) -> int:
    """The input width for a frame at input height `height`: the narrowest of `ASPECT_BUCKETS` that holds the frame.

    A frame that is wider than all of them takes the widest, and is scaled to its width. The result is a multiple of
    `multiple`, rounded up.
    """
    if height % multiple:
        raise InputError(f"input height {height} is not a multiple of {multiple}, which this model needs")
    # One part in a thousand of slack: 1366 x 768 is 16:9 to everybody but arithmetic.
    aspect = next((a for a in ASPECT_BUCKETS if a * 1.001 >= frame_width / frame_height), ASPECT_BUCKETS[-1])
    return -(-round(height * aspect) // multiple) * multiple


def cells_to_pixels(cells: Float, stride: int) -> Float:
    """Points in cells of maps as points in pixels of the input that is `stride` times larger: both have integer centres."""
    return (cells + np.float32(0.5)) * np.float32(stride) - np.float32(0.5)


# A crop is larger than the person's box by this factor on each axis: HRNet's (arXiv 1902.09212).
CROP_PADDING = 1.25


@dataclass(frozen=True, eq=False)
class Crops:
    """N parts of a frame, each with the aspect of the network's input, which they are scaled to.

    The arithmetic is that of HRNet's published code, which its weights expect: the middle of a box (cx, cy) comes to
    (width / 2, height / 2), with no half pixels. (Its unit of 200 pixels, `pixel_std`, cancels out between box and crop.)

    Attributes:
        height, width: The input's size in pixels.
        centres: (N, 2) middles of the boxes, in frame pixels.
        scales: (N,) input pixels per frame pixel, the same on both axes.
    """

    height: int
    width: int
    centres: Double
    scales: Double

    @property
    def matrices(self) -> Double:
        """(N, 2, 3) affine transforms from frame pixels to input pixels."""
        matrices = np.zeros((len(self.scales), 2, 3))
        matrices[:, 0, 0] = matrices[:, 1, 1] = self.scales
        matrices[:, :, 2] = (self.width / 2, self.height / 2) - self.scales[:, None] * self.centres
        return matrices

    def to_frame(self, xy: Float) -> Float:
        """Points (N, K, 2) in input pixels of each crop as points in frame pixels."""
        from_middle = (xy - np.array((self.width / 2, self.height / 2))) / self.scales[:, None, None]
        return np.asarray(from_middle + self.centres[:, None], np.float32)


def fit_crops(boxes: Float | Double, height: int, width: int) -> Crops:
    """The crops for an input of `height` x `width` pixels around `boxes` (N, 4) x0, y0, x1, y1, none of them empty.

    A box grows on its shorter side to the input's aspect, and then by `CROP_PADDING` on both.
    """
    corners = boxes.astype(np.float64)
    sides = corners[:, 2:] - corners[:, :2]
    # Input pixels per frame pixel: the side that fills the input decides.
    scales = (np.array((width, height)) / (sides * CROP_PADDING)).min(axis=1)
    return Crops(height, width, (corners[:, :2] + corners[:, 2:]) / 2, scales)
