"""People by detectors that answer a row a box, in pixels of their letterboxed input: those of RTMDet and YOLO.

- RTMDet and RTMO's relatives as mmdeploy exports them (mmpose, projects/rtmpose): `dets` (1, N, 5) of two corners and a score,
  and `labels` (1, N).
- YOLO (docs.ultralytics.com/tasks/detect): (1, 4 + C, N), a column for each place, with the box as centre and sides and C class
  scores, before non-maximum suppression; or with it, (1, N, 6): two corners, score, class.
- YOLOv5 and YOLOX with decoded boxes: (1, N, 5 + C), box as centre and sides, objectness, C class scores.

Suppression is always done here, too: after one in the graph it finds nothing left to do.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Float, Image
from edgepose.engines import Engine
from edgepose.errors import ModelError
from edgepose.geometry import fit_letterbox
from edgepose.kernels.resizing import resize_into
from edgepose.kernels.suppression import are_boxes, best_first, corners_of, distinct_boxes, warm_up
from edgepose.pipelines.detection import MAX_BOXES, MIN_CONFIDENCE
from edgepose.zoo.registry import Model

MOST_OVERLAP = 0.65  # IoU of two people; RTMDet's (mmdet, configs/rtmdet) within its graph
MAX_ROWS = 1000  # looked at, the best
MOST_VALUES = 1000  # of a row, so that it can be told from the places in a column


class RowDetector:
    """A detector whose outputs are rows; from an image to boxes (N, 5) of people.

    Args:
        engine: Runs the network.
        model: Its description; `person_label` is the class that counts, `boxes` says "centre" if rows of six are that way.
        min_confidence: Detections below are left out; None: the model's own, or `MIN_CONFIDENCE` where it has none.

    Raises:
        ModelError: The network does not answer rows.
    """

    def __init__(self, engine: Engine, model: Model, *, min_confidence: float | None = None) -> None:
        self._engine = engine
        self._model = model
        self._min_confidence = min_confidence or model.min_confidence or MIN_CONFIDENCE
        warm_up()
        # Compiles the network, too, before the first frame comes.
        self._read(engine.submit(np.zeros((1, *model.size, 3), np.uint8)).result())

    def __call__(self, image: Image) -> Float:
        """Boxes of people (N, 5) in `image` (H, W, 3) uint8 BGR, best first; they may stick out of it."""
        height, width = self._model.size
        letterbox = fit_letterbox(image.shape[0], image.shape[1], height, width)
        picture = np.empty((height, width, 3), np.uint8)
        picture[:] = np.array(self._model.padding_bgr, np.uint8)
        resize_into(image, picture, letterbox.scaled_height, letterbox.scaled_width)
        corners, scores = self._read(self._engine.submit(picture[None]).result())
        people = np.concatenate([letterbox.to_frame(corners.reshape(-1, 2, 2)).reshape(-1, 4), scores[:, None]], axis=1)
        return np.ascontiguousarray(people, np.float32)

    def _read(self, outputs: list[Float]) -> tuple[Float, Float]:
        """Corners (N, 4) in pixels of the input and scores (N,) of the people, each once, best first."""
        boxes, scores, are_centred = self._split(outputs)
        rows = best_first(scores, self._min_confidence, MAX_ROWS)
        corners = corners_of(boxes[rows], are_centred)
        is_box = are_boxes(corners)
        rows, corners = rows[is_box], corners[is_box]
        kept = distinct_boxes(corners, MOST_OVERLAP, MAX_BOXES)
        return corners[kept], np.minimum(scores[rows[kept]], np.float32(1))

    def _split(self, outputs: list[Float]) -> tuple[Float, Float, bool]:
        """Boxes (N, 4), scores (N,) of a person being in them, and whether the boxes are centres and sides."""
        label = self._model.person_label or 0
        is_centred = self._model.boxes == "centre"
        if len(outputs) == 2:
            labels, boxes = sorted(outputs, key=lambda output: output.ndim)
            if boxes.ndim == 3 and boxes.shape == (1, boxes.shape[1], 5) and labels.shape == boxes.shape[:2]:
                return boxes[0, :, :4], np.where(labels[0] == label, boxes[0, :, 4], np.float32(0)), is_centred
        elif len(outputs) == 1 and outputs[0].ndim == 3 and len(outputs[0]) == 1:
            rows = outputs[0][0]
            count, values = rows.shape
            if values == 5:
                return rows[:, :4], rows[:, 4], is_centred
            if values == 6 and not is_centred:
                return rows[:, :4], np.where(rows[:, 5] == label, rows[:, 4], np.float32(0)), False
            if values > 5 + label and values <= min(count, MOST_VALUES):
                with np.errstate(invalid="ignore", over="ignore"):
                    return rows[:, :4], rows[:, 4] * rows[:, 5 + label], self._model.boxes != "corners"
            if 4 + label < count <= min(values, MOST_VALUES):
                return rows[:4].T, rows[4 + label], self._model.boxes != "corners"
        shapes = " and ".join(str(output.shape) for output in outputs)
        raise ModelError(
            f"{self._model.name} answers {shapes} and is no detector with class {label}; expected (1, N, 5) with or without "
            "(1, N) labels, (1, N, 6), (1, 4 + classes, N) or (1, N, 5 + classes): mend decoder or person_label in its "
            "description"
        )
