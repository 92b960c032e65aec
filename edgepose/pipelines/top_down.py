"""Top-down: crops around people through the network, the keypoints of one person found in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from edgepose.arrays import Double, Float, Image, Ints
from edgepose.decoding import DecodedPoses, Decoder, FlipDecoder
from edgepose.engines import Engine, Pending
from edgepose.errors import InputError, ModelError
from edgepose.geometry import Crops, fit_crops
from edgepose.kernels.oks import areas, oks
from edgepose.kernels.resizing import crop_into, warm_up
from edgepose.once import Once
from edgepose.pipelines.detection import Detector, checked_boxes
from edgepose.pipelines.scheduling import Started
from edgepose.poses import Poses
from edgepose.skeleton import get_skeleton
from edgepose.zoo.registry import Model

MAX_SIDE = 2048  # of the network's input, pixels: a mistyped larger size would take all memory
# Batches under way at a time: one in the network, and one already cut out, so that the network never waits.
IN_FLIGHT = 2
# Two people more alike than this are the same person, found twice. HRNet's value is 0.9, but its OKS uses the area of the
# padded crop, about three times the area of the body that is used here, which makes people look more alike: an OKS of 0.7
# there is exp(3 log 0.7), about a third, here.
SAME_PERSON_OKS = 0.7


class TopDown:
    """Boxes, crops, network, decoding, and back to the frame.

    Args:
        engine: Runs the network.
        model: Its description.
        decoder: Turns the network's outputs into one person a crop.
        detector: Finds the boxes where the caller gives none.
        detector_beside: The same for the time that the network runs, of which it takes little; None: `detector`.
        input_size: (height, width) of the input in pixels; or its height, its width by the model's own aspect.
        min_confidence: People of less confidence are left out.
        batch_size: Crops that go through the network together, at most.
        flip_test: Also run the mirrored crops, and average: somewhat more accurate, at twice the network's time. The decoder is
            a `FlipDecoder` then.

    Raises:
        InputError: The size is not one that the model takes, or the batch size is below 1.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        decoder: Decoder,
        *,
        detector: Detector,
        detector_beside: Detector | None = None,
        input_size: int | tuple[int, int],
        min_confidence: float = 0.0,
        batch_size: int = 1,
        flip_test: bool = False,
    ) -> None:
        self._engine = engine
        self._model = model
        self._decoder = decoder
        self.detector = detector
        self.detector_beside = detector if detector_beside is None else detector_beside
        self.min_confidence = min_confidence
        self._flip = decoder if flip_test and isinstance(decoder, FlipDecoder) else None
        self.skeleton = get_skeleton(model.skeleton or "")
        self._sigmas = np.array(self.skeleton.sigmas, np.float32)
        if isinstance(input_size, int):
            aspect = model.size[1] / model.size[0]
            input_size = (input_size, max(1, round(input_size * aspect / model.multiple)) * model.multiple)
        self._height, self._width = self.crop_size = input_size
        if any(not 0 < side <= MAX_SIDE or side % model.multiple for side in input_size):
            raise InputError(
                f"input size {input_size} does not fit {model.name}; expected multiples of {model.multiple} to {MAX_SIDE}"
            )
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected 1 or more")
        self.batch_size = batch_size
        warm_up()
        _distinct(np.zeros((2, len(self.skeleton), 2), np.float32), self._sigmas)  # compiles

    def start(self, image: Image, boxes: Any = None) -> Started:
        """Start the network on the people in `image` (H, W, 3) uint8 BGR; the result waits for it and decodes.

        Args:
            image: The frame.
            boxes: Where the people are, (N, 4) or (N, 5); None: the detector says. See `checked_boxes`.

        Raises:
            InputError: The boxes are none.
        """
        return self.start_together([image], [boxes])[0]

    def start_together(self, images: Sequence[Image], boxes: Sequence[Any] | None = None) -> list[Started]:
        """`start` for several frames, whose people share batches: if a run of the network fails, it fails for all of them."""
        given = boxes if boxes is not None else [None] * len(images)
        seen = [self._look(image, its) for image, its in zip(images, given, strict=True)]
        # A person's confidence is the box's times a mean of scores, so the others would be left out whatever the network says.
        people = [rows[rows[:, 4] >= self.min_confidence] for rows in seen]
        crops = [fit_crops(found[:, :4], self._height, self._width) for found in people]
        parts = [(image, matrix) for image, its in zip(images, crops, strict=True) for matrix in its.matrices]
        decoded = self._run(parts)
        ends = list(accumulate(len(found) for found in people))

        def finish(index: int) -> Poses:
            mine = slice(ends[index] - len(people[index]), ends[index])
            return self._gather(DecodedPoses(*(array[mine] for array in decoded())), crops[index], people[index][:, 4])

        return [Started(partial(finish, index)) for index in range(len(images))]

    def start_in(self, image: Image, boxes: Float) -> Callable[[], DecodedPoses]:
        """Start the network in `boxes` (N, 4) within the frame, none of them empty, in their order.

        The function returned waits for the person in each, in pixels of the frame, whoever that is: a person in two boxes comes
        twice, and where nobody is, the scores are low.
        """
        crops = fit_crops(boxes, self._height, self._width)
        decoded = self._run([(image, matrix) for matrix in crops.matrices])

        def finish() -> DecodedPoses:
            people = decoded()
            return DecodedPoses(crops.to_frame(people.keypoints), people.scores, people.confidence)

        return finish

    def _look(self, image: Image, boxes: Any) -> Float:
        """Boxes (N, 5) of the people in a frame, from the caller or the detector."""
        height, width = image.shape[:2]
        if boxes is not None:
            return checked_boxes(boxes, height, width, "boxes")
        return checked_boxes(self.detector(image), height, width, "boxes of the detector")

    def _run(self, parts: list[tuple[Image, Double]]) -> Callable[[], DecodedPoses]:
        """Start the network on N parts of frames; the function returned waits for the person in each, in pixels of the input.

        Crops are cut out while the network runs on those before, so that hundreds of people take no more memory than a few.
        """
        batches = [parts[at : at + self.batch_size] for at in range(0, len(parts), self.batch_size)]
        running: dict[int, list[Pending]] = {}
        decoded: list[DecodedPoses] = []

        def launch(number: int) -> None:
            if number < len(batches) and number not in running:
                crops = self._cut(batches[number])
                views = [crops, crops[:, :, ::-1]] if self._flip else [crops]
                running[number] = [self._engine.submit(np.ascontiguousarray(view)) for view in views]

        def finish() -> DecodedPoses:
            # Each batch is stored in one step, so that a caller who is interrupted here can ask again.
            try:
                for number in range(len(decoded), len(batches)):
                    launch(number)
                    outputs = [pending.result() for pending in running[number]]
                    self._check_count(outputs[0], len(batches[number]))
                    launch(number + IN_FLIGHT)
                    merged = self._flip.merge_mirrored(*outputs) if self._flip else outputs[0]
                    decoded.append(self._decoder(merged, (self._height, self._width)))
                    del running[number]
            except Exception:
                # The other runs are not needed any more; the error's traceback would keep them in memory.
                for pendings in running.values():
                    pendings.clear()
                running.clear()
                raise
            count = len(self.skeleton)
            nobody = DecodedPoses(*(np.empty((0, *shape), np.float32) for shape in ((count, 2), (count,), ())))
            return DecodedPoses(*(np.concatenate(arrays) for arrays in zip(nobody, *decoded, strict=True)))

        for number in range(IN_FLIGHT):
            launch(number)
        return Once(finish)  # several frames ask for it

    def _check_count(self, outputs: list[Float], count: int) -> None:
        """Make sure that the network answered every crop: a graph with a fixed batch may fold a larger one into other axes."""
        if any(len(output) != count for output in outputs):
            shapes = " and ".join(str(output.shape) for output in outputs)
            raise ModelError(
                f"{self._model.name} answers {shapes} to {count} crops; expected the first to be {count}: it has a fixed "
                "batch, or its description says another decoder; use batch_size=1"
            )

    def _cut(self, parts: Sequence[tuple[Image, Double]]) -> Image:
        """The parts as inputs (B, height, width, 3), black where they reach beyond their frame."""
        crops = np.empty((len(parts), self._height, self._width, 3), np.uint8)
        for crop, (image, matrix) in zip(crops, parts, strict=True):
            crop_into(image, crop, matrix)
        return crops

    def _gather(self, decoded: DecodedPoses, crops: Crops, confidence: Float) -> Poses:
        """The people of a frame, each once, best first; `confidence` (N,) is that of their boxes."""
        scores = decoded.scores
        keypoints = crops.to_frame(decoded.keypoints)
        confidence = confidence * decoded.confidence
        best_first = np.argsort(-confidence, kind="stable")
        is_somebody = (scores.max(axis=1, initial=0) > 0) & (confidence >= self.min_confidence)
        somebody = best_first[is_somebody[best_first]]
        kept = somebody[_distinct(keypoints[somebody], self._sigmas)]
        return Poses(keypoints[kept], scores[kept], confidence[kept], self.skeleton)


def _distinct(keypoints: Float, sigmas: Float) -> Ints:
    """Indices of those of N people, best first, who are not like one before them (non-maximum suppression by OKS)."""
    count = len(keypoints)
    if count < 2:
        return np.arange(count)
    similarity = oks(keypoints, keypoints, areas(keypoints), sigmas)
    kept: list[int] = []
    for person in range(count):
        if not np.any(similarity[kept, person] > SAME_PERSON_OKS):
            kept.append(person)
    return np.array(kept, np.int64)
