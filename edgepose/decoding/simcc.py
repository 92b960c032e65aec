"""The decoder of SimCC (arXiv 2107.03332), as RTMPose (arXiv 2303.07399) answers it: a row of bins for each axis of a keypoint.

Two outputs, (B, K, r w) for x and (B, K, r h) for y, where r is the split ratio: the bins to a pixel of the input, 2 in RTMPose
(mmpose, projects/rtmpose). A keypoint is at the highest bin of each axis, divided by r, in pixels of the input; bin 0 is the
input's left or upper edge, as with HRNet's crops. Its score is the lower of both heights. Legend: B crops, K keypoints.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgepose.arrays import Float, Ints
from edgepose.decoding import DecodedPoses, SizedBy
from edgepose.decoding.heatmaps import rate
from edgepose.errors import InputError, ModelError
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.zoo.registry import Model


class SimCCDecoder:
    """A decoder of SimCC; see `edgepose.decoding.Decoder`. The split ratio follows from the outputs' sizes.

    Raises:
        ModelError: The network does not give two outputs with a row a keypoint.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    sized_by: ClassVar[SizedBy] = "height"

    def __init__(self, model: Model, output_channels: tuple[int, ...], min_score: float) -> None:
        self._name, self._size = model.name, model.size
        self._skeleton = get_skeleton(model.skeleton or "")
        self._min_score = np.float32(min_score)
        count = len(self._skeleton)
        if len(output_channels) != 2 or any(channels not in (0, count) for channels in output_channels):
            raise ModelError(
                f"the outputs of {model.name} have {list(output_channels)} rows; expected two outputs with {count} rows each, "
                f"as {self._skeleton.name} has keypoints: mend skeleton or decoder in its description"
            )
        self._warm_up()

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        height, width = size
        x_bins, y_bins = self._told_apart(outputs)
        shapes, count, ratio = (x_bins.shape, y_bins.shape), len(self._skeleton), x_bins.shape[-1] / width
        if x_bins.shape[1:] != (count, ratio * width) or y_bins.shape[1:] != (count, ratio * height) or ratio < 1:
            raise ModelError(
                f"{self._name} answers {shapes[0]} and {shapes[1]} to {height} x {width} pixels; expected (B, {count}, "
                f"{2 * width}) for x and (B, {count}, {2 * height}) for y, or another number of bins to a pixel that both "
                "share: mend size or skeleton in its description"
            )
        keypoints, scores = decode_simcc(x_bins, y_bins)
        return DecodedPoses(keypoints, scores, rate(keypoints, scores, self._min_score, np.float32(1 / ratio)))

    def merge_mirrored(self, outputs: list[Float], mirrored: list[Float]) -> list[Float]:
        """See `edgepose.decoding.FlipDecoder`."""
        return merge_mirrored(self._told_apart(outputs), self._told_apart(mirrored), self._skeleton)

    def _told_apart(self, outputs: list[Float]) -> tuple[Float, Float]:
        """The bins of x and those of y: the shorter axis has fewer. Those of a square input come in this order."""
        first, second = outputs
        height, width = self._size
        is_swapped = height != width and (first.shape[-1] < second.shape[-1]) != (width < height)
        return (second, first) if is_swapped else (first, second)

    def _warm_up(self) -> None:
        height, width = self._size
        outputs = [np.zeros((1, len(self._skeleton), side), np.float32) for side in (width, height)]
        self(self.merge_mirrored(outputs, outputs), self._size)


def decode_simcc(x_bins: Float, y_bins: Float) -> tuple[Float, Float]:
    """The highest bin of every keypoint on both axes, and the lower of both heights.

    Args:
        x_bins: (B, K, n) of x. NaN counts as lower than everything.
        y_bins: (B, K, m) of y.

    Returns:
        Points (B, K, 2) x, y in bins and scores (B, K) in [0, 1]; NaN and 0 where the height is not above 0 on an axis.

    Raises:
        InputError: The shapes do not fit together.
    """
    fit = x_bins.ndim == y_bins.ndim == 3 and x_bins.shape[:2] == y_bins.shape[:2]
    if not fit or 0 in (x_bins.shape[2], y_bins.shape[2]):
        raise InputError(f"bins have shapes {x_bins.shape} and {y_bins.shape}; expected (B, K, n) and (B, K, m)")
    (x, x_height), (y, y_height) = _highest(x_bins), _highest(y_bins)
    scores = np.clip(np.minimum(x_height, y_height), 0, 1, dtype=np.float32)
    points = np.stack([x, y], axis=2).astype(np.float32)
    points[scores == 0] = np.nan
    return points, scores


def _highest(bins: Float) -> tuple[Ints, Float]:
    """The places (B, K) of the highest of `bins` (B, K, n), of equals the first, and their heights; NaN is lower than all."""
    places = bins.argmax(axis=2)
    heights = np.take_along_axis(bins, places[..., None], axis=2)[..., 0]
    if np.isnan(heights).any():  # NumPy takes NaN for the highest. It is rare, so that others do not pay for looking.
        return _highest(np.where(np.isnan(bins), np.float32(-np.inf), bins))
    return places, heights


def merge_mirrored(bins: tuple[Float, Float], mirrored: tuple[Float, Float], skeleton: Skeleton) -> list[Float]:
    """The mean of the bins of x and y (B, K, n), (B, K, m), and of those of the mirrored crops, which are mirrored back.

    The arithmetic is mmpose's (`flip_vectors`): left and right swapped, the bins of x reversed, with no shift.

    Raises:
        InputError: The two do not have the same shapes, or not the skeleton's K.
    """
    shapes = [part.shape for part in (*bins, *mirrored)]
    if shapes[:2] != shapes[2:] or any(len(shape) != 3 or shape[1] != len(skeleton) for shape in shapes):
        raise InputError(f"bins of {shapes[:2]} and mirrored of {shapes[2:]}; expected (B, {len(skeleton)}, ...) twice")
    flip = list(skeleton.flip)
    half = np.float32(0.5)
    return [(bins[0] + mirrored[0][:, flip, ::-1]) * half, (bins[1] + mirrored[1][:, flip]) * half]
