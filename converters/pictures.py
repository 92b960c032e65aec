"""Pictures to judge networks by and to calibrate them on, taken through the pipeline that the model has in use.

Calibration data are recorded in that pipeline, at the point where they enter the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from edgepose.arrays import Float, Image
from edgepose.engines import Engine, Opened
from edgepose.engines.openvino import Hint, OpenVINOEngine, Precision
from edgepose.errors import InputError, SourceError
from edgepose.evaluation import LEAST_SCORE
from edgepose.loading import open_detector
from edgepose.media.images import IMAGE_SUFFIXES, missing
from edgepose.pipelines import Options, make_pipeline
from edgepose.poses import Poses
from edgepose.zoo.registry import Model

Estimate = Callable[..., Poses]
"""From an image (H, W, 3) uint8 BGR to its people; for a top-down model, also with `boxes`."""

InputSize = int | tuple[int, int]


def find_images(folder: Path, limit: int | None = None) -> list[Path]:
    """The images of a folder, by name; at most `limit`, evenly distributed over the list.

    Raises:
        SourceError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise missing(folder) if not folder.exists() else SourceError(f"{folder}: a file; expected a folder of images")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise SourceError(f"{folder}: no images in it; expected some of {', '.join(IMAGE_SUFFIXES)}")
    if limit is None or len(images) <= limit:
        return images
    return [images[index * len(images) // limit] for index in range(limit)]


def estimate_with(engine: Engine, model: Model, input_size: InputSize) -> Estimate:
    """An estimate as `PoseEstimator` makes it, with this engine, that keeps everybody. Without boxes, a top-down model gets the
    default one's people.

    Raises:
        ModelError: The model finds no keypoints, or its outputs do not fit its decoder.
        InputError: The size is not one that the model takes.
    """
    options = Options(input_size=input_size, min_score=LEAST_SCORE, min_confidence=0.0)
    pipeline = make_pipeline(Opened(engine, model), options, open_detector)
    return lambda image, boxes=None: pipeline.start(image, boxes).result()


def engine_for(network: ov.Model, model: Model, precision: Precision | None = "f32", hint: Hint = "latency") -> OpenVINOEngine:
    """An engine on the CPU for a copy of `network`, in FP32 arithmetic unless told otherwise."""
    return OpenVINOEngine(network.clone(), model, precision=precision, hint=hint)


def network_input(batch: Image, model: Model) -> Float:
    """A `batch` (B, H, W, 3) BGR as the first layer gets it: normalised, in the model's colour order and layout."""
    pixels = batch if model.colour == "BGR" else batch[..., ::-1]
    tensor = (pixels - np.array(model.mean, np.float32)) / np.array(model.scale, np.float32)
    return np.ascontiguousarray(tensor if model.layout == "NHWC" else tensor.transpose(0, 3, 1, 2), np.float32)


def network_inputs(
    network: ov.Model, model: Model, input_size: InputSize, look: Callable[[Estimate], object], limit: int
) -> list[Float]:
    """Inputs (1, ...) that the network gets, in its own layout, while `look` calls an estimate for images.

    At most `limit` are kept, at even distances in the list.

    Raises:
        InputError: There are none.
    """
    recorder = _Recorder(engine_for(network, model).output_channels, model.stride)
    look(estimate_with(recorder, model, input_size))
    seen = recorder.batches
    return check_inputs([network_input(batch, model) for batch in seen[:: -(-len(seen) // limit) or 1]])


def check_inputs(tensors: Sequence[Float]) -> list[Float]:
    """The `tensors` as a list, if there are any to calibrate on.

    Raises:
        InputError: There are none.
    """
    if not len(tensors):
        raise InputError(
            "there is nothing to calibrate on: no picture, or nobody annotated or found in those that were looked at; give "
            "photos with people in them by --calibration, or a larger --subset"
        )
    return list(tensors)


class _Recorder:
    """An engine that runs no network, but keeps the batches that it is sent, and answers empty maps."""

    requests = 1

    def __init__(self, output_channels: tuple[int, ...], stride: int) -> None:
        self.output_channels = output_channels
        self.batches: list[Image] = []
        self._stride = stride

    def submit(self, batch: Image) -> _Recorded:
        self.batches.append(batch.copy())
        count, height, width, _ = batch.shape
        sides = (height // self._stride, width // self._stride)
        return _Recorded([np.zeros((count, channels, *sides), np.float32) for channels in self.output_channels])


class _Recorded:
    def __init__(self, maps: list[Float]) -> None:
        self._maps = maps

    def result(self) -> list[Float]:
        return self._maps
