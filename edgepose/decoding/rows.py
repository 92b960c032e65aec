"""The decoder of networks that answer a row a person: a box, a score, and K keypoints, in pixels of their input.

- YOLO-pose (docs.ultralytics.com/tasks/pose): (1, 5 + 3 K, N), one column for each place where a person may be, with the box as
  centre and sides, before non-maximum suppression. With suppression in the graph, (1, N, 6 + 3 K): the box as two corners,
  score, class, keypoints. With `kpt_shape` (K, 2), keypoints have no score.
- RTMO (mmpose, projects/rtmo; rtmlib's rtmo.py): (1, N, 5) boxes with scores, and (1, N, K, 3) keypoints; or both in one row.

Suppression is always done here, too: after one in the graph it finds nothing left to do. Legend: N rows, K keypoints.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgepose.arrays import Float
from edgepose.decoding import LEAST_SCORE, DecodedPoses, SizedBy
from edgepose.errors import ModelError
from edgepose.kernels.suppression import FARTHEST_PX, are_boxes, best_first, corners_of, distinct_boxes, warm_up
from edgepose.skeleton import get_skeleton
from edgepose.zoo.registry import Model

MOST_OVERLAP = 0.7  # IoU of two people; YOLO's default. RTMO's is 0.65, within its graph.
# The most rows that are looked at, and the most people, the best of each; YOLO's `max_det` is 300, too.
MAX_ROWS, MAX_PEOPLE = 1000, 300


class RowDecoder:
    """A decoder of rows; see `edgepose.decoding.Decoder`.

    Raises:
        ModelError: The network gives neither one output nor two.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    sized_by: ClassVar[SizedBy] = "both sides"

    def __init__(self, model: Model, output_channels: tuple[int, ...], min_score: float) -> None:
        self._name, self._boxes = model.name, model.boxes
        self._skeleton = get_skeleton(model.skeleton or "")
        self._min_score = np.float32(max(min_score, LEAST_SCORE))
        if len(output_channels) not in (1, 2):
            raise ModelError(f"{model.name} has {len(output_channels)} outputs; expected {self._expected}")
        warm_up()

    @property
    def _expected(self) -> str:
        k = len(self._skeleton)
        return (
            f"(1, N, {5 + 3 * k}), (1, {5 + 3 * k}, N) or (1, N, {6 + 3 * k}) of rows with box, score and the {k} keypoints of "
            f"{self._skeleton.name}, or (1, N, 5) and (1, N, {k}, 3): mend skeleton or decoder in its description"
        )

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        boxes, keypoints, are_centred = self._split(outputs)
        return decode_rows(
            boxes, keypoints, types=len(self._skeleton), are_centred=are_centred, min_score=float(self._min_score)
        )

    def _split(self, outputs: list[Float]) -> tuple[Float, Float, bool]:
        """Boxes with scores (N, 5 or more), keypoints (N, values), and whether the boxes are centres and sides."""
        k = len(self._skeleton)
        is_centred = self._boxes == "centre"
        if len(outputs) == 2:
            boxes, keypoints = sorted(outputs, key=lambda output: output.ndim)
            if boxes.ndim == 3 and boxes.shape == (1, boxes.shape[1], 5) and keypoints.shape == (1, boxes.shape[1], k, 3):
                return boxes[0], keypoints[0].reshape(-1, 3 * k), is_centred
        elif outputs[0].ndim == 3 and len(outputs[0]) == 1:
            rows, widths = outputs[0][0], {5 + 3 * k: 5, 6 + 3 * k: 6, 5 + 2 * k: 5}
            is_turned = rows.shape[1] not in widths
            rows = rows.T if is_turned else rows
            if rows.shape[1] in widths:
                return rows, rows[:, widths[rows.shape[1]] :], is_centred or (is_turned and self._boxes is None)
        shapes = " and ".join(str(output.shape) for output in outputs)
        raise ModelError(f"{self._name} answers {shapes}; expected {self._expected}")


def decode_rows(boxes: Float, keypoints: Float, *, types: int, are_centred: bool, min_score: float) -> DecodedPoses:
    """The people in rows, each once, best first.

    Rows whose box or score is no number, or whose box is empty, are nobody's. A keypoint that is nowhere near, or scores less
    than `min_score`, is not found. At most `MAX_ROWS` rows are looked at, and at most `MAX_PEOPLE` people come.

    Args:
        boxes: (N, 5 or more) box, score, and what is not looked at.
        keypoints: (N, 3 K) x, y, score of each keypoint; or (N, 2 K), all with the score of the row.
        types: K.
        are_centred: Boxes are centre and sides, instead of two corners.
        min_score: See above.
    """
    rows = best_first(boxes[:, 4], LEAST_SCORE, MAX_ROWS)
    corners = corners_of(boxes[rows, :4], are_centred)
    is_box = are_boxes(corners)
    rows = rows[is_box]
    rows = rows[distinct_boxes(corners[is_box], MOST_OVERLAP, MAX_PEOPLE)]
    confidence = np.minimum(boxes[rows, 4], np.float32(1))
    points = keypoints[rows].reshape(len(rows), types, keypoints.shape[1] // types)
    scores = points[..., 2] if points.shape[2] == 3 else np.repeat(confidence[:, None], types, axis=1)
    found = (np.abs(points[..., :2]) <= FARTHEST_PX).all(axis=2) & (scores >= min_score)
    scores = np.where(found, np.minimum(scores, np.float32(1)), np.float32(0))
    places = np.where(found[..., None], points[..., :2], np.float32(np.nan))
    somebody = found.any(axis=1)
    return DecodedPoses(places[somebody], scores[somebody], confidence[somebody])
