"""The decoder of MoveNet (tensorflow.org/hub/tutorials/movenet): keypoints of one person, or of six, relative to the input.

- Single pose, Lightning and Thunder: (1, 1, 17, 3), of each of COCO's keypoints y, x and score. There is always one person.
- Multi pose: (1, 6, 56), six rows of 17 times y, x and score, then ymin, xmin, ymax, xmax and score of the person.

Places are parts of the input's height and width, from 0 to 1, y first; the frame is letterboxed into it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgepose.arrays import Float
from edgepose.decoding import LEAST_SCORE, DecodedPoses, SizedBy
from edgepose.errors import ModelError
from edgepose.kernels.suppression import FARTHEST_PX
from edgepose.skeleton import COCO17
from edgepose.zoo.registry import Model

KEYPOINTS = len(COCO17)
ROW = 3 * KEYPOINTS + 5  # values of a row of the multi-pose model: keypoints, box, score
MAX_PEOPLE = 300  # The published model has six rows.


class MoveNetDecoder:
    """A decoder of MoveNet; see `edgepose.decoding.Decoder`.

    Raises:
        ModelError: The network has more than one output.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    sized_by: ClassVar[SizedBy] = "both sides"

    def __init__(self, model: Model, output_channels: tuple[int, ...], min_score: float) -> None:
        self._name = model.name
        self._min_score = max(min_score, LEAST_SCORE)
        if len(output_channels) != 1:
            raise ModelError(
                f"{model.name} has {len(output_channels)} outputs; expected one, (1, 1, {KEYPOINTS}, 3) or (1, N, {ROW}): mend "
                "decoder in its description"
            )

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        (output,) = outputs
        if output.shape == (1, 1, KEYPOINTS, 3):
            points = output[0]
            # Its score is that of a pose in a picture of one: the mean of its keypoints', as there is no other.
            confidence = np.where(np.isnan(points[..., 2]), 0, points[..., 2]).mean(axis=1, dtype=np.float32)
        elif output.ndim == 3 and output.shape == (1, output.shape[1], ROW):
            points = output[0, :, : 3 * KEYPOINTS].reshape(-1, KEYPOINTS, 3)
            confidence = output[0, :, -1]
        else:
            raise ModelError(
                f"{self._name} answers {output.shape}; expected (1, 1, {KEYPOINTS}, 3) or (1, N, {ROW}): mend decoder or "
                "layout in its description"
            )
        return decode_movenet(points, confidence, size, min_score=self._min_score)


def decode_movenet(points: Float, confidence: Float, size: tuple[int, int], *, min_score: float) -> DecodedPoses:
    """The people of N rows, best first; at most `MAX_PEOPLE`, and none without a keypoint or a confidence.

    Args:
        points: (N, 17, 3) y, x from 0 to 1, and score. One that is nowhere near, or scores less than `min_score`, is not found.
        confidence: (N,) of the people.
        size: (height, width) of the network's input in pixels.
        min_score: See above.
    """
    height, width = size
    scores = points[..., 2]
    with np.errstate(over="ignore"):
        places = points[..., 1::-1] * np.array((width, height), np.float32)
    found = (np.abs(places) <= FARTHEST_PX).all(axis=2) & (scores >= min_score)
    scores = np.where(found, np.minimum(scores, np.float32(1)), np.float32(0))
    places = np.where(found[..., None], places, np.float32(np.nan))
    somebody = np.flatnonzero(found.any(axis=1) & (confidence >= LEAST_SCORE))
    order = somebody[np.argsort(-confidence[somebody], kind="stable")][:MAX_PEOPLE]
    return DecodedPoses(places[order], scores[order], np.minimum(confidence[order], np.float32(1)))
