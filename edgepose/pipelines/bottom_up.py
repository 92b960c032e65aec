"""Bottom-up: the whole frame through the network at once, people found in its maps."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.decoding import decode_poses
from edgepose.engines import Engine, Pending
from edgepose.errors import InputError, ModelError
from edgepose.geometry import Letterbox, bucket_width, fit_letterbox
from edgepose.pipelines.overlap import Started
from edgepose.poses import Poses
from edgepose.skeleton import get_skeleton
from edgepose.zoo.registry import Model

LEAST_SCORE = 0.01  # below, every ripple of a map is a keypoint
MAX_SIDE = 4096  # of the network's input, pixels: beyond, a slip of the keyboard eats all memory


class BottomUp:
    """Letterbox, network, decoding, and back to the frame.

    Args:
        engine: Runs the network.
        model: Its description.
        input_size: Height of the input in pixels, its width following the frame's aspect; or (height, width), fixed.
        min_score: Least score of a keypoint, in [0, 1]; `LEAST_SCORE` at least.

    Raises:
        ModelError: The network's outputs fit no bottom-up decoder.
        InputError: The size is not one that the model takes.
    """

    def __init__(self, engine: Engine, model: Model, *, input_size: int | tuple[int, int], min_score: float) -> None:
        self._engine = engine
        self._model = model
        self._min_score = max(min_score, LEAST_SCORE)
        self._skeleton = get_skeleton(model.skeleton or "")
        self._split = _paf_outputs(engine.output_channels, model.name)
        self._height, self._width = input_size if isinstance(input_size, tuple) else (input_size, 0)  # 0: by the frame
        for side in (self._height, self._width):
            if not 0 <= side <= MAX_SIDE or side % model.multiple or self._height == 0:
                raise InputError(
                    f"input size {input_size} does not fit {model.name}; expected multiples of {model.multiple} to {MAX_SIDE}"
                )
        # Padding in the network's mean colour is zero to its first layer.
        mean = model.mean if model.colour == "BGR" else model.mean[::-1]
        self._padding = np.clip(np.rint(mean), 0, 255).astype(np.uint8)

    def input_shape(self, frame_height: int, frame_width: int) -> tuple[int, int]:
        """(height, width) of the network's input for a frame of this size."""
        if self._width:
            return self._height, self._width
        return self._height, bucket_width(frame_height, frame_width, self._height, self._model.multiple)

    def start(self, image: NDArray[np.uint8]) -> Started:
        """Start the network on `image` (H, W, 3) uint8 BGR; what is returned waits for it and decodes."""
        height, width = image.shape[:2]
        letterbox = fit_letterbox(height, width, *self.input_shape(height, width))
        pending = self._engine.submit(self._prepare(image, letterbox)[None])
        return Started(lambda: self._finish(pending, letterbox), pending.result)

    def _prepare(self, image: NDArray[np.uint8], letterbox: Letterbox) -> NDArray[np.uint8]:
        """The frame scaled into the input (height, width, 3), its rest padded."""
        size = (letterbox.scaled_width, letterbox.scaled_height)
        if size == (letterbox.width, letterbox.height):
            return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        canvas = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
        canvas[: size[1], size[0] :] = self._padding
        canvas[size[1] :] = self._padding
        cv2.resize(image, size, dst=canvas[: size[1], : size[0]], interpolation=cv2.INTER_LINEAR)
        return canvas

    def _finish(self, pending: Pending, letterbox: Letterbox) -> Poses:
        heatmaps, pafs = self._split([output[0] for output in pending.result()])
        keypoints, scores, confidence = decode_poses(heatmaps, pafs, peak_threshold=self._min_score, refine=True)
        stride = self._model.stride
        input_xy = (keypoints + np.float32(0.5)) * np.float32(stride) - np.float32(0.5)
        keypoints = letterbox.to_frame(input_xy)
        return Poses(keypoints, scores, confidence, self._skeleton)


Maps = NDArray[np.float32]


def _paf_outputs(channels: tuple[int, ...], name: str) -> Callable[[list[Maps]], tuple[Maps, Maps]]:
    """How to take (heatmaps, PAFs) from outputs with these channels: told by shape, as names differ from build to build."""
    if channels == (57,):
        return lambda outputs: (outputs[0][:19], outputs[0][19:])
    if sorted(channels) in ([18, 38], [19, 38]):
        pafs = channels.index(38)
        return lambda outputs: (outputs[1 - pafs], outputs[pafs])
    raise ModelError(
        f"the outputs of {name} have {list(channels)} channels and fit no bottom-up decoder; expected 57, or 19 (18) and 38"
    )
