"""The decoder of heatmaps and part affinity fields (PAFs), as OpenPose and Lightweight OpenPose answer them.

`decode_poses` checks the maps, finds their peaks and groups them into people, in cells; `PAFDecoder` is what pipelines use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from edgepose.arrays import Float, Ints, Maps
from edgepose.decoding import LEAST_SCORE, DecodedPoses, SizedBy, check_type
from edgepose.decoding.bicubic import axis_taps, block_weights
from edgepose.decoding.log_filter import NowAndThen
from edgepose.decoding.paf_grouping import MAX_PEOPLE, group_people
from edgepose.decoding.paf_peaks import MAX_PEAKS, find_peaks
from edgepose.errors import InputError, ModelError
from edgepose.geometry import cells_to_pixels
from edgepose.kernels.jit import kernel
from edgepose.zoo.registry import Model

_log = logging.getLogger(__name__)
_log.addFilter(NowAndThen())

KEYPOINTS = 18
PAF_COUNT = 38
# Constants of the reference decoder of Lightweight OpenPose (arXiv 1811.12004).
PEAK_THRESHOLD = 0.1
MERGE_RADIUS_CELLS = 1.5  # 6 px at ratio 4
MAX_RATIO = 16


class PAFDecoder:
    """A decoder of heatmaps and PAFs; see `edgepose.decoding.Decoder`.

    Raises:
        ModelError: The outputs are no heatmaps and PAFs.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    sized_by: ClassVar[SizedBy] = "height"

    def __init__(self, model: Model, output_channels: tuple[int, ...], min_score: float) -> None:
        self._split = _splitter(output_channels, model.name)
        self._stride = model.stride
        self._min_score = max(min_score, LEAST_SCORE)
        warm_up()

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        heatmaps, pafs = self._split([output[0] for output in outputs])
        people = decode_poses(heatmaps, pafs, peak_threshold=self._min_score, refine=True)
        return people._replace(keypoints=cells_to_pixels(people.keypoints, self._stride))


def _splitter(channels: tuple[int, ...], name: str) -> Callable[[list[Maps]], tuple[Maps, Maps]]:
    """A function that takes (heatmaps, PAFs) from outputs with these channels, by which they are told apart."""
    if channels == (KEYPOINTS + 1 + PAF_COUNT,):
        return lambda outputs: (outputs[0][: KEYPOINTS + 1], outputs[0][KEYPOINTS + 1 :])
    if sorted(channels) in ([KEYPOINTS, PAF_COUNT], [KEYPOINTS + 1, PAF_COUNT]):
        pafs = channels.index(PAF_COUNT)
        return lambda outputs: (outputs[1 - pafs], outputs[pafs])
    raise ModelError(
        f"the outputs of {name} have {list(channels)} channels and fit no bottom-up decoder; expected 57, or 19 (18) and 38"
    )


