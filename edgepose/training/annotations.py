"""COCO-format keypoint files as photos with people, checked before anything else happens.

Legend: P people of a photo, K = 18 keypoints of `OPENPOSE18`. Coordinates are pixels with centres at integers; COCO's
count from the pixel's corner, so half a pixel is taken off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from edgepose.arrays import Float, Uint8
from edgepose.errors import InputError, SourceError
from edgepose.skeleton import COCO17, OPENPOSE18

# State of a keypoint.
ABSENT, LABELLED, UNLABELLED = 0, 1, 2

# Labels may lie outside the image by this part of its longer side, as some do.
OUTSIDE_SHARE = 0.02
# A person's area where the file has none, as a part of the box: the mean over 329 people of COCO val2017.
OUTLINE_SHARE = 0.52
MAX_PX = 1e6  # of any coordinate: photos are smaller, and squares of it still are ordinary numbers
MAX_LISTED = 3  # problems in an error

_NECK = OPENPOSE18.keypoints.index("neck")
_SHOULDERS = [OPENPOSE18.keypoints.index(name) for name in ("r_shoulder", "l_shoulder")]
_FROM_COCO = [(OPENPOSE18.keypoints.index(name), i) for i, name in enumerate(COCO17.keypoints)]


@dataclass(frozen=True)
class Crowd:
    """A region where people were not told apart.

    Attributes:
        box: x0, y0, x1, y1 around it, in COCO's coordinates.
        runs: Its outline as pycocotools' compressed run lengths; None if the box is all there is.
    """

    box: tuple[float, float, float, float]
    runs: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class Photo:
    """An image of the data set and what is known about its people.

    Attributes:
        id: Its id in the annotation file.
        file_name: Its path below the folder, or inside a tar file.
        width, height: Its size in pixels.
        source: Its source by the annotation file (`images[].source`); "" if that has none.
        keypoints: (P, K, 2) x, y; 0 where not labelled.
        states: (P, K) `ABSENT` (taught as such), `LABELLED`, or `UNLABELLED` (nobody looked for it: not taught).
        boxes: (P, 4) x0, y0, x1, y1.
        areas: (P,) of the person's outline in square pixels, by which COCO's similarity (OKS) goes.
        crowds: Regions where nothing is known.
    """

    id: int
    file_name: str
    width: int
    height: int
    source: str
    keypoints: Float
    states: Uint8
    boxes: Float
    areas: Float
    crowds: tuple[Crowd, ...]


def read_annotations(path: str | Path) -> list[Photo]:
    """The photos of a COCO-format keypoint file, in its order.

    People without keypoints are left out, as background; but those with a box and `unlabelled` keypoints are kept, so that
    nothing is taught there. A keypoint that is both labelled and `unlabelled` counts as unlabelled. The neck is the middle of
    two labelled shoulders.

    Raises:
        SourceError: The file cannot be read.
        InputError: It is no keypoint file, or its contents are inconsistent; all problems are counted, a few are named.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read as JSON ({str(error)[:100]}); expected COCO keypoint annotations") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise InputError(f"{path} has no lists `images` and `annotations`; expected COCO keypoint annotations")
    if not content["images"]:
        raise InputError(f"{path} lists no images; expected at least one")

    people: dict[int, list[dict[str, Any]]] = {}
    problems: list[str] = []
    try:
        for image in content["images"]:
            if int(image["id"]) in people:
                problems.append(f"image id {image['id']} comes twice")
            people[int(image["id"])] = []
        for annotation in content["annotations"]:
            if annotation["image_id"] not in people:
                problems.append(f"annotation {annotation.get('id')} is of image {annotation['image_id']}, which is not listed")
            else:
                people[annotation["image_id"]].append(annotation)
        photos = [_photo(image, people[image["id"]], problems) for image in content["images"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is no COCO keypoint file ({type(error).__name__}: {error}); see its format") from error
    refuse(problems, str(path), InputError)
    if not any((photo.states == LABELLED).any() for photo in photos):
        raise InputError(f"{path} has {len(photos)} images and no labelled keypoint; expected some to learn from")
    return photos


def refuse(problems: list[str], source: str, kind: type[Exception]) -> None:
    """Raise `kind` with the number of `problems` and the first of them, if there are any."""
    if problems:
        more = f"; and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        raise kind(f"{source}: {len(problems)} problems: {'; '.join(problems[:MAX_LISTED])}{more}; correct or remove these")


def _photo(image: dict[str, Any], annotations: list[dict[str, Any]], problems: list[str]) -> Photo:
    width, height = int(image["width"]), int(image["height"])
    name = str(image["file_name"])
    if width < 1 or height < 1:
        problems.append(f"{name} is {width}x{height} pixels")
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        problems.append(f"{name} lies outside the folder of the images")
    keypoints, states, boxes, areas, crowds = [], [], [], [], []
    for annotation in annotations:
        try:
            bbox, area = _checked_bbox(annotation), _checked_area(annotation)
            if annotation.get("iscrowd"):
                crowds.append(_crowd(annotation, bbox, width, height))
                continue
        except ValueError as error:
            problems.append(f"annotation {annotation.get('id')} ({name}) {error}")
            continue
        values = np.array(annotation.get("keypoints") or (), np.float64)
        if values.size == 0:
            continue
        if values.size != 3 * len(COCO17) or not (np.abs(values) <= MAX_PX).all():
            problems.append(f"annotation {annotation.get('id')} ({name}) has {values.size} keypoint values, expected 51 finite")
            continue
        points = values.astype(np.float32).reshape(len(COCO17), 3)
        slack = OUTSIDE_SHARE * max(width, height)
        outside = (points[:, :2] < -slack) | (points[:, :2] > np.array([width, height]) + slack)
        for i in np.flatnonzero(outside.any(axis=1) & (points[:, 2] > 0)):
            x, y = points[i, :2]
            problems.append(f"{COCO17.keypoints[i]} of annotation {annotation.get('id')} at ({x:g}, {y:g}) is outside "
                            f"{name} ({width}x{height})")  # fmt: skip
        unlabelled = annotation.get("unlabelled") or ()
        if not all(isinstance(i, int) and 0 <= i < len(COCO17) for i in unlabelled):
            problems.append(
                f"annotation {annotation.get('id')}: `unlabelled` is {unlabelled}, expected keypoint indices 0 to 16"
            )
            continue
        person_keypoints, person_states = _to_openpose(points, list(unlabelled))
        labelled = person_keypoints[person_states == LABELLED]
        # An empty box says as little as none.
        has_box = bbox is not None and min(bbox[2:]) > 0
        if len(labelled) == 0 and not (has_box and (person_states == UNLABELLED).any()):
            continue
        if bbox is not None and has_box:
            x, y, w, h = bbox
            box = (x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5)
        else:
            box = (*labelled.min(axis=0).tolist(), *labelled.max(axis=0).tolist())
        keypoints.append(person_keypoints)
        states.append(person_states)
        boxes.append(box)
        areas.append(area or OUTLINE_SHARE * (box[2] - box[0]) * (box[3] - box[1]))
    return Photo(
        int(image["id"]),
        name,
        width,
        height,
        str(image.get("source", "")),
        np.array(keypoints, np.float32).reshape(-1, len(OPENPOSE18), 2),
        np.array(states, np.uint8).reshape(-1, len(OPENPOSE18)),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.maximum(np.array(areas, np.float32), 1),
        tuple(crowds),
    )


def _checked_bbox(annotation: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """x, y, width and height of the annotated box, if there is one.

    Raises:
        ValueError: It is no box.
    """
    values = annotation.get("bbox") or ()
    if len(values) == 0:
        return None
    numbers = [float(value) for value in values]
    if len(numbers) != 4 or not all(abs(number) <= MAX_PX for number in numbers) or min(numbers[2:]) < 0:
        raise ValueError(f"has the bbox {str(values)[:80]}, expected finite x, y, width, height, the sides not negative")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _checked_area(annotation: dict[str, Any]) -> float:
    """The annotated area; 0 where there is none.

    Raises:
        ValueError: It is no area.
    """
    area = float(annotation.get("area") or 0)
    if not 0 <= area <= MAX_PX**2:
        raise ValueError(f"has the area {area}, expected finite square pixels")
    return area


def _crowd(annotation: dict[str, Any], bbox: tuple[float, float, float, float] | None, width: int, height: int) -> Crowd:
    if bbox is None:
        raise ValueError("is a crowd without a bbox, expected x, y, width, height")
    x, y, w, h = bbox
    runs = annotation.get("segmentation")
    return Crowd((x, y, x + w, y + h), _checked_runs(runs, width, height) if isinstance(runs, dict) else None)


def _checked_runs(runs: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """An outline as pycocotools' compressed run lengths, tried once: it would fail in the middle of the training.

    Raises:
        ValueError: It is none, or is of another size than the image.
    """
    size, counts = runs.get("size"), runs.get("counts")
    if size != [height, width]:
        raise ValueError(f"has run lengths of {size}, expected those of its image, {[height, width]}")
    if isinstance(counts, list):
        if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != height * width:
            raise ValueError(f"has run lengths that do not add up to the {height * width} pixels of its image")
        return dict(coco_mask.frPyObjects(runs, height, width))
    try:
        coco_mask.decode(runs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"has run lengths that cannot be decoded ({error})") from error
    return runs


def _to_openpose(points: Float, unlabelled: list[int]) -> tuple[Float, Uint8]:
    """One person's 17 COCO points (x, y, visibility) as 18 keypoints and states."""
    coco_states = np.where(points[:, 2] > 0, LABELLED, ABSENT).astype(np.uint8)
    coco_states[unlabelled] = UNLABELLED
    keypoints = np.zeros((len(OPENPOSE18), 2), np.float32)
    states = np.zeros(len(OPENPOSE18), np.uint8)
    for ours, theirs in _FROM_COCO:
        states[ours] = coco_states[theirs]
        if states[ours] == LABELLED:
            keypoints[ours] = points[theirs, :2]  # COCO's keypoints name pixels, its boxes the edges between them
    if (states[_SHOULDERS] == LABELLED).all():
        states[_NECK] = LABELLED
        keypoints[_NECK] = keypoints[_SHOULDERS].mean(axis=0)
    elif (states[_SHOULDERS] == UNLABELLED).any():
        states[_NECK] = UNLABELLED
    return keypoints, states
