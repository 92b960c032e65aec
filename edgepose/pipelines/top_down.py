"""Top-down: crops around people through the network, the keypoints of one person found in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.decoding.heatmaps import Refinement, decode_heatmaps, merge_mirrored
from edgepose.engines import Engine, Pending
from edgepose.errors import InputError, ModelError
from edgepose.geometry import Crops, fit_crops
from edgepose.kernels.resizing import crop_into
from edgepose.kernels.resizing import warm_up as warm_up_resizing
from edgepose.once import Once
from edgepose.pipelines.detection import Detector, checked_boxes
from edgepose.pipelines.scheduling import Started
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, get_skeleton
from edgepose.tracking import areas, oks
from edgepose.zoo.registry import Model

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

MAX_SIDE = 2048  # of the network's input, pixels: beyond, a slip of the keyboard eats all memory
# Batches under way at a time: one in the network, and one cut out and waiting, so that the network never does.
IN_FLIGHT = 2
# Keypoints above this make a person's confidence: their mean, times the box's. HRNet's `IN_VIS_THRE` (arXiv 1902.09212).
CONFIDENT = 0.2
# Two people more alike than this are one, seen twice. OKS here goes by the body's area, not by that of the padded crop, as
# HRNet's 0.9 does, which is about three times as large: the same distance is exp(3 log 0.7), a third, by the one and 0.7 by
# the other.
SAME_PERSON_OKS = 0.7


class TopDown:
    """Boxes, crops, network, decoding, and back to the frame.

    Args:
        engine: Runs the network.
        model: Its description.
        detector: Finds the boxes where the caller gives none; None: the caller always does.
        input_size: (height, width) of the input in pixels; or its height, its width by the model's own aspect.
        min_score: Keypoints that score less are left out.
        min_confidence: People of less confidence are left out.
        batch_size: Crops that go through the network together, at most.
        refinement: How a keypoint is placed between cells; see `decode_heatmaps`.
        flip_test: Also run the mirrored crops, and average: somewhat more accurate, at twice the network's time.

    Raises:
        ModelError: The network does not give one heatmap a keypoint.
        InputError: The size is not one that the model takes, or the batch size is below 1.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        *,
        detector: Detector | None,
        input_size: int | tuple[int, int],
        min_score: float,
        min_confidence: float = 0.0,
        batch_size: int = 1,
        refinement: Refinement = "quarter",
        flip_test: bool = False,
    ) -> None:
        self._engine = engine
        self._model = model
        self._detector = detector
        self._min_score = min_score
        self._min_confidence = min_confidence
        self._refinement: Refinement = refinement
        self._flip_test = flip_test
        self._skeleton = get_skeleton(model.skeleton or "")
        self._sigmas = np.array(self._skeleton.sigmas, np.float32)
        if engine.output_channels != (len(self._skeleton),):
            raise ModelError(
                f"the outputs of {model.name} have {list(engine.output_channels)} channels; expected one output with "
                f"{len(self._skeleton)} heatmaps, as {self._skeleton.name} has keypoints"
            )
        if isinstance(input_size, int):
            aspect = model.size[1] / model.size[0]
            input_size = (input_size, max(1, round(input_size * aspect / model.multiple)) * model.multiple)
        self._height, self._width = input_size
        if any(not 0 < side <= MAX_SIDE or side % model.multiple for side in input_size):
            raise InputError(
                f"input size {input_size} does not fit {model.name}; expected multiples of {model.multiple} to {MAX_SIDE}"
            )
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected 1 or more")
        self._batch_size = batch_size
        warm_up_resizing()
        _warm_up()

    def start(self, image: Image, boxes: Any = None) -> Started:
        """Start the network on the people in `image` (H, W, 3) uint8 BGR; what is returned waits for it and decodes.

        Args:
            image: The frame.
            boxes: Where the people are, (N, 4) or (N, 5); None: the detector says. See `checked_boxes`.

        Raises:
            InputError: The boxes are none; or there are none, and no detector.
        """
        return self.start_together([image], [boxes])[0]

    def start_together(self, images: Sequence[Image], boxes: Sequence[Any] | None = None) -> list[Started]:
        """`start` for several frames, whose people share batches: if a run of the network fails, it fails for all of them."""
        given = boxes if boxes is not None else [None] * len(images)
        seen = [self._look(image, its) for image, its in zip(images, given, strict=True)]
        # A person's confidence is the box's times a mean of scores: no crop is run for nothing.
        people = [rows[rows[:, 4] >= self._min_confidence] for rows in seen]
        crops = [fit_crops(found[:, :4], self._height, self._width) for found in people]
        parts = [(image, matrix) for image, its in zip(images, crops, strict=True) for matrix in its.matrices]
        points = self._run(parts)
        ends = list(accumulate(len(found) for found in people))

        def finish(index: int) -> Poses:
            mine = slice(ends[index] - len(people[index]), ends[index])
            cells, scores = (array[mine] for array in points())
            return self._gather(cells, scores, crops[index], people[index][:, 4])

        return [Started(partial(finish, index)) for index in range(len(images))]

    def _look(self, image: Image, boxes: Any) -> Float:
        """(N, 5) boxes of the people in a frame."""
        height, width = image.shape[:2]
        if boxes is not None:
            return checked_boxes(boxes, height, width, "boxes")
        if self._detector is None:
            raise InputError(f"{self._model.name} is top-down and needs to know where people are; give boxes, or a detector")
        return checked_boxes(self._detector(image), height, width, "boxes of the detector")

    def _run(self, parts: list[tuple[Image, NDArray[np.float64]]]) -> Callable[[], tuple[Float, Float]]:
        """Start the network on parts of frames; what is returned waits for their points (N, K, 2), in cells, and scores (N, K).

        Crops are cut out while the network runs on those before, so that hundreds of people take no more memory than a few.
        """
        batches = [parts[at : at + self._batch_size] for at in range(0, len(parts), self._batch_size)]
        running: dict[int, list[Pending]] = {}
        decoded: list[tuple[Float, Float]] = []

        def launch(number: int) -> None:
            if number < len(batches) and number not in running:
                crops = self._cut(batches[number])
                views = [crops, crops[:, :, ::-1]] if self._flip_test else [crops]
                running[number] = [self._engine.submit(np.ascontiguousarray(view)) for view in views]

        def finish() -> tuple[Float, Float]:
            # Each batch is put down whole, in one step, so that a caller who is interrupted here can ask again.
            try:
                for number in range(len(decoded), len(batches)):
                    launch(number)
                    maps = [self._checked(pending.result()[0]) for pending in running[number]]
                    launch(number + IN_FLIGHT)
                    heatmaps = merge_mirrored(maps[0], maps[1], self._skeleton) if self._flip_test else maps[0]
                    decoded.append(decode_heatmaps(heatmaps, refinement=self._refinement))
                    del running[number]
            except Exception:
                # Nobody will ask for the other runs: they must not wait for the error, whose traceback knows them, to be gone.
                for pendings in running.values():
                    pendings.clear()
                running.clear()
                raise
            count = len(self._skeleton)
            nobody = np.empty((0, count, 2), np.float32), np.empty((0, count), np.float32)
            points, scores = zip(nobody, *decoded, strict=True)
            return np.concatenate(points), np.concatenate(scores)

        for number in range(IN_FLIGHT):
            launch(number)
        return Once(finish)  # Each of several frames asks.

    def _checked(self, heatmaps: Float) -> Float:
        stride = self._model.stride
        if heatmaps.shape[2:] != (self._height // stride, self._width // stride):
            raise ModelError(
                f"{self._model.name} answers maps of {heatmaps.shape[2:]} to {self._height} x {self._width} pixels; "
                f"expected its stride, {stride}, between them: mend its description"
            )
        return heatmaps

    def _cut(self, parts: Sequence[tuple[Image, NDArray[np.float64]]]) -> Image:
        """The parts as inputs (B, height, width, 3), black where they reach beyond their frame."""
        crops = np.empty((len(parts), self._height, self._width, 3), np.uint8)
        for crop, (image, matrix) in zip(crops, parts, strict=True):
            crop_into(image, crop, matrix)
        return crops

    def _gather(self, cells: Float, scores: Float, crops: Crops, confidence: Float) -> Poses:
        """The people of a frame, each once, best first."""
        # A cell stands for the first of its pixels, as HRNet is taught: no half cells here.
        keypoints = crops.to_frame(cells * np.float32(self._model.stride))
        sure = scores > CONFIDENT
        mean = (scores * sure).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)
        missing = scores < self._min_score
        keypoints[missing] = np.nan
        scores = np.where(missing, np.float32(0), scores)
        confidence = confidence * mean
        best_first = np.argsort(-confidence, kind="stable")
        is_somebody = (scores.max(axis=1, initial=0) > 0) & (confidence >= self._min_confidence)
        somebody = best_first[is_somebody[best_first]]
        kept = somebody[_distinct(keypoints[somebody], self._sigmas)]
        return Poses(keypoints[kept], scores[kept], confidence[kept], self._skeleton)


def _distinct(keypoints: Float, sigmas: Float) -> NDArray[np.int64]:
    """Indices of those of N people, best first, who are not like one before them (non-maximum suppression by OKS)."""
    count, types = keypoints.shape[:2]
    if count < 2:
        return np.arange(count)
    still = np.zeros((count, 2), np.float32)
    similarity, _ = oks(keypoints, np.zeros((count, types)), still, areas(keypoints), keypoints, sigmas, 0.0, 0.0)
    kept: list[int] = []
    for person in range(count):
        if not np.any(similarity[kept, person] > SAME_PERSON_OKS):
            kept.append(person)
    return np.array(kept, np.int64)


@cache
def _warm_up() -> None:
    """Compile all kernels, once, so that the first frame does not wait for it."""
    maps = np.zeros((1, len(COCO17), 1, 1), np.float32)
    points, _ = decode_heatmaps(merge_mirrored(maps, maps, COCO17))
    _distinct(np.concatenate([points, points]), np.array(COCO17.sigmas, np.float32))
