"""`Poses`, the result of every estimator: people as arrays, checked once, and their conversions.

Legend: N people, K keypoints of the skeleton. Pixels of the source image, x right, y down; the centre of the top left
pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgepose.arrays import Float, Ints
from edgepose.errors import InputError, MissingExtraError, PersonIndexError
from edgepose.skeleton import COCO17, OPENPOSE18, Skeleton, convert


@dataclass(frozen=True, eq=False)
class Poses:
    """N people with K keypoints each.

    The arrays are checked, converted to float32 and made read-only; a result can be shared between threads.

    Attributes:
        keypoints: (N, K, 2) x, y in pixels; NaN where a keypoint was not found.
        scores: (N, K) in [0, 1]; 0 exactly where a keypoint was not found.
        confidence: (N,) in [0, 1].
        skeleton: The keypoint set.
        ids: (N,) identities given by a tracker, or None.

    Raises:
        InputError: Shapes, ranges, or the places of NaN and zero scores do not fit together.
    """

    keypoints: Float
    scores: Float
    confidence: Float
    skeleton: Skeleton = OPENPOSE18
    ids: Ints | None = None

    def __post_init__(self) -> None:
        n, k = len(self.keypoints), len(self.skeleton)
        arrays: dict[str, NDArray[Any]] = {
            "keypoints": _frozen(self.keypoints, np.float32),
            "scores": _frozen(self.scores, np.float32),
            "confidence": _frozen(self.confidence, np.float32),
        }
        shapes: dict[str, tuple[int, ...]] = {"keypoints": (n, k, 2), "scores": (n, k), "confidence": (n,)}
        if self.ids is not None:
            arrays["ids"] = _frozen(self.ids, np.int64)
            shapes["ids"] = (n,)
        for name, array in arrays.items():
            if array.shape != shapes[name]:
                raise InputError(f"{name} has shape {array.shape}; expected {shapes[name]} ({self.skeleton.name}, N={n})")
            object.__setattr__(self, name, array)
        for name in ("scores", "confidence"):
            array = arrays[name]
            if array.size and not (array.min() >= 0 and array.max() <= 1):
                raise InputError(f"{name} lie in [{array.min():g}, {array.max():g}]; expected values in [0, 1]")
        missing = np.isnan(arrays["keypoints"])
        if not np.array_equal(missing.all(axis=2), arrays["scores"] == 0) or np.any(missing[..., 0] != missing[..., 1]):
            raise InputError("a keypoint is NaN exactly where its score is 0; got keypoints and scores that disagree")

    @classmethod
    def empty(cls, skeleton: Skeleton = OPENPOSE18) -> Poses:
        """No people."""
        k = len(skeleton)
        return cls(np.empty((0, k, 2), np.float32), np.empty((0, k), np.float32), np.empty(0, np.float32), skeleton)

    @property
    def boxes(self) -> Float:
        """(N, 4) x0, y0, x1, y1 around the found keypoints of each person; NaN for a person without any."""
        found = self.scores > 0
        low = np.where(found[..., None], self.keypoints, np.inf).min(axis=1, initial=np.inf)
        high = np.where(found[..., None], self.keypoints, -np.inf).max(axis=1, initial=-np.inf)
        boxes = np.concatenate([low, high], axis=1)
        return np.where(np.isfinite(boxes), boxes, np.nan).astype(np.float32)

    def keypoint(self, name: str) -> Float:
        """(N, 2) x, y of one keypoint of everybody, in pixels; NaN where it was not found.

        Its scores are `poses.scores[:, poses.skeleton.index(name)]`.

        Args:
            name: As the skeleton has it ("l_wrist"), or in full ("left_wrist").

        Raises:
            InputError: The skeleton has no keypoint of that name.
        """
        return self.keypoints[:, self.skeleton.index(name)]

    def __len__(self) -> int:
        return len(self.keypoints)

    def __iter__(self) -> Iterator[Poses]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> Poses:
        """The people at `index`, always as `Poses`.

        Args:
            index: An integer, a slice, a sequence of integers (a list, a tuple, a range, an array), or a boolean mask of
                length N. Negative integers count from the end.

        Raises:
            PersonIndexError: Somebody is not there, the mask has another length, or it is none of these.
        """
        count = len(self)
        rows: Any = index
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            if not -count <= index < count:
                raise _absent(index, count)
            rows = [int(index)]
        elif not isinstance(index, slice):
            rows = _rows(index, count)
        ids = None if self.ids is None else self.ids[rows]
        return Poses(self.keypoints[rows], self.scores[rows], self.confidence[rows], self.skeleton, ids)

    def __repr__(self) -> str:
        found = (self.scores > 0).sum(axis=1).tolist()
        return f"Poses({len(self)} people, {self.skeleton.name}, keypoints found: {found})"

    def sorted(self) -> Poses:
        """The same people, best first (stable)."""
        return self[np.argsort(-self.confidence, kind="stable")]

    def to(self, skeleton: Skeleton) -> Poses:
        """The same people in another keypoint set."""
        if skeleton.name == self.skeleton.name:
            return self
        keypoints, scores = convert(self.keypoints, self.scores, self.skeleton, skeleton)
        return Poses(keypoints, scores, self.confidence, skeleton, self.ids)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, as `edgepose run --json` writes them: skeleton, and one entry per person."""
        # All values are rounded at once; in doubles, products of float32 values are exact, so that this is what `round` gives.
        points = np.concatenate([self.keypoints, self.scores[..., None]], axis=2, dtype=np.float64)
        points = (np.rint(points * _DIGITS) / _DIGITS).tolist()
        boxes = np.round(self.boxes.astype(np.float64), 2).tolist()
        found = (self.scores > 0).tolist()
        people = [
            {
                "id": None if self.ids is None else int(self.ids[i]),
                "confidence": round(float(self.confidence[i]), 4),
                "box": boxes[i] if any(found[i]) else None,
                "keypoints": [point if is_found else None for point, is_found in zip(points[i], found[i], strict=True)],
            }
            for i in range(len(self))
        ]
        return {"skeleton": self.skeleton.name, "poses": people}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO keypoint results: 17 points a person, whatever the skeleton; (0, 0, 0) where one was not found."""
        coco = self.to(COCO17)
        results = []
        for keypoints, scores, confidence in zip(coco.keypoints, coco.scores, coco.confidence, strict=True):
            found = scores > 0
            points = np.where(found[:, None], np.column_stack([keypoints, scores]), 0)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": 1,
                    "keypoints": [round(v, 3) for v in points.ravel().tolist()],
                    "score": round(float(confidence), 6),
                }
            )
        return results

    def to_openpose(self) -> dict[str, Any]:
        """The JSON object of OpenPose's `--write_json` (version 1.3): x, y, score a keypoint; 0 where missing."""
        poses = self.to(OPENPOSE18)
        points = np.concatenate([np.nan_to_num(poses.keypoints, nan=0.0), poses.scores[..., None]], axis=2)
        return {
            "version": 1.3,
            "people": [
                {
                    "person_id": [-1 if self.ids is None else int(self.ids[i])],
                    "pose_keypoints_2d": [round(v, 3) for v in person.ravel().tolist()],
                }
                for i, person in enumerate(points)
            ],
        }

    def to_supervision(self) -> Any:
        """The people as `supervision.KeyPoints`, for the annotators and tools of that package (0.31 or later).

        A keypoint that was not found is (0, 0) and not visible. `data` has the names of the skeleton's keypoints in
        `keypoint_names`, for each person, and identities, where there are any, in `tracker_id`.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("supervision", "supervision") from error
        found = self.scores > 0
        data: dict[str, Any] = {"keypoint_names": [list(self.skeleton.keypoints)] * len(self)}
        if self.ids is not None:
            data["tracker_id"] = np.array(self.ids)
        return supervision.KeyPoints(
            xy=np.where(found[..., None], self.keypoints, np.float32(0)),
            class_id=np.zeros(len(self), np.int64),
            keypoint_confidence=np.array(self.scores),
            detection_confidence=np.array(self.confidence),
            visible=found,
            data=data,
        )


def _rows(index: Any, count: int) -> NDArray[Any]:
    """The rows (M,), or the mask (N,), of the people that `index`, which is no slice, selects from `count`."""
    try:
        array = np.asarray(index)
    except (TypeError, ValueError):  # Ragged lists, mostly.
        array = np.empty((0, 0))
    if array.shape == (count,) and array.dtype.kind == "b":
        return array
    if array.shape == (0,) and array.dtype.kind != "b":
        return np.empty(0, np.int64)  # An empty list is one of floats to NumPy.
    if array.ndim <= 1 and array.dtype.kind in "iu":
        array = array.reshape(-1)
        absent = (array < -count) | (array >= count)
        if absent.any():
            raise _absent(array[absent][0], count)
        return array
    what = f"an array of {array.dtype} {array.shape}" if isinstance(index, np.ndarray) else repr(str(index)[:100])
    raise PersonIndexError(
        f"the index of {count} people is {what} ({type(index).__name__}); expected an integer, a slice, a sequence of "
        "integers, or a boolean mask with one value a person"
    )


def _absent(index: int | np.integer, count: int) -> PersonIndexError:
    return PersonIndexError(f"person {index} of {count}, counted from 0; expected one who is there")


# Numbers are rounded to the digits that carry meaning, so that files stay small: x and y to hundredths, scores to
# ten-thousandths.
_DIGITS = np.array([100.0, 100.0, 10_000.0])


def _frozen(values: Any, dtype: DTypeLike) -> NDArray[Any]:
    """A read-only view of `values` as `dtype`; the caller's own array stays writable."""
    array: NDArray[Any] = np.ascontiguousarray(values, dtype).view()
    array.flags.writeable = False
    return array