def decode_poses(
    heatmaps: Maps, pafs: Maps, *, upsample_ratio: int = 4, peak_threshold: float = PEAK_THRESHOLD, refine: bool = False
) -> DecodedPoses:
    """People in the maps of an OpenPose-style network, best first.

    The result is that of the reference decoder on maps upsampled bicubically by `upsample_ratio`, but only the parts of
    the surface that matter are evaluated. The maps are not written to. At most `MAX_PEAKS` peaks a keypoint type and
    `MAX_PEOPLE` people are considered; reaching either is logged.

    Args:
        heatmaps: (18 or 19, h, w) float32 or float16; a 19th channel (background) is not looked at.
        pafs: (38, h, w) float32 or float16, channels as in `edgepose.skeleton.PAF_CHANNELS`.
        upsample_ratio: Pixels of the surface per cell, 1 to 16.
        peak_threshold: Least height of a keypoint's peak, above 0.
        refine: Place keypoints between the pixels of the surface, by a parabola, instead of on them as the reference does.

    Raises:
        InputError: A shape, type or number does not fit.
    """
    _check("heatmaps", heatmaps, (KEYPOINTS, KEYPOINTS + 1))
    _check("pafs", pafs, (PAF_COUNT,))
    if heatmaps.shape[1:] != pafs.shape[1:]:
        raise InputError(f"heatmaps are {heatmaps.shape[1:]} cells and pafs {pafs.shape[1:]}; expected the same size")
    if upsample_ratio not in range(1, MAX_RATIO + 1):
        raise InputError(f"upsample_ratio is {upsample_ratio}; expected a whole number from 1 to {MAX_RATIO}")
    if not 0 < peak_threshold < np.inf:
        raise InputError(f"peak_threshold is {peak_threshold}; expected a number above 0, such as {PEAK_THRESHOLD}")
    heatmaps = np.ascontiguousarray(heatmaps[:KEYPOINTS], np.float32)
    # A sample takes four cells on each axis. The surface repeats the edges beyond them, so repeating them changes nothing.
    more_rows, more_columns = (max(0, 4 - side) for side in pafs.shape[1:])
    if more_rows or more_columns:
        pafs = np.pad(pafs, ((0, 0), (0, more_rows), (0, more_columns)), mode="edge")
    pafs = np.ascontiguousarray(pafs, np.float32)

    peaks = np.empty((KEYPOINTS, MAX_PEAKS, 5), np.float32)
    counts = np.empty(KEYPOINTS, np.int64)
    radius = MERGE_RADIUS_CELLS * upsample_ratio
    crowded_types = find_peaks(heatmaps, block_weights(upsample_ratio), peak_threshold, radius, peaks, counts)

    members = np.empty((MAX_PEOPLE, KEYPOINTS), np.int64)
    totals = np.empty(MAX_PEOPLE, np.float32)
    _, height, width = pafs.shape
    taps = (*axis_taps(width, upsample_ratio), *axis_taps(height, upsample_ratio))
    people, crowded = group_people(pafs, *taps, peaks, counts, members, totals)
    if crowded_types or crowded:
        _log.warning(
            "maps as full as noise: %d keypoint types with more than %d peaks, %s than %d people; the rest is left out",
            crowded_types, MAX_PEAKS, "more" if crowded else "fewer", MAX_PEOPLE,
        )  # fmt: skip

    keypoints = np.empty((people, KEYPOINTS, 2), np.float32)
    scores = np.empty((people, KEYPOINTS), np.float32)
    _describe(peaks, members, upsample_ratio, refine, keypoints, scores)
    # The mean over all keypoints, with 0 for those that were not found: it ranks people as well as the reference's total of
    # heights and affinities times keypoints does (AP within 0.1 on 130 photos of COCO val2017), and can be read.
    confidence = scores.mean(axis=1)
    order = np.argsort(-confidence, kind="stable")
    return DecodedPoses(keypoints[order], scores[order], confidence[order])


@kernel
def _describe(peaks: Float, members: Ints, ratio: int, refine: bool, keypoints: Float, scores: Float) -> None:
    """Fill in keypoints (N, 18, 2) in cells and scores (N, 18) of the first N people."""
    half = np.float32(0.5)
    place = 3 if refine else 0
    for person in range(len(scores)):
        for k in range(KEYPOINTS):
            peak = members[person, k]
            if peak < 0:
                keypoints[person, k, 0] = keypoints[person, k, 1] = np.nan
                scores[person, k] = 0
            else:
                keypoints[person, k, 0] = (peaks[k, peak, place] + half) / np.float32(ratio) - half
                keypoints[person, k, 1] = (peaks[k, peak, place + 1] + half) / np.float32(ratio) - half
                scores[person, k] = min(peaks[k, peak, 2], np.float32(1))


def warm_up() -> None:
    """Compile the kernels of this decoder, or load them from the cache."""
    decode_poses(np.zeros((KEYPOINTS, 4, 4), np.float32), np.zeros((PAF_COUNT, 4, 4), np.float32))


def _check(name: str, maps: Maps, channels: tuple[int, ...]) -> None:
    check_type(name, maps)
    if maps.ndim != 3 or maps.shape[0] not in channels or 0 in maps.shape:
        raise InputError(f"{name} have shape {maps.shape}; expected ({' or '.join(map(str, channels))}, h, w)")
