"""Clips of annotated photos: panned and zoomed, their annotations moved along, people entering and leaving at the edges.

The photos are read from the shared data and kept nowhere. All is drawn from a seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose import COCO17, Poses
from edgepose.kernels.assignment import assign

Image = NDArray[np.uint8]

# Of an annotated person: so many keypoints within the picture, or they count as nobody; and how much of them is inside.
LEAST_KEYPOINTS = 3


@dataclass(frozen=True)
class Photo:
    """A photo with the people in it.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        keypoints: (P, 17, 3) x, y, visibility, as COCO has them.
        areas: (P,) of the people in pixels.
        crowds: Boxes (C, 4) x, y, width, height of crowds, within which nothing counts.
    """

    image: Image
    keypoints: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """Frames, with everybody's place in each.

    Attributes:
        images: (H, W, 3) uint8 BGR each.
        annotations: Of each frame, COCO's annotations of the people in it; `person` is who it is, over the whole clip.
        cuts: Numbers of the frames at which another scene begins, but for the first.
        fps: Frames a second.
    """

    images: list[Image]
    annotations: list[list[dict[str, Any]]]
    cuts: list[int] = field(default_factory=list)
    fps: float = 30.0


def read_photos(shared: Path, people: tuple[int, int] = (1, 100), least_area: float = 0.0) -> list[Photo]:
    """The photos of the evaluation data with so many people annotated, each of whom fills so much of the photo."""
    folder = shared / "data" / "eval"
    content = json.loads((folder / "person_keypoints_eval.json").read_text())
    photos = []
    for entry in content["images"]:
        own = [a for a in content["annotations"] if a["image_id"] == entry["id"]]
        single = [a for a in own if not a["iscrowd"]]
        counted = [a for a in single if a["num_keypoints"]]
        area = entry["height"] * entry["width"]
        if not people[0] <= len(counted) <= people[1] or any(a["area"] < least_area * area for a in counted):
            continue
        # People without keypoints count neither way, as COCO has it.
        ignored = [a["bbox"] for a in own if a["iscrowd"] or not a["num_keypoints"]]
        photos.append(
            Photo(
                np.asarray(cv2.imread(str(folder / "images" / entry["file_name"])), np.uint8),
                np.array([a["keypoints"] for a in counted], float).reshape(-1, 17, 3),
                np.array([a["area"] for a in counted], float),
                np.array(ignored, float).reshape(-1, 4),
            )
        )
    return photos


def pan(
    photo: Photo, frames: int, *, size: tuple[int, int] = (720, 1280), zoom: float = 1.3, travel: float = 0.9, first: int = 0,
    random: np.random.Generator,
) -> Clip:  # fmt: skip
    """A clip that moves over a photo from one side to the other, and into it, at a changing pace.

    Args:
        photo: What is shown.
        frames: How many.
        size: (height, width) of the frames.
        zoom: At the end, against the start; at the start the photo fills the frame.
        travel: Of the photo's width outside the frame, how much is passed; more than 1 moves beyond its edge, into grey.
        first: Number of the first person.
        random: Draws the direction and the pace.
    """
    height, width = size
    rows, columns = photo.image.shape[:2]
    direction, phase = random.choice((-1, 1)), random.uniform(0, 2 * np.pi)
    least = max(width / columns, height / rows) * 1.05
    images, annotations = [], []
    for passed in np.linspace(0, 1, frames):
        scale = least * (1 + (zoom - 1) * passed)
        swing = direction * (passed - 0.5) + 0.1 * np.sin(2 * np.pi * passed * 2 + phase)
        room = np.maximum(np.array([columns, rows]) - np.array([width, height]) / scale, 0.15 * columns)
        middle = np.array([columns, rows]) / 2 + room * travel * np.array([swing, 0.3 * np.cos(2 * np.pi * passed + phase)])
        matrix = np.array([[scale, 0, width / 2 - middle[0] * scale], [0, scale, height / 2 - middle[1] * scale]])
        image = cv2.warpAffine(photo.image, matrix, (width, height), borderValue=(114, 114, 114))
        images.append(np.asarray(image, np.uint8))
        annotations.append(list(_moved(photo, matrix, size, first)))
    return Clip(images, annotations)


def _moved(photo: Photo, matrix: NDArray[np.float64], size: tuple[int, int], first: int) -> Iterator[dict[str, Any]]:
    """The annotations of a photo in the frame that `matrix` makes of it."""
    height, width = size
    scale = matrix[0, 0]
    for person, (keypoints, area) in enumerate(zip(photo.keypoints, photo.areas, strict=True)):
        points = keypoints.copy()
        points[:, :2] = points[:, :2] * scale + matrix[:, 2]
        labelled = points[:, 2] > 0
        inside = labelled & (points[:, 0] >= 0) & (points[:, 1] >= 0) & (points[:, 0] < width) & (points[:, 1] < height)
        if not inside.any():
            continue
        low, high = points[labelled, :2].min(axis=0), points[labelled, :2].max(axis=0)
        points[~inside] = 0
        # Somebody of whom little is in the picture counts neither way.
        few = inside.sum() < min(LEAST_KEYPOINTS, labelled.sum())
        yield {
            "category_id": 1, "iscrowd": int(few), "num_keypoints": int(inside.sum()), "keypoints": points.ravel().tolist(),
            "area": float(area * scale**2 * inside.sum() / labelled.sum()), "bbox": [*low.tolist(), *(high - low).tolist()],
            "person": first + person,
        }  # fmt: skip
    for x, y, w, h in photo.crowds:
        corner = np.array([x, y]) * scale + matrix[:, 2]
        yield {
            "category_id": 1, "iscrowd": 1, "num_keypoints": 0, "keypoints": [0] * 51, "area": w * h * scale**2,
            "bbox": [*corner.tolist(), w * scale, h * scale], "person": -1,
        }  # fmt: skip


def joined(clips: Sequence[Clip]) -> Clip:
    """One clip after the other, with hard cuts between them."""
    ends = np.cumsum([len(clip.images) for clip in clips]).tolist()
    return Clip(
        [image for clip in clips for image in clip.images],
        [people for clip in clips for people in clip.annotations],
        ends[:-1],
        clips[0].fps,
    )


def content(clip: Clip, every: int = 1) -> dict[str, Any]:
    """The annotations of a clip in COCO's format, for `edgepose.evaluation.run_cocoeval`; of each `every`-th frame."""
    numbers = range(0, len(clip.images), every)
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in numbers]
    people = [{**person, "image_id": number} for number in numbers for person in clip.annotations[number]]
    annotations = [{**person, "id": number} for number, person in enumerate(people, 1)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def similarities(annotations: Sequence[dict[str, Any]], keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
    """COCO's OKS (P, N) of people `keypoints` (N, 17, 2), NaN where not found, to annotated ones."""
    result = np.zeros((len(annotations), len(keypoints)))
    variances = np.square(2 * np.array(COCO17.sigmas))
    for row, person in enumerate(annotations):
        truth = np.array(person["keypoints"], float).reshape(17, 3)
        labelled = truth[:, 2] > 0
        squared = np.square(keypoints[:, labelled] - truth[labelled, :2]).sum(axis=2)
        agreement = np.exp(-squared / (2 * variances[labelled] * (person["area"] + np.spacing(1))))
        result[row] = np.nan_to_num(agreement).mean(axis=1)
    return result


def switches(clip: Clip, found: Sequence[Poses]) -> dict[str, int]:
    """How often a person of a clip is seen, as another than the last time; and how many frames after they came in, at most.

    Args:
        clip: The clip.
        found: The people of each frame, with identities.
    """
    last: dict[int, int] = {}
    came: dict[int, int] = {}
    late: dict[int, int] = {}
    seen = switched = 0
    for number, (people, poses) in enumerate(zip(clip.annotations, found, strict=True)):
        counted = [person for person in people if not person["iscrowd"]]
        for person in counted:
            came.setdefault(person["person"], number)
        if not counted or not len(poses) or poses.ids is None:
            continue
        similarity = similarities(counted, poses.to(COCO17).keypoints)
        for row, column in enumerate(assign(-similarity)):
            if column < 0 or similarity[row, column] <= 0.5:
                continue
            who, identity = counted[row]["person"], int(poses.ids[column])
            late.setdefault(who, number - came[who])
            switched += last.get(who, identity) != identity
            last[who] = identity
            seen += 1
    return {"seen": seen, "switches": switched, "median_late": int(np.median(list(late.values()) or [0]))}
