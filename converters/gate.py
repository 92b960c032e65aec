"""The gate: what a quantised network has to show before it is written.

With annotations it is COCO keypoint AP; without, agreement with the floating-point network on the people of the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from converters.agreement import SURE, compare, correlation
from converters.pictures import Image, InputSize, engine_for, estimate_with
from edgepose.engines import Pending
from edgepose.engines.openvino import OpenVINOEngine, Precision
from edgepose.errors import InputError
from edgepose.evaluation import evaluate
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.zoo.registry import Model

Float = NDArray[np.float32]

MAX_AP_DROP = 1.0  # points, percent
MIN_OKS = 0.97  # mean, over people that both networks see
MAX_STRAY = 0.02  # people that one of them alone sees, as a part of those that the floating-point network sees
# Where nobody is seen for sure, agreement on people says nothing, and the maps themselves are compared.
MIN_CORRELATION = 0.97
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


class AccuracyGate:
    """COCO keypoint AP, by the people of `annotations`. Top-down models are given the annotated boxes."""

    def __init__(self, model: Model, input_size: InputSize, annotations: Path, images: Path, max_images: int | None) -> None:
        self._model, self._input_size = model, input_size
        self._annotations, self._images, self._max_images = annotations, images, max_images
        self.protocol = f"COCO keypoint AP in percent, {annotations.name}, single scale, no flip test"
        if model.task == "top-down":
            self.protocol += ", annotated boxes"

    def measure(self, network: ov.Model, precision: Precision | None = "f32") -> float:
        estimate = estimate_with(engine_for(network, self._model, precision), self._model, self._input_size)
        boxes: Literal["annotations", "detector"] = "annotations" if self._model.task == "top-down" else "detector"
        done = evaluate(estimate, self._annotations, self._images, boxes=boxes, max_images=self._max_images)
        return done.figures["AP"]

    def judge(self, reference: float, candidate: float) -> Verdict:
        if reference <= MAX_AP_DROP:
            raise InputError(
                f"{self._model.name} itself has AP {reference:.1f} here, too little to tell a drop of {MAX_AP_DROP} by; leave "
                "out the annotations, to compare people instead"
            )
        drop = reference - candidate
        figures = f"AP {candidate:.1f}, {abs(drop):.1f} {'below' if drop >= 0 else 'above'}"
        return Verdict(drop <= MAX_AP_DROP, figures, candidate)

    def better(self, first: float, second: float) -> float:
        return max(first, second)

    def describe(self, result: float) -> str:
        return f"AP {result:.1f}"


@dataclass(frozen=True)
class Sight:
    """What a network made of the pictures: the people of each, and the outputs of its first runs."""

    people: list[Poses]
    maps: list[Float]


class AgreementGate:
    """People like those that the floating-point network sees. It holds for top-down models that get whole pictures, too.

    With `by_maps` the maps themselves are compared: what an untrained network takes for people changes with any rounding.
    """

    def __init__(self, model: Model, input_size: InputSize, images: list[Path], *, by_maps: bool = False) -> None:
        self._model, self._input_size, self._images, self._by_maps = model, input_size, images, by_maps
        what = "in the maps, by correlation" if by_maps else "on the people, by OKS"
        self.protocol = f"agreement with FP32 {what}; {len(images)} images"

    def measure(self, network: ov.Model, precision: Precision | None = "f32") -> Sight:
        engine = _Tapped(engine_for(network, self._model, precision))
        estimate = estimate_with(engine, self._model, self._input_size)
        people = [estimate(read_image(image)) for image in self._images]
        return Sight(people, [maps for run in engine.runs for maps in run.result()])

    def judge(self, reference: Sight, candidate: Sight) -> Verdict:
        found = compare(reference.people, candidate.people)
        strays = found.lost + found.invented
        if self._by_maps or (not found.people and not strays):
            likeness = correlation(reference.maps, candidate.maps)
            about = "" if self._by_maps else "nobody seen for sure; "
            return Verdict(likeness >= MIN_CORRELATION, f"{about}maps correlate {likeness:.4f}")
        passed = found.oks >= MIN_OKS and strays <= MAX_STRAY * found.people
        return Verdict(passed, f"OKS {found.oks:.3f}, {found.lost} lost and {found.invented} invented of {found.people} people")

    def better(self, first: Sight, second: Sight) -> Sight:
        return first

    def describe(self, result: Sight) -> str:
        return f"{sum(int((people.confidence >= SURE).sum()) for people in result.people)} people"


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
