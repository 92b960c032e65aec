"""The decoder of Open Model Zoo's human-pose-estimation-0005, -0006 and -0007 (EfficientHRNet): heatmaps and embeddings.

Their pages describe `heatmaps` (1, 17, h, w), where what is no maximum is negated, and `embeddings` (1, 17, h, w, 1), which are
the tags of associative embedding; some builds have `nms_heatmaps` (1, 17, h, w), too, with the heights of the maxima and
nothing above 0 elsewhere. The rules are those of their demos: as HigherHRNet's, with tag distances that are weighed by
distances in the picture, so that of several keypoints with like tags the one nearest to a person's others is theirs.
"""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import numpy as np

from edgepose.arrays import Float
from edgepose.decoding import LEAST_SCORE, DecodedPoses, SizedBy
from edgepose.decoding.tags import KEYPOINTS, MIN_JOINED, PEAK_THRESHOLD, decode_tags, warm_up
from edgepose.errors import ModelError
from edgepose.zoo.registry import Model


class EmbeddingDecoder:
    """A decoder of heatmaps and embeddings; see `edgepose.decoding.Decoder`.

    Raises:
        ModelError: The outputs are not two or three of 17 maps.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    # Their demos make the input as wide as the frame's aspect has it, at the height of the model.
    sized_by: ClassVar[SizedBy] = "short side"

    def __init__(self, model: Model, output_channels: tuple[int, ...], min_score: float) -> None:
        self._name, self._stride = model.name, model.stride
        self._min_score = max(min_score, LEAST_SCORE)
        if output_channels not in ((KEYPOINTS,) * 2, (KEYPOINTS,) * 3):
            raise ModelError(
                f"the outputs of {model.name} have {list(output_channels)} channels; expected {KEYPOINTS} heatmaps, or these "
                f"twice, with and without what is no maximum, and {KEYPOINTS} embeddings (1, {KEYPOINTS}, h, w, 1): mend "
                "decoder in its description"
            )
        warm_up()

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        heatmaps = [output[0] for output in outputs if output.ndim == 4]
        embeddings = [output[0, ..., 0] for output in outputs if output.ndim == 5 and output.shape[-1] == 1]
        shapes = {maps.shape for maps in (*heatmaps, *embeddings)}
        cells = (size[0] // self._stride, size[1] // self._stride)
        if len(embeddings) != 1 or len(heatmaps) != len(outputs) - 1 or shapes != {(KEYPOINTS, *cells)}:
            maps = ", ".join(map(str, (1, KEYPOINTS, *cells)))
            raise ModelError(
                f"{self._name} answers {', '.join(str(output.shape) for output in outputs)} to {size[0]} x {size[1]} pixels; "
                f"expected heatmaps ({maps}), once or twice, and embeddings ({maps}, 1): mend stride or decoder in its "
                "description"
            )
        # The height of a cell is what either output has without its sign; a maximum is above 0 in both.
        heights = reduce(np.maximum, map(np.abs, heatmaps))
        people = decode_tags(
            heights, embeddings[0], peak_threshold=max(self._min_score, PEAK_THRESHOLD), fill_threshold=self._min_score,
            min_keypoints=MIN_JOINED, peaks=reduce(np.minimum, heatmaps), reweight=True,
        )  # fmt: skip
        return people._replace(keypoints=people.keypoints * np.float32(self._stride))
