"""The gate: what a quantised network has to show before it is written.

With annotations it is COCO keypoint AP; without, agreement with the floating-point network on the people of the pictures, or
on the maps. Pictures that cannot tell a good network from a dead one are refused: they prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from converters.int8.agreement import SURE, Agreement, compare
from converters.int8.maps import Likeness, compare_maps, kinds
from converters.pictures import Image, InputSize, engine_for, estimate_with
from edgepose.decoding.paf import PAF_COUNT
from edgepose.engines import Pending
from edgepose.engines.openvino import OpenVINOEngine, Precision
from edgepose.errors import InputError
from edgepose.evaluation import evaluate
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, Skeleton
from edgepose.zoo.registry import Model

Float = NDArray[np.float32]

MAX_AP_DROP = 1.0  # points, percent
# Below this, the drop that is allowed would be more than a fifth of what there is.
MIN_AP = 5.0
# With fewer annotated people, each one that is found or not moves AP by more than ten points.
MIN_ANNOTATED_PEOPLE = 10
# AP looks at the order of scores alone, and hardly at people who were invented with low ones. So the scores of all keypoints of
# one kind, added up, also have to stay: within this part of the reference's, and one keypoint beside. The INT8 default is at
# 0.94 to 0.98 of FP16 on 24 photos, by kind; half the heatmaps leave AP as it is, and 0.45 to 0.51 of the scores.
MAX_SCORES_CHANGE = 0.2

MIN_OKS = 0.97  # mean, over people that both networks see
MAX_STRAY = 0.02  # people that one of them alone sees, as a part of those that the floating-point network sees
# Keypoints that one of them alone sees, as a part of those that the floating-point network sees, lost and invented each; and of
# one kind, both together. The embedded INT8 loses 2 % and invents 3 % on eight photos; of one kind at most 7 %.
MAX_STRAY_KEYPOINTS = 0.05
MAX_STRAY_OF_KIND = 0.25
STRAYS_OF_FEW = 2  # beside that: of the ten keypoints of a portrait, one or two hover about the thresholds
MAX_SCORE_DIFFERENCE = 0.08  # root mean square; of INT8 that is good 0.02 to 0.055

# Of the maps, by channel, the worst counts. INT8 that is good has 0.93 or more, factors of 0.89 to 1.03 and moves of 0.18
# cells at most on two to eight photos of COCO (the embedded model; Lightweight OpenPose, HRNet and HigherHRNet with random
# weights), and 0.92, 0.85 to 1.11 and 0.16 on one portrait. A smooth map that moves by a cell is still alike by up to 0.95.
MIN_LIKENESS = 0.9
MAX_FACTOR = 1.25  # and its inverse is the least
MAX_MOVE = 0.25  # cells
# Where people or AP agree, the maps are asked for no more than that none is dead, upside down, at another place or of another
# scale. On one to eight photos the embedded INT8 has 0.82 or more, moves of 0.41 cells and factors of 0.73 to 1.22 at most.
MIN_LIKENESS_BESIDE, MAX_MOVE_BESIDE, MAX_FACTOR_BESIDE = 0.5, 0.5, 1.6
COMPARED_MAPS = 8  # runs of the network


@dataclass(frozen=True)
class Verdict:
    """Whether a network passes, the figures that say so, and its AP in percent if that was measured."""

    passed: bool
    figures: str
    ap: float | None = None


Result = TypeVar("Result")


class Gate(Protocol[Result]):
    """Measures networks, and compares what was measured."""

    protocol: str
    """What is measured, on what, for reports."""

    def measure(self, network: ov.Model, precision: Precision | None = "f32") -> Result:
        """What a network does on the pictures, in this arithmetic (None: the device's choice)."""

    def judge(self, reference: Result, candidate: Result) -> Verdict:
        """Whether the candidate is good enough beside the reference."""

    def better(self, first: Result, second: Result) -> Result:
        """The one that others have to stand beside."""

    def describe(self, result: Result) -> str:
        """The figure of a network on its own."""


@dataclass(frozen=True, eq=False)
class Accuracy:
    """What a network reaches on annotated images: AP in percent, the numbers of images and of annotated people in them, the
    scores of the keypoints that it finds, added up by kind (17,), and the outputs of its first runs.
    """

    ap: float
    images: int
    people: int
    scores: NDArray[np.float64]
    maps: list[list[Float]]


class AccuracyGate:
    """COCO keypoint AP, by the people of `annotations`, and the scores and maps behind it: a limb that is dead, or the neck,
    which COCO does not have, may leave AP as it is. Top-down models get the annotated boxes.

    Without `maps_stay` the maps may be any that reach the AP, for changes that mean to change them.
    """

    def __init__(
        self,
        model: Model,
        input_size: InputSize,
        annotations: Path,
        images: Path,
        max_images: int | None,
        *,
        maps_stay: bool = True,
    ) -> None:
        self._maps_stay = maps_stay
        self._model, self._input_size = model, input_size
        self._annotations, self._images, self._max_images = annotations, images, max_images
        self.protocol = f"COCO keypoint AP in percent, {annotations.name}, single scale, no flip test"
        if model.task == "top-down":
            self.protocol += ", annotated boxes"

    def measure(self, network: ov.Model, precision: Precision | None = "f32") -> Accuracy:
        engine = _Tapped(engine_for(network, self._model, precision))
        estimate = estimate_with(engine, self._model, self._input_size)
        boxes: Literal["annotations", "detector"] = "annotations" if self._model.task == "top-down" else "detector"
        done = evaluate(estimate, self._annotations, self._images, boxes=boxes, max_images=self._max_images)
        keypoints = np.array([result["keypoints"] for result in done.results], np.float64).reshape(-1, len(COCO17), 3)
        maps = [run.result() for run in engine.runs]
        return Accuracy(done.figures["AP"], done.images, len(done.people), keypoints[..., 2].sum(axis=0), maps)

    def judge(self, reference: Accuracy, candidate: Accuracy) -> Verdict:
        self._check(reference)
        drop = reference.ap - candidate.ap
        figures = f"AP {candidate.ap:.1f}, {abs(drop):.1f} {'below' if drop >= 0 else 'above'}"
        change = candidate.scores - reference.scores
        # More people than before are welcome from a network that is clearly the better one.
        far = -change if drop < -MAX_AP_DROP else np.abs(change)
        excess = far - (MAX_SCORES_CHANGE * reference.scores + 1)
        worst = int(np.argmax(excess))
        if excess[worst] > 0:
            figures += (
                f"; the scores of all {_words(COCO17.keypoints[worst])}s found add up to {candidate.scores[worst]:.1f} instead "
                f"of {reference.scores[worst]:.1f}"
            )
        passed = drop <= MAX_AP_DROP and (excess <= 0).all()
        if self._maps_stay and not _maps_alive(likeness := compare_maps(reference.maps, candidate.maps)):
            passed = False
            figures += f"; {likeness}"
        return Verdict(bool(passed), figures, candidate.ap)

    def better(self, first: Accuracy, second: Accuracy) -> Accuracy:
        return max(first, second, key=lambda it: it.ap)

    def describe(self, result: Accuracy) -> str:
        return f"AP {result.ap:.1f}"

    def _check(self, reference: Accuracy) -> None:
        seen = f"{reference.images} images with {reference.people} annotated people"
        if reference.people < MIN_ANNOTATED_PEOPLE:
            raise InputError(
                f"{self._annotations}: {seen} prove nothing about a network; expected at least {MIN_ANNOTATED_PEOPLE} people, "
                "better a hundred; give more images, or a larger --max-images"
            )
        if not reference.ap >= MIN_AP:
            raise InputError(
                f"{self._model.name} itself has AP {reference.ap:.1f} here, on {seen}: a drop of {MAX_AP_DROP} from that "
                f"proves nothing; expected at least {MIN_AP}; give more images, check that the annotations are theirs and "
                "--height is large enough, or leave out the annotations, to compare people instead"
            )


@dataclass(frozen=True)
class Sight:
    """What a network made of the pictures: the people of each, and the outputs of its first runs."""

    people: list[Poses]
    maps: list[list[Float]]


class AgreementGate:
    """People like those that the floating-point network sees. It holds for top-down models that get whole pictures, too.

    With `by_maps` the maps themselves are compared: what an untrained network takes for people changes with any rounding.
    """

    def __init__(self, model: Model, input_size: InputSize, images: list[Path], *, by_maps: bool = False) -> None:
        self._model, self._input_size, self._images, self._by_maps = model, input_size, images, by_maps
        what = "in the maps, by channel" if by_maps else "on the people, by OKS"
        self.protocol = f"agreement with FP32 {what}; {len(images)} images"

    def measure(self, network: ov.Model, precision: Precision | None = "f32") -> Sight:
        engine = _Tapped(engine_for(network, self._model, precision))
        estimate = estimate_with(engine, self._model, self._input_size)
        people = [estimate(read_image(image)) for image in self._images]
        return Sight(people, [run.result() for run in engine.runs])

    def judge(self, reference: Sight, candidate: Sight) -> Verdict:
        if self._by_maps:
            likeness = compare_maps(reference.maps, candidate.maps)
            return Verdict(_same_maps(likeness), str(likeness))
        found = compare(reference.people, candidate.people)
        if not found.people:
            return self._judge_without_people(reference, candidate, found.invented)
        strays = found.lost + found.invented
        figures = f"OKS {found.oks:.3f}, {found.lost} lost and {found.invented} invented of {found.people} people"
        complaints = _complaints(found, reference.people[0].skeleton)
        likeness = compare_maps(reference.maps, candidate.maps)
        if not _maps_alive(likeness):
            complaints.append(str(likeness))
        passed = found.oks >= MIN_OKS and strays <= MAX_STRAY * found.people and not complaints
        return Verdict(passed, "; ".join([figures, *complaints]))

    def better(self, first: Sight, second: Sight) -> Sight:
        return first

    def describe(self, result: Sight) -> str:
        return f"{sum(int((people.confidence >= SURE).sum()) for people in result.people)} people"

    def _judge_without_people(self, reference: Sight, candidate: Sight, invented: int) -> Verdict:
        """By the maps, where there is anything in them."""
        if all(_highest_keypoint(maps) < SURE for run in reference.maps for maps in run):
            raise InputError(
                f"{self._model.name} itself sees nobody in {len(self._images)} images, and its maps are flat, as those of a "
                "network would be that sees nothing at all; give photos with people in them, or --by-maps for a network that "
                "is not trained"
            )
        likeness = compare_maps(reference.maps, candidate.maps)
        passed = not invented and _same_maps(likeness)
        return Verdict(passed, f"nobody seen for sure, {invented} people invented; {likeness}")


def _complaints(found: Agreement, skeleton: Skeleton) -> list[str]:
    """What is wrong with keypoints and scores, beside OKS and people."""
    complaints = []
    count, lost, invented = (int(it.sum()) for it in (found.keypoints, found.lost_keypoints, found.invented_keypoints))
    if max(lost, invented) > MAX_STRAY_KEYPOINTS * count + STRAYS_OF_FEW:
        complaints.append(f"{lost} lost and {invented} invented of {count} keypoints")
    strays = found.lost_keypoints + found.invented_keypoints
    excess = strays - (MAX_STRAY_OF_KIND * found.keypoints + STRAYS_OF_FEW)
    worst = int(np.argmax(excess))
    if excess[worst] > 0:
        name = _words(skeleton.keypoints[worst])
        complaints.append(f"{int(strays[worst])} lost or invented of {int(found.keypoints[worst])} {name}s")
    if found.scores > MAX_SCORE_DIFFERENCE:
        complaints.append(f"scores {found.scores:.2f} apart")
    return complaints


def _same_maps(likeness: Likeness) -> bool:
    return _within(likeness, MIN_LIKENESS, MAX_MOVE, MAX_FACTOR)


def _maps_alive(likeness: Likeness) -> bool:
    return _within(likeness, MIN_LIKENESS_BESIDE, MAX_MOVE_BESIDE, MAX_FACTOR_BESIDE)


def _within(likeness: Likeness, least: float, moved: float, factor: float) -> bool:
    factors = likeness.low >= 1 / factor and likeness.high <= factor
    return factors and likeness.least >= least and likeness.moved <= moved


def _highest_keypoint(maps: Float) -> float:
    """The highest value of the channels that are keypoints, if maps (B, C, h, w) have any; they come first in each output."""
    channels = maps.shape[1]
    return -np.inf if channels == PAF_COUNT else float(maps[:, kinds(channels)[0]].max())


def _words(keypoint: str) -> str:
    """`l_wrist` as "left wrist"."""
    return keypoint.replace("l_", "left ").replace("r_", "right ")


class _Tapped:
    """An engine whose first runs can be looked at later."""

    def __init__(self, engine: OpenVINOEngine) -> None:
        self._engine = engine
        self.output_channels = engine.output_channels
        self.requests = engine.requests
        self.runs: list[Pending] = []

    def submit(self, batch: Image) -> Pending:
        run = self._engine.submit(batch)
        if len(self.runs) < COMPARED_MAPS:
            self.runs.append(run)
        return run
