"""The gates that a quantised network has to pass before it is written.

With annotations, a gate measures COCO keypoint AP; without, agreement with the floating-point network on the people of the
pictures, or on the maps. Pictures that cannot tell a good network from a dead one prove nothing, and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import openvino as ov

from converters.int8.agreement import SURE, Agreement, compare
from converters.int8.maps import Likeness, compare_maps, kinds
from converters.pictures import InputSize, engine_for, estimate_with
from edgepose.arrays import Double, Float, Image
from edgepose.decoding.paf import PAF_COUNT
from edgepose.engines import Pending
from edgepose.engines.openvino import OpenVINOEngine, Precision
from edgepose.errors import InputError
from edgepose.evaluation import evaluate
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, Skeleton
from edgepose.zoo.registry import Model

MAX_AP_DROP = 1.0  # points, percent
# With a lower AP, the drop that is allowed would be more than a fifth of it.
MIN_AP = 5.0
# With fewer annotated people, each one of them moves AP by more than ten points.
MIN_ANNOTATED_PEOPLE = 10
# AP depends only on the order of scores, and hardly on invented people with low scores. So the sum of the scores of all
# keypoints of one kind has to stay, too: it may change by this part of the reference's sum, and by 1, the score of a keypoint.
# On 24 photos, the sums of the INT8 default are 0.94 to 0.98 of those of FP16. Halved heatmaps leave AP as it is, and sums of
# 0.45 to 0.51.
MAX_SCORES_CHANGE = 0.2

MIN_OKS = 0.97  # mean, over people that both networks see
MAX_STRAY = 0.02  # people that only one network sees, as a part of those that the floating-point network sees
# Keypoints that only one network sees, as a part of those that the floating-point network sees: over all kinds, lost and
# invented ones separately; of one kind, both together. On eight photos, the embedded INT8 model loses 2 % and invents 3 %, and
# at most 7 % of one kind.
MAX_STRAY_KEYPOINTS = 0.05
MAX_STRAY_OF_KIND = 0.25
STRAYS_OF_FEW = 2  # allowed in addition: of the ten keypoints of a portrait, one or two have scores near the thresholds
MAX_SCORE_DIFFERENCE = 0.08  # root mean square; good INT8 networks have 0.02 to 0.055

# Limits for the worst channel of the maps. On two to eight photos of COCO, good INT8 networks (the embedded model; Lightweight
# OpenPose, HRNet and HigherHRNet with random weights) have a likeness of 0.93 or more, factors of 0.89 to 1.03 and moves of at
# most 0.18 cells; on one portrait 0.92, 0.85 to 1.11 and 0.16. Moves have a limit of their own, because a smooth map that moves
# by a cell still has a likeness of up to 0.95.
MIN_LIKENESS = 0.9
MAX_FACTOR = 1.25  # the least factor is 1 / 1.25
MAX_MOVE = 0.25  # cells
# Where people or AP agree, the limits are wider: no channel may be dead, upside down, at another place or of another scale. On
# one to eight photos the embedded INT8 has a likeness of 0.82 or more, moves of 0.41 cells and factors of 0.73 to 1.22 at most.
MIN_LIKENESS_BESIDE, MAX_MOVE_BESIDE, MAX_FACTOR_BESIDE = 0.5, 0.5, 1.6
COMPARED_MAPS = 8  # the first runs of the network, whose maps are kept


@dataclass(frozen=True)
class Verdict:
    """The decision on a network, the figures behind it in words, and its AP in percent if that was measured."""

    passed: bool
    figures: str
    ap: float | None = None


Result = TypeVar("Result")


class Gate(Protocol[Result]):
    """Measures networks, and compares what was measured."""

    protocol: str
    """The measure and the pictures, in words, for reports."""

    def measure(self, network: ov.Model, precision: Precision | None = "f32") -> Result:
        """The result of a network on the pictures, in this arithmetic (None: the device's choice)."""

    def judge(self, reference: Result, candidate: Result) -> Verdict:
        """The verdict on the candidate, compared with the reference."""

    def better(self, first: Result, second: Result) -> Result:
        """The result that INT8 networks have to match, of two floating-point ones."""

    def describe(self, result: Result) -> str:
        """The figure of one network, in words."""


@dataclass(frozen=True, eq=False)
class Accuracy:
    """The result of a network on annotated images: AP in percent, the numbers of images and of annotated people in them, the
    sum (17,) of the scores of the keypoints that it finds, by kind, and the outputs of its first runs.
    """

    ap: float
    images: int
    people: int
    scores: Double
    maps: list[list[Float]]


class AccuracyGate:
    """A gate on COCO keypoint AP, and on the scores and maps that AP does not show: a limb that is dead, or the neck, which
    COCO does not have, may leave AP as it is. Top-down models get the annotated boxes.

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
        # A network with a clearly higher AP may find more people than the reference.
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
    """The people that a network finds in each picture, and the outputs of its first runs."""

    people: list[Poses]
    maps: list[list[Float]]


class AgreementGate:
    """A gate on agreement with the people that the floating-point network sees, for bottom-up and top-down models.

    With `by_maps`, only the maps are compared, for untrained networks, whose people change with any rounding.
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
        """The verdict by the maps, if there is anything in them."""
        if all(_highest_keypoint(maps) < SURE for run in reference.maps for maps in run):
            raise InputError(
                f"{self._model.name} itself sees nobody in {len(self._images)} images, and its maps are flat, like those of "
                "a network that sees nothing at all; give photos with people in them, or --by-maps for a network that "
                "is not trained"
            )
        likeness = compare_maps(reference.maps, candidate.maps)
        passed = not invented and _same_maps(likeness)
        return Verdict(passed, f"nobody seen for sure, {invented} people invented; {likeness}")


def _complaints(found: Agreement, skeleton: Skeleton) -> list[str]:
    """Faults in keypoints and scores, in words; those in OKS and people are not among them."""
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
    """The highest value of the keypoint channels of maps (B, C, h, w), which come first in an output; -inf for PAFs alone."""
    channels = maps.shape[1]
    return -np.inf if channels == PAF_COUNT else float(maps[:, kinds(channels)[0]].max())


def _words(keypoint: str) -> str:
    """`l_wrist` as "left wrist"."""
    return keypoint.replace("l_", "left ").replace("r_", "right ")


class _Tapped:
    """An engine that keeps its first runs, for their maps."""

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
