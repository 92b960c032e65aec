"""Pipelines: from a frame to the people in it. `bottom_up` sees the whole frame at once, `top_down` crops around people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgepose.arrays import Image
from edgepose.decoding import decoder_class
from edgepose.engines import Opened
from edgepose.errors import InputError, ModelError
from edgepose.once import Once
from edgepose.pipelines.bottom_up import BottomUp
from edgepose.pipelines.detection import Detector
from edgepose.pipelines.scheduling import Started
from edgepose.pipelines.top_down import TopDown
from edgepose.zoo.registry import DEFAULT, Model

OpenDetector = Callable[..., Detector]
"""Opens a detector by name or file, with so many `threads`; see `edgepose.loading.open_detector`."""


class Pipeline(Protocol):
    """Finds people in frames with one model."""

    @property
    def batch_size(self) -> int:
        """Crops that go through the network together at most; 1 where whole frames do."""

    def start(self, image: Image, boxes: Any = None) -> Started:
        """Start the network on `image` (H, W, 3) uint8 BGR; the result waits for the people.

        Raises:
            InputError: The boxes are none, or the model takes none.
        """

    def start_together(self, images: Sequence[Image]) -> list[Started]:
        """`start` for several frames, which may share batches."""


@dataclass(frozen=True)
class Options:
    """Choices about how a model finds people; the fields are arguments of `PoseEstimator`. None: the model's own value.

    Raises:
        InputError: A score is out of range.
    """

    input_size: int | tuple[int, int] | None = None
    min_score: float | None = None
    min_confidence: float | None = None
    detector: str | Path | Detector | None = None
    batch_size: int | None = None
    refinement: str | None = None
    flip_test: bool = False
    follow: bool = False
    detect_every: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("min_score", self.min_score), ("min_confidence", self.min_confidence)):
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; expected a number in [0, 1]")
        every = self.detect_every
        if every is not None and (not isinstance(every, (int, np.integer)) or isinstance(every, bool) or every < 1):
            raise InputError(f"detect_every is {every!r}; expected 1 or more, or None for half a second")
        if self.follow and every == 1:
            raise InputError("follow given, but with detect_every 1 people are looked for in every frame anew; leave one out")


def make_pipeline(opened: Opened, options: Options, open_detector: OpenDetector) -> Pipeline:
    """The pipeline that runs an opened model.

    Args:
        opened: The network and its description.
        options: How to use it.
        open_detector: Opens a detector by name or file, for a top-down model; see `edgepose.loading.open_detector`.

    Raises:
        InputError: An option is out of range, or is given though the model does not use it.
        ModelError: The model finds no keypoints, or its outputs do not fit its decoder.
    """
    engine, model, best_batch_size = opened
    if model.task not in ("bottom-up", "top-down"):
        raise ModelError(f"{model.name} is a {model.task} model; expected a bottom-up model or a top-down one")
    make_decoder = decoder_class(model.decoder)
    _refuse_unused(options, model, make_decoder)
    input_size = _input_size(options.input_size, model, make_decoder)
    min_score = model.min_score if options.min_score is None else options.min_score
    min_confidence = model.min_confidence if options.min_confidence is None else options.min_confidence
    chosen = {name: getattr(options, name) for name in make_decoder.options}
    decoder = make_decoder(model, engine.output_channels, min_score, **chosen)
    if model.task == "bottom-up":
        return BottomUp(engine, model, decoder, input_size=input_size, min_confidence=min_confidence)
    return TopDown(
        engine,
        model,
        decoder,
        detector=_detector(options.detector, model, open_detector),
        detector_beside=_detector_beside(options.detector, model, open_detector),
        input_size=input_size,
        min_confidence=min_confidence,
        batch_size=best_batch_size if options.batch_size is None else options.batch_size,
        flip_test=options.flip_test,
    )


def _input_size(chosen: int | tuple[int, int] | None, model: Model, decoder: Any) -> int | tuple[int, int]:
    """The input's size as pipelines take it: fixed if the decoder has it so, else a number that the frame's aspect follows."""
    if isinstance(chosen, tuple) or model.task == "top-down" or decoder.sized_by != "both sides":
        return model.size[0] if chosen is None else chosen
    if chosen is None:
        return model.size
    width = chosen * model.size[1] / model.size[0]
    return chosen, max(1, round(width / model.multiple)) * model.multiple


def _refuse_unused(options: Options, model: Model, decoder: Any) -> None:
    """Refuse what this model does not use, instead of ignoring it."""
    used = {"input_size", "min_score", "min_confidence", "follow", *decoder.options}
    if model.task == "top-down" or options.follow:
        used.add("detect_every")
    elif options.detect_every is not None:
        raise InputError(
            f"detect_every given, but {model.name} is bottom-up and looks at the whole frame each time; leave it out, or give "
            "follow, too"
        )
    if model.task == "top-down":
        used |= {"detector", "batch_size"}
        if hasattr(decoder, "merge_mirrored"):
            used.add("flip_test")
    for name, value in vars(options).items():
        if name not in used and value is not None and value is not False:
            if model.task == "bottom-up":
                raise InputError(
                    f"{name} given, but {model.name} is bottom-up and finds people by itself; leave it out, or take "
                    "a top-down model such as accurate"
                )
            raise InputError(f"{name} given, but {model.name}, with decoder {model.decoder}, does not use it; leave it out")


def _detector(chosen: str | Path | Detector | None, model: Model, open_detector: OpenDetector) -> Detector:
    """The detector of a top-down model. Where nobody chose one, it is opened when it is first needed."""
    if chosen is None:
        people = Once(lambda: open_detector(model.detector or DEFAULT))
        return lambda image: people()(image)
    return open_detector(chosen) if isinstance(chosen, str | Path) else chosen


def _detector_beside(chosen: str | Path | Detector | None, model: Model, open_detector: OpenDetector) -> Detector:
    """The same detector on one thread, for the time that the network runs; opened when it is first needed.

    With all threads, it would hold up the network for as long as it takes; on one, each frame takes only a little longer.
    """
    if chosen is not None and not isinstance(chosen, str | Path):
        return chosen
    people = Once(lambda: open_detector(chosen or model.detector or DEFAULT, threads=1))
    return lambda image: people()(image)
