"""Boxes around people, for top-down models: from the caller, from an SSD-style detector, or around bottom-up people.

Boxes are (N, 4) x0, y0, x1, y1 in pixels of the frame, or (N, 5) with a confidence in [0, 1] behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Float, Image
from edgepose.engines import Engine
from edgepose.errors import InputError, ModelError
from edgepose.kernels.resizing import resize_into
from edgepose.poses import Poses
from edgepose.skeleton import COCO17
from edgepose.zoo.registry import Model

_log = logging.getLogger(__name__)

Detector = Callable[[Image], Any]
"""From an image (H, W, 3) uint8 BGR to boxes."""

# The most people in a frame; the most confident are kept. Each costs a run of the network.
MAX_BOXES = 256
MIN_SIDE_PX = 1.0  # a box with a shorter side inside the frame is dropped
MIN_CONFIDENCE = 0.5  # of a detection, as the demos of Open Model Zoo have it

# A standing person who faces us, COCO's 17 keypoints, in units of the distance from eyes to ears, roughly: for the places of
# keypoints that were not found. Chosen with `MARGIN` on 130 photos of COCO val2017: crops around such boxes hold 99 % of the
# annotated keypoints of the people found by openpose-mobilenet-v2-small, around boxes without them 91 %.
_STANDING = np.array([
    0, 0.15 - 0.15j, -0.15 - 0.15j, 0.35 - 0.05j, -0.35 - 0.05j, 0.8 + 0.9j, -0.8 + 0.9j, 1.1 + 2.1j, -1.1 + 2.1j,
    1.1 + 3.1j, -1.1 + 3.1j, 0.5 + 3.1j, -0.5 + 3.1j, 0.5 + 4.9j, -0.5 + 4.9j, 0.5 + 6.6j, -0.5 + 6.6j,
])  # fmt: skip
MIN_FOUND = 2  # keypoints that a person needs to have, for where the others are to be told
MARGIN = 0.1  # from the outermost keypoints to the end of the body, of the longer side


def checked_boxes(boxes: Any, height: int, width: int, source: str) -> Float:
    """Boxes as (N, 5) within a frame of `height` x `width` pixels, the most confident first.

    What sticks out of the frame is cut off, and a box with less than `MIN_SIDE_PX` left on a side is dropped. Of more than
    `MAX_BOXES` the most confident are kept, with a warning in the log.

    Args:
        boxes: (N, 4), or (N, 5) with confidences; without, they are 1.
        height, width: The frame's size.
        source: Where they come from, for errors.

    Raises:
        InputError: They have another shape, a box is not finite or not above zero on both sides, or a confidence is not
            in [0, 1].
    """
    expected = "expected (N, 4) x0, y0, x1, y1 in pixels, or (N, 5) with a confidence in [0, 1]"
    try:
        array = np.array(boxes, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source} are {type(boxes).__name__}; {expected}") from error
    if array.shape == (0,):
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise InputError(f"{source} have shape {array.shape}; {expected}")
    rows = np.ones((len(array), 5), np.float32)
    rows[:, : array.shape[1]] = array
    sound = np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > rows[:, :2]).all(axis=1) & (rows[:, 4] >= 0) & (rows[:, 4] <= 1)
    if not sound.all():
        row = int(np.argmin(sound))
        raise InputError(
            f"number {row} of {source} is {array[row].tolist()}; expected finite x0 < x1, y0 < y1, confidence 0 to 1"
        )
    corners = rows[:, :4]
    np.clip(corners, 0, np.array((width, height, width, height), np.float32), out=corners)
    rows = rows[(corners[:, 2:] - corners[:, :2] >= MIN_SIDE_PX).all(axis=1)]
    if len(rows) > 1:
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    if len(rows) > MAX_BOXES:
        _log.warning("%d %s; the %d most confident are kept", len(rows), source, MAX_BOXES)
    return rows[:MAX_BOXES]


class SSDDetector:
    """People by a network whose output is rows of image, label, confidence, x0, y0, x1, y1, relative to the image.

    Args:
        engine: Runs the network.
        model: Its description; `person_label` is the label that counts.
        min_confidence: Detections below are left out.

    Raises:
        ModelError: The network does not answer (1, 1, n, 7).
    """

    def __init__(self, engine: Engine, model: Model, *, min_confidence: float = MIN_CONFIDENCE) -> None:
        self._engine = engine
        self._model = model
        self._min_confidence = min_confidence
        if len(engine.output_channels) == 1:
            # Compiles the network, too, before the first frame comes.
            shape = engine.submit(np.zeros((1, *model.size, 3), np.uint8)).result()[0].shape
        if len(engine.output_channels) != 1 or shape[:2] != (1, 1) or shape[3] != 7:
            found = f"(1, 1, n, {shape[3]})" if engine.output_channels == (1,) else f"{list(engine.output_channels)} channels"
            raise ModelError(f"{model.name} answers {found} and is no detector; expected one output (1, 1, n, 7)")

    def __call__(self, image: Image) -> Float:
        """Boxes of people (N, 5) in `image` (H, W, 3) uint8 BGR; they may stick out of it."""
        height, width = self._model.size
        # The whole picture is stretched to the input, as these networks were trained.
        picture = np.empty((height, width, 3), np.uint8)
        resize_into(image, picture, height, width)
        rows = self._engine.submit(picture[None]).result()[0][0, 0]
        ends = np.flatnonzero(rows[:, 0] < 0)  # image -1 ends the list; what follows is left over in memory
        rows = rows[: ends[0]] if len(ends) else rows
        people = (rows[:, 1] == self._model.person_label) & (rows[:, 2] >= self._min_confidence)
        people &= np.isfinite(rows).all(axis=1) & (rows[:, 5:] > rows[:, 3:5]).all(axis=1)
        boxes = rows[people, 3:] * np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        return np.concatenate([boxes, np.clip(rows[people, 2:3], 0, 1)], axis=1)


def boxes_around(poses: Poses) -> Float:
    """Boxes (N, 5) around people, keypoints that were not found included.

    The places of missing keypoints are those of a standing person, turned, scaled and maybe mirrored to fit the found ones by
    least squares, so that a box around head and shoulders holds the legs as well.
    """
    coco = poses.to(COCO17)
    coco = coco[(coco.scores > 0).sum(axis=1) >= MIN_FOUND]
    return np.concatenate([boxes_of_bodies(coco.keypoints), coco.confidence[:, None]], axis=1).astype(np.float32)


def boxes_of_bodies(keypoints: Float) -> Float:
    """Boxes (N, 4) around people with COCO's `keypoints` (N, 17, 2), NaN where not found; `MIN_FOUND` of each are."""
    found = ~np.isnan(keypoints[..., 0])
    # Points as complex numbers: to turn and to scale is to multiply, and to mirror is to conjugate.
    points = np.where(found, keypoints[..., 0] + 1j * keypoints[..., 1], 0)
    fits, errors = zip(*(_fit(points, found, standing) for standing in (_STANDING, -_STANDING.conj())), strict=True)
    places = np.where(found, points, np.where((errors[0] <= errors[1])[:, None], fits[0], fits[1]))
    xy = np.stack([places.real, places.imag], axis=2)
    low, high = xy.min(axis=1, initial=np.inf), xy.max(axis=1, initial=-np.inf)
    margin = np.maximum(MARGIN * (high - low).max(axis=1, keepdims=True, initial=0), MIN_SIDE_PX)
    return np.concatenate([low - margin, high + margin], axis=1).astype(np.float32)


def _fit(
    points: NDArray[np.complexfloating], found: NDArray[np.bool_], standing: NDArray[np.complexfloating]
) -> tuple[NDArray[np.complexfloating], NDArray[np.floating]]:
    """The `standing` person (K,) as it fits the found of `points` (N, K) best, (N, K), and the squared errors (N,)."""
    count = found.sum(axis=1, keepdims=True)
    from_middle = np.where(found, standing - (found * standing).sum(axis=1, keepdims=True) / count, 0)
    middle = points.sum(axis=1, keepdims=True) / count
    turn = (from_middle.conj() * points).sum(axis=1, keepdims=True) / np.square(np.abs(from_middle)).sum(axis=1, keepdims=True)
    fit = turn * (standing - (found * standing).sum(axis=1, keepdims=True) / count) + middle
    return fit, np.square(np.abs(np.where(found, points - fit, 0))).sum(axis=1)
