"""COCO keypoint AP of any estimator, over any annotation file in COCO's format, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgepose.errors import InputError, MissingExtraError, SourceError
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.skeleton import COCO17

# COCO's ten figures, in the order of pycocotools: AP and AR over OKS 0.50:0.95, at 0.50, at 0.75, and by the size of people.
FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")

# The least score of a keypoint that is counted, unless the caller says otherwise. Models show only keypoints of higher scores,
# but AP counts a keypoint wherever it is put, and gets better the fewer are left out.
LEAST_SCORE = 0.05


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        figures: COCO's ten figures by name, in percent.
        images: The number of images evaluated.
        people: The annotations that COCO counts in these images: people with keypoints who are not crowds.
        results: COCO keypoint results, as its evaluation server takes them.
        found: Every result that counts, each with the annotation that it matches at OKS 0.5, or None. Results that match
            people whom COCO ignores, such as those in crowds, are left out.
    """

    figures: dict[str, float]
    images: int
    people: list[dict[str, Any]]
    results: list[dict[str, Any]]
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The figures, rounded to hundredths of a percent, and the number of images."""
        return {**{name: round(value, 2) for name, value in self.figures.items()}, "images": self.images, "unit": "percent"}


def evaluate(
    estimate: Callable[..., Poses],
    annotations: Path,
    images: Path,
    *,
    boxes: Literal["annotations", "detector"] = "detector",
    max_images: int | None = None,
    progress: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]] = iter,
) -> Evaluation:
    """Measure the keypoint AP and AR of `estimate`.

    Args:
        estimate: Finds the people in an image (H, W, 3) uint8 BGR; a `PoseEstimator`, for example.
        annotations: A file of COCO keypoint annotations. Every image that it lists counts, also those without people.
        images: The folder that holds the images under the `file_name` of the annotations.
        boxes: "annotations" calls `estimate(image, boxes=...)` with the boxes of the annotated people, as the tables of
            top-down papers with ground-truth boxes have it; "detector" leaves it to `estimate` to find them.
        max_images: Evaluate only this many images, the first ones; None: all.
        progress: Wraps the list of images, to show how many are done.

    Raises:
        SourceError: The annotations or an image cannot be read.
        InputError: The annotations are not COCO's keypoints.
        MissingExtraError: pycocotools is not installed.
    """
    _pycocotools()  # before the network runs for nothing
    content = _read_annotations(annotations)
    listed = content["images"][:max_images]
    absent = [image["file_name"] for image in listed if not (images / image["file_name"]).is_file()]
    if absent:
        raise SourceError(f"{len(absent)} of {len(listed)} images of {annotations} are not in {images}, such as {absent[0]}")

    results: list[dict[str, Any]] = []
    people = _boxes(content["annotations"])
    for image in progress(listed):
        known = {"boxes": people.get(image["id"], [])} if boxes == "annotations" else {}
        results += estimate(read_image(images / image["file_name"]), **known).to_coco(image["id"])
    listed_ids = {image["id"] for image in listed}
    counted = [person for person in content["annotations"] if person["image_id"] in listed_ids and _counts(person)]
    if not results:
        return Evaluation(dict.fromkeys(FIGURES, 0.0), len(listed), counted, results)

    evaluation = run_cocoeval(content, results, [image["id"] for image in listed])
    # A figure over no people, such as APm where none are of medium size, is -1.
    figures = {name: max(0.0, 100 * float(value)) for name, value in zip(FIGURES, evaluation.stats, strict=True)}
    return Evaluation(figures, len(listed), counted, results, _found(evaluation.evalImgs, results, content["annotations"]))


def run_cocoeval(content: dict[str, Any], results: list[dict[str, Any]], image_ids: list[int]) -> Any:
    """Run COCO's evaluation over keypoint results, at least one; returns the `COCOeval`, accumulated and summarised.

    Args:
        content: Annotations in COCO's format.
        results: COCO keypoint results; they are not changed.
        image_ids: The images to evaluate.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    coco, cocoeval = _pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        truth = coco()
        truth.dataset = content
        truth.createIndex()
        evaluation = cocoeval(truth, truth.loadRes([dict(result) for result in results]), "keypoints")
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _pycocotools() -> tuple[Any, Any]:
    """The classes COCO and COCOeval."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("pycocotools", "eval") from error
    return COCO, COCOeval


def _found(
    by_image: list[dict[str, Any] | None], results: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """`Evaluation.found`, from pycocotools' `evalImgs` by image, in which all sizes of people come first, and OKS 0.5."""
    people = {person["id"]: person for person in annotations}
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for image in by_image:
        if image is None or image["aRng"][0] > 0:
            continue
        for number, match, ignored in zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True):
            if not ignored:
                found.append((results[number - 1], people.get(int(match))))
    return found


