"""PCKh of any estimator on MPII's annotations, by the rules of HRNet's code (lib/dataset/mpii.py): the share of joints that are
found within half a head's size of where they are.

The annotations are those that HRNet's code reads: a list of people, each with `image`, `center`, `scale`, `joints` and
`joints_vis`, and the heads in `gt_NAME.mat` beside NAME.json. Legend: N people, 16 joints in MPII's order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Double, Float, Image
from edgepose.errors import InputError, MissingExtraError, SourceError
from edgepose.kernels.assignment import assign
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.skeleton import MPII16

JOINTS = len(MPII16)
THRESHOLD = 0.5  # of the head's size
# The finer figure is called 0.1 and measured at 0.11: the code takes the twelfth of 0, 0.01, 0.02, ...
FINE_THRESHOLD = 0.11
HEAD_SHARE = 0.6  # of the diagonal of the head's box, which is the head's size (MPII's SC_BIAS)
UNIT_PX = 200  # of `scale`
LOWERED_PX = 15  # by so many times its scale a person's middle is lowered, so that no legs are cut off
GROWN = 1.25  # likewise
# How many pixels a person's box may be beyond the picture: the code does not cut it off, as crops are black there.
MAX_BEYOND_PX = 4096

_FIGURES = {
    "Head": ("head_top",), "Shoulder": ("l_shoulder", "r_shoulder"), "Elbow": ("l_elbow", "r_elbow"),
    "Wrist": ("l_wrist", "r_wrist"), "Hip": ("l_hip", "r_hip"), "Knee": ("l_knee", "r_knee"), "Ankle": ("l_ankle", "r_ankle"),
}  # fmt: skip
# Pelvis and thorax do not count in the mean.
_COUNTED = np.array([name not in ("pelvis", "thorax") for name in MPII16.keypoints])


class Truth(NamedTuple):
    """The annotations of N people."""

    joints: Double  # (N, 16, 2) x, y in pixels, the first of which is (0, 0)
    visible: NDArray[np.bool_]  # (N, 16) which of them were annotated
    head_sizes: Double  # (N,) in pixels

    def of(self, people: list[int]) -> Truth:
        """The annotations of some of the people."""
        return Truth(self.joints[people], self.visible[people], self.head_sizes[people])


@dataclass(frozen=True)
class HeadScores:
    """The result of an evaluation by PCKh.

    Attributes:
        figures: PCKh@0.5 in percent, of the joints, and their mean weighted by how many there are; and that mean at 0.1.
        images: How many images they are of.
        people: How many people they are of.
    """

    figures: dict[str, float]
    images: int
    people: int

    def to_dict(self) -> dict[str, Any]:
        """The figures, rounded to hundredths of a percent, and the numbers of images and people."""
        figures = {name: round(value, 2) for name, value in self.figures.items()}
        return {**figures, "images": self.images, "people": self.people, "unit": "percent"}


def evaluate_pckh(
    estimate: Callable[..., Poses],
    annotations: Path,
    images: Path,
    *,
    boxes: Literal["annotations", "detector"] = "annotations",
    max_images: int | None = None,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> HeadScores:
    """PCKh of `estimate`; a joint that it does not find is not right.

    Args:
        estimate: From an image (H, W, 3) uint8 BGR to the people in it, such as a `PoseEstimator`.
        annotations: MPII's, see above.
        images: The folder with the images.
        boxes: "annotations" calls `estimate(image, boxes=...)` around each annotated person, as HRNet's figures are made;
            "detector" leaves it to find them, and counts for each person whoever of the found has most joints right.
        max_images: The first so many images alone.
        progress: Wraps the list of images' names, to watch them go by.

    Raises:
        SourceError: The annotations or an image cannot be read.
        InputError: The annotations are not MPII's.
        MissingExtraError: SciPy, which reads .mat files, is not installed.
    """
    people, truth = read_mpii(annotations)
    by_image: dict[str, list[int]] = {}
    for index, person in enumerate(people):
        by_image.setdefault(person["image"], []).append(index)
    names = list(by_image)[:max_images]
    absent = [name for name in names if not (images / name).is_file()]
    if absent:
        raise SourceError(f"{len(absent)} of {len(names)} images of {annotations} are not in {images}, such as {absent[0]}")
    found = np.full(truth.joints.shape, np.nan)
    for name in progress(names):
        image, its = read_image(images / name), by_image[name]
        if boxes == "annotations":
            for index in its:
                found[index] = _within_box(estimate, image, people[index])
        else:
            found[its] = _matched(estimate(image).to(MPII16).keypoints, truth.of(its))
    counted = [index for name in names for index in by_image[name]]
    return HeadScores(pckh(found[counted], truth.of(counted)), len(names), len(counted))


def pckh(found: Double, truth: Truth) -> dict[str, float]:
    """The figures, in percent.

    Args:
        found: (N, 16, 2) x, y in pixels; NaN where a joint was not found.
        truth: Where they are.
    """
    counts = truth.visible.sum(axis=0)
    shares = {}
    for threshold in (THRESHOLD, FINE_THRESHOLD):
        right = _right(found, truth, threshold).sum(axis=0)
        shares[threshold] = np.where(counts > 0, 100 * right / np.maximum(counts, 1), 0)
    figures = {
        name: float(np.mean([shares[THRESHOLD][MPII16.index(joint)] for joint in joints])) for name, joints in _FIGURES.items()
    }
    weights = np.where(_COUNTED, counts, 0) / max(int(counts[_COUNTED].sum()), 1)
    return {**figures, "Mean": float(shares[THRESHOLD] @ weights), "Mean@0.1": float(shares[FINE_THRESHOLD] @ weights)}


def _right(found: Double, truth: Truth, threshold: float) -> NDArray[np.bool_]:
    """(N, 16) which joints are within `threshold` head sizes of where they are."""
    distance = np.linalg.norm(found - truth.joints, axis=2)
    return np.asarray((distance <= threshold * truth.head_sizes[:, None]) & truth.visible)  # NaN is never within


def _within_box(estimate: Callable[..., Poses], image: Image, person: dict[str, Any]) -> Float:
    """(16, 2) the joints found in the box of an annotated person, NaN where none were."""
    height, width = image.shape[:2]
    middle, side = np.array(person["center"], np.float64), UNIT_PX * float(person["scale"])
    if middle[0] != -1:
        middle[1] += LOWERED_PX * float(person["scale"])
    else:
        side /= GROWN  # Crops are cut out larger than boxes by this factor.
    middle -= 1  # MPII counts pixels from 1.
    low, high = middle - side / 2, middle + side / 2
    beyond = int(np.ceil(max(0, *-low, *(high - (width, height)))))
    if beyond > MAX_BEYOND_PX:
        raise InputError(f"the box of a person in {person['image']} is {beyond} px beyond it; expected MPII's center and scale")
    black = cv2.copyMakeBorder(image, beyond, beyond, beyond, beyond, cv2.BORDER_CONSTANT) if beyond else image
    poses = estimate(np.asarray(black, np.uint8), boxes=[[*(low + beyond), *(high + beyond)]]).to(MPII16)
    return poses.keypoints[0] - np.float32(beyond) if len(poses) else np.full((JOINTS, 2), np.nan, np.float32)


def _matched(found: Float, truth: Truth) -> Double:
    """(N, 16, 2) of the people `found` (M, 16, 2), for each annotated one who has most joints right; NaN for nobody."""
    result = np.full(truth.joints.shape, np.nan)
    if len(found) and len(result):
        everywhere = [np.broadcast_to(person, result.shape).astype(np.float64) for person in found]
        right = np.stack([_right(person, truth, THRESHOLD).sum(axis=1) for person in everywhere], axis=1)
        for person, chosen in enumerate(assign(-right.astype(np.float64))):
            if chosen >= 0:
                result[person] = found[chosen]
    return result


def read_mpii(path: Path) -> tuple[list[dict[str, Any]], Truth]:
    """The people of an annotation file, and where their joints and heads are.

    Raises:
        SourceError, InputError, MissingExtraError: As `evaluate_pckh`.
    """
    expected = "expected MPII's list of people, each with image, center, scale, joints and joints_vis"
    try:
        people = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: no JSON: {error}; {expected}") from error
    if not isinstance(people, list) or not people:
        raise InputError(f"{path}: {'an empty list' if people == [] else type(people).__name__}; {expected}")
    try:
        joints = np.array([person["joints"] for person in people], np.float64) - 1  # MPII counts pixels from 1.
        visible = np.array([person["joints_vis"] for person in people], np.float64) > 0
        places = np.array([[*person["center"], person["scale"]] for person in people], np.float64)
        names = [Path(person["image"]) for person in people]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {type(error).__name__} {error}; {expected}") from error
    if joints.shape != (len(people), JOINTS, 2) or visible.shape != joints.shape[:2] or places.shape != (len(people), 3):
        raise InputError(f"{path}: joints {joints.shape}, joints_vis {visible.shape}; expected {JOINTS} joints a person")
    if not (np.isfinite(joints).all() and np.isfinite(places).all() and (places[:, 2] > 0).all()):
        raise InputError(f"{path}: a number is not finite, or a scale not above 0; {expected}")
    bad = next((name for name in names if not name.name or name.is_absolute() or ".." in name.parts), None)
    if bad is not None:
        raise InputError(f"{path}: an image is {str(bad)!r}; expected the name of one below the folder")
    return people, _with_heads(path, people, Truth(joints, visible, np.zeros(len(people))))


def _with_heads(path: Path, people: list[dict[str, Any]], truth: Truth) -> Truth:
    """The truth with the heads of `gt_NAME.mat` or mmpose's `mpii_gt_NAME.mat`, which has the joints that count, too; or with
    those of `headbox`, x0, y0, x1, y1 of each person."""
    places = [path.with_name(f"gt_{path.stem}.mat"), path.with_name(f"{path.stem.replace('mpii_', 'mpii_gt_', 1)}.mat")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        if not all("headbox" in person for person in people):
            raise InputError(
                f"{path}: no heads, by whose size PCKh is measured; expected {places[0].name} of HRNet's data beside it, or a "
                "headbox (x0, y0, x1, y1) of each person"
            )
        try:
            boxes = np.array([person["headbox"] for person in people], np.float64).reshape(len(people), 2, 2)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: a headbox is not x0, y0, x1, y1: {error}") from error
        return truth._replace(head_sizes=_head_sizes(path, boxes[:, 1] - boxes[:, 0]))
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("SciPy", "eval") from error
    try:
        content = loadmat(file)
        missing, joints, heads = (np.asarray(content[name]) for name in ("jnt_missing", "pos_gt_src", "headboxes_src"))
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError(f"{file}: {error}; expected jnt_missing, pos_gt_src and headboxes_src of MPII") from error
    if (missing.shape, joints.shape, heads.shape) != ((JOINTS, len(people)), (JOINTS, 2, len(people)), (2, 2, len(people))):
        raise InputError(f"{file}: {missing.shape[-1]} people; expected {len(people)}, as {path.name} has")
    sizes = _head_sizes(file, (heads[1] - heads[0]).T.astype(np.float64))
    return Truth(np.moveaxis(joints, 2, 0).astype(np.float64) - 1, (missing == 0).T, sizes)


def _head_sizes(file: Path, diagonals: Double) -> Double:
    sizes = HEAD_SHARE * np.linalg.norm(diagonals, axis=1)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise InputError(f"{file}: a head's box is empty; expected two different corners of each")
    return np.asarray(sizes)
