"""Bottom-up: the whole frame through the network at once, people found in its maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgepose.arrays import Float, Image
from edgepose.decoding import Decoder
from edgepose.engines import Engine, Pending
from edgepose.errors import InputError
from edgepose.geometry import Letterbox, bucket_width, fit_letterbox
from edgepose.kernels.resizing import resize_into, warm_up
from edgepose.pipelines.scheduling import Started
from edgepose.poses import Poses
from edgepose.skeleton import get_skeleton
from edgepose.zoo.registry import Model

MAX_SIDE = 4096  # of the network's input, pixels: a mistyped larger size would take all memory


@dataclass(frozen=True)
class Window:
    """A part of a frame that fills an input of the network.

    Attributes:
        shape: (height, width) of that input.
        left, top: Of the part, in pixels of the frame.
        height, width: Its size there.
    """

    shape: tuple[int, int]
    left: int
    top: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Of the input, which is what it costs."""
        return self.shape[0] * self.shape[1]

    def at(self, left: int, top: int) -> Window:
        """The same at another place."""
        return replace(self, left=left, top=top)


class BottomUp:
    """Letterbox, network, decoding, and back to the frame.

    Args:
        engine: Runs the network.
        model: Its description.
        decoder: Turns the network's outputs into people.
        input_size: Height or short side of the input in pixels, as the decoder has it, the other side following the frame's
            aspect; or (height, width), fixed. Less for frames so wide that a side would be longer than `MAX_SIDE`.
        min_confidence: Least confidence of a person, in [0, 1].

    Raises:
        InputError: The size is not one that the model takes.
    """

    batch_size = 1

    def __init__(
        self,
        engine: Engine,
        model: Model,
        decoder: Decoder,
        *,
        input_size: int | tuple[int, int],
        min_confidence: float = 0.0,
    ) -> None:
        self._engine = engine
        self._model = model
        self._decoder = decoder
        self._skeleton = get_skeleton(model.skeleton or "")
        self._min_confidence = min_confidence
        self.multiple = model.multiple
        warm_up()
        self._height, self._width = input_size if isinstance(input_size, tuple) else (input_size, 0)  # 0: by the frame
        for side in (self._height, self._width):
            if not 0 <= side <= MAX_SIDE or side % model.multiple or self._height == 0:
                raise InputError(
                    f"input size {input_size} does not fit {model.name}; expected multiples of {model.multiple} to {MAX_SIDE}"
                )
        self._padding = np.array(model.padding_bgr, np.uint8)

    def input_shape(self, frame_height: int, frame_width: int) -> tuple[int, int]:
        """(height, width) of the network's input for a frame of this size."""
        if self._width:
            return self._height, self._width
        if self._decoder.sized_by == "short side" and frame_height > frame_width:
            width, height = self._bucket(frame_width, frame_height)
        else:
            height, width = self._bucket(frame_height, frame_width)
        return height, width

    def _bucket(self, frame_height: int, frame_width: int) -> tuple[int, int]:
        """(height, width) of the input if `input_size` sets its height; less high where it would be wider than `MAX_SIDE`."""
        multiple = self._model.multiple
        height, width = self._height, bucket_width(frame_height, frame_width, self._height, multiple)
        widest = MAX_SIDE // multiple * multiple
        if width > widest:
            height, width = -(-height * widest // (width * multiple)) * multiple, widest
        return height, width

    def start(self, image: Image, boxes: Any = None) -> Started:
        """Start the network on `image` (H, W, 3) uint8 BGR; the result waits for it and decodes.

        Raises:
            InputError: There are boxes, which are for top-down models.
        """
        if boxes is not None:
            raise InputError(f"boxes given, but {self._model.name} is bottom-up and finds people by itself; leave them out")
        height, width = image.shape[:2]
        return self.start_in(image, Window(self.input_shape(height, width), 0, 0, height, width))

    def start_in(self, image: Image, window: Window) -> Started:
        """Start the network on a part of `image`; the result has the people in it, in pixels of the whole."""
        part = image[window.top : window.top + window.height, window.left : window.left + window.width]
        letterbox = fit_letterbox(window.height, window.width, *window.shape)
        pending = self._engine.submit(self._prepare(part, letterbox)[None])
        corner = np.array((window.left, window.top), np.float32)
        return Started(lambda: self._finish(pending, letterbox, corner), pending.result)

    def prepare(self, shape: tuple[int, int]) -> None:
        """Make the network ready for inputs of (height, width), so that no frame waits for that."""
        self._engine.submit(np.zeros((1, *shape, 3), np.uint8)).result()

    def start_together(self, images: Sequence[Image]) -> list[Started]:
        """`start` for each of several frames."""
        return [self.start(image) for image in images]

    def _prepare(self, image: Image, letterbox: Letterbox) -> Image:
        """The input (height, width, 3): the frame scaled into its top left, the rest padded."""
        height, width = letterbox.scaled_height, letterbox.scaled_width
        canvas = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
        canvas[:height, width:] = self._padding
        canvas[height:] = self._padding
        resize_into(image, canvas, height, width)
        return canvas

    def _finish(self, pending: Pending, letterbox: Letterbox, corner: Float) -> Poses:
        keypoints, scores, confidence = self._decoder(pending.result(), (letterbox.height, letterbox.width))
        keypoints = letterbox.to_frame(keypoints) + corner
        sure = confidence >= self._min_confidence
        return Poses(keypoints[sure], scores[sure], confidence[sure], self._skeleton)
