"""Bottom-up: the whole frame through the network at once, people found in its maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgepose.decoding import DecodedPoses, decode_poses, tags
from edgepose.engines import Engine, Pending
from edgepose.errors import InputError, ModelError
from edgepose.geometry import Letterbox, bucket_width, fit_letterbox
from edgepose.kernels.resizing import resize_into
from edgepose.kernels.resizing import warm_up as warm_up_resizing
from edgepose.pipelines.scheduling import Started
from edgepose.poses import Poses
from edgepose.skeleton import get_skeleton
from edgepose.zoo.registry import Model

LEAST_SCORE = 0.01  # below, every ripple of a map is a keypoint
# Of a person's keypoints that were joined by their tags; as many as the PAF decoder asks for. With fewer, any lonely peak would
# be a person, whose other keypoints are then looked for in noise.
MIN_JOINED = 3
MAX_SIDE = 4096  # of the network's input, pixels: beyond, a slip of the keyboard eats all memory

Maps = NDArray[np.float32]


class BottomUp:
    """Letterbox, network, decoding, and back to the frame.

    Args:
        engine: Runs the network.
        model: Its description.
        input_size: Height of the input in pixels, its width following the frame's aspect, or its short side if the model has
            tags; or (height, width), fixed. Less for frames so wide that a side would be longer than `MAX_SIDE`.
        min_score: Least score of a keypoint, in [0, 1]; `LEAST_SCORE` at least.
        min_confidence: Least confidence of a person, in [0, 1].

    Raises:
        ModelError: The network's outputs fit no bottom-up decoder.
        InputError: The size is not one that the model takes.
    """

    def __init__(
        self, engine: Engine, model: Model, *, input_size: int | tuple[int, int], min_score: float, min_confidence: float = 0.0
    ) -> None:
        self._engine = engine
        self._model = model
        self._skeleton = get_skeleton(model.skeleton or "")
        self._min_confidence = min_confidence
        min_score = max(min_score, LEAST_SCORE)
        self._decode: Callable[[Maps, Maps], DecodedPoses]
        # The published figures of HigherHRNet (arXiv 1908.10357) are of pictures scaled by their short side.
        self._by_short_side = model.decoder == "tags"
        if model.decoder == "tags":
            self._split = _tag_outputs(engine.output_channels, model.name)
            peak_threshold = max(min_score, tags.PEAK_THRESHOLD)
            self._decode = partial(
                tags.decode_tags, peak_threshold=peak_threshold, fill_threshold=min_score, min_keypoints=MIN_JOINED
            )
            tags.warm_up()
        else:
            self._split = _paf_outputs(engine.output_channels, model.name)
            self._decode = partial(decode_poses, peak_threshold=min_score, refine=True)
        warm_up_resizing()
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
        if self._by_short_side and frame_height > frame_width:
            width, height = self._bucket(frame_width, frame_height)
        else:
            height, width = self._bucket(frame_height, frame_width)
        return height, width

    def _bucket(self, frame_height: int, frame_width: int) -> tuple[int, int]:
        """(height, width) of the input for a frame whose height goes by `input_size`, as far as the width allows."""
        multiple = self._model.multiple
        height, width = self._height, bucket_width(frame_height, frame_width, self._height, multiple)
        widest = MAX_SIDE // multiple * multiple
        if width > widest:
            height, width = -(-height * widest // (width * multiple)) * multiple, widest
        return height, width

    def start(self, image: NDArray[np.uint8]) -> Started:
        """Start the network on `image` (H, W, 3) uint8 BGR; what is returned waits for it and decodes."""
        height, width = image.shape[:2]
        letterbox = fit_letterbox(height, width, *self.input_shape(height, width))
        pending = self._engine.submit(self._prepare(image, letterbox)[None])
        return Started(lambda: self._finish(pending, letterbox), pending.result)

    def _prepare(self, image: NDArray[np.uint8], letterbox: Letterbox) -> NDArray[np.uint8]:
        """The frame scaled into the input (height, width, 3), its rest padded."""
        height, width = letterbox.scaled_height, letterbox.scaled_width
        canvas = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
        canvas[:height, width:] = self._padding
        canvas[height:] = self._padding
        resize_into(image, canvas, height, width)
        return canvas

    def _finish(self, pending: Pending, letterbox: Letterbox) -> Poses:
        keypoints, scores, confidence = self._decode(*self._split([output[0] for output in pending.result()]))
        stride = self._model.stride
        input_xy = (keypoints + np.float32(0.5)) * np.float32(stride) - np.float32(0.5)
        keypoints = letterbox.to_frame(input_xy)
        sure = confidence >= self._min_confidence
        return Poses(keypoints[sure], scores[sure], confidence[sure], self._skeleton)


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


def _tag_outputs(channels: tuple[int, ...], name: str) -> Callable[[list[Maps]], tuple[Maps, Maps]]:
    """How to take (heatmaps, tags) from outputs with these channels: one output, as two alike could not be told apart."""
    if channels == (2 * tags.KEYPOINTS,):
        return lambda outputs: (outputs[0][: tags.KEYPOINTS], outputs[0][tags.KEYPOINTS :])
    raise ModelError(
        f"the outputs of {name} have {list(channels)} channels and fit no decoder of tags; expected one output of "
        f"{2 * tags.KEYPOINTS}: {tags.KEYPOINTS} heatmaps, then {tags.KEYPOINTS} tags"
    )