def _counts(person: dict[str, Any]) -> bool:
    """Whether a person counts for COCO: with keypoints, and no crowd."""
    return bool(person["num_keypoints"]) and not person["iscrowd"]


def _boxes(annotations: list[dict[str, Any]]) -> dict[int, list[list[float]]]:
    """Boxes x0, y0, x1, y1 by image, of the people with keypoints; an empty box is none."""
    boxes: dict[int, list[list[float]]] = {}
    for person in annotations:
        x, y, width, height = person["bbox"]
        if _counts(person) and min(width, height) > 0:
            boxes.setdefault(person["image_id"], []).append([x, y, x + width, y + height])
    return boxes


def _read_annotations(path: Path) -> dict[str, Any]:
    """The parts of the file that evaluation needs, in the shape that pycocotools expects."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: no JSON: {error}; expected COCO keypoint annotations") from error
    try:
        return _normalised(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except KeyError as error:
        raise InputError(f"{path}: an image or annotation lacks {error}; expected COCO keypoint annotations") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: no COCO annotations: {error}; expected lists of images, annotations and categories"
        ) from error


def _normalised(content: Any) -> dict[str, Any]:
    """Images and people alone: of one category, 1, as `Poses.to_coco` has it, and with all that pycocotools asks for."""
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise InputError("no COCO annotations; expected an object with images, annotations and categories")
    if not content["images"] or not content["annotations"]:
        raise InputError(f"{len(content['images'])} images, {len(content['annotations'])} annotations; expected some")
    images = [{"id": image["id"], "file_name": _below(image["file_name"])} for image in content["images"]]
    known = {image["id"] for image in images}
    people = {category["id"] for category in content["categories"] if category.get("keypoints")}
    annotations: list[dict[str, Any]] = []
    for annotation in content["annotations"]:
        if annotation["category_id"] not in people or annotation["image_id"] not in known:
            continue
        if "keypoints" not in annotation:
            raise InputError("annotations without keypoints; expected COCO's person_keypoints, not its instances")
        points = annotation["keypoints"]
        if len(points) != 3 * len(COCO17):
            raise InputError(
                f"an annotation has {len(points)} numbers in its keypoints; expected COCO's 17 times x, y, visibility"
            )
        labelled = sum(visibility > 0 for visibility in points[2::3])
        annotations.append(
            {
                # Numbered anew: pycocotools takes a match with number 0 for none.
                "id": len(annotations) + 1,
                "image_id": annotation["image_id"],
                "category_id": 1,
                "keypoints": points,
                "num_keypoints": annotation.get("num_keypoints", labelled),
                "iscrowd": annotation.get("iscrowd", 0),
                "area": annotation["area"],
                "bbox": annotation["bbox"],
            }
        )
    if not any(a["num_keypoints"] and not a["iscrowd"] for a in annotations):
        raise InputError(
            "annotations without keypoints: nobody is labelled; expected COCO's person_keypoints, not its instances"
        )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _below(file_name: str) -> str:
    path = Path(file_name)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise InputError(f"an image has the file_name {file_name!r}; expected one below the folder")
    return file_name
