"""From heatmaps and tags to people (associative embedding, arXiv 1611.05424), by the rules of HigherHRNet (arXiv 1908.10357).

One keypoint type after another, the maxima of its heatmap are assigned to the people found so far, optimally by their tags; a
maximum that fits nobody begins a new person. Then missing keypoints are looked for in the whole map.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np

from edgepose.arrays import Float, Ints, Maps
from edgepose.decoding import LEAST_SCORE, DecodedPoses, SizedBy, check_type
from edgepose.decoding.log_filter import NowAndThen
from edgepose.decoding.resolutions import merge_resolutions
from edgepose.decoding.tag_grouping import MAX_CANDIDATES, find_candidates, group_until_contested, join
from edgepose.decoding.tag_keypoints import describe, fill_missing
from edgepose.errors import InputError, ModelError
from edgepose.geometry import cells_to_pixels
from edgepose.kernels.assignment import assign
from edgepose.skeleton import COCO17
from edgepose.zoo.registry import Model

_log = logging.getLogger(__name__)
_log.addFilter(NowAndThen())

KEYPOINTS = len(COCO17)
PEAK_THRESHOLD = 0.1  # HigherHRNet's (arXiv 1908.10357), as is the order: from the head, where tags are surest, outwards
_ORDER = np.array([
    COCO17.keypoints.index(name) for name in (
        "nose", "l_eye", "r_eye", "l_ear", "r_ear", "l_shoulder", "r_shoulder", "l_hip", "r_hip", "l_elbow", "r_elbow",
        "l_wrist", "r_wrist", "l_knee", "r_knee", "l_ankle", "r_ankle",
    )
])  # fmt: skip

# The least number of keypoints joined by their tags that make a person, as with the PAF decoder. With fewer, any lonely peak
# would be a person, whose other keypoints are then looked for in noise.
MIN_JOINED = 3


class TagDecoder:
    """A decoder of heatmaps and tags; see `edgepose.decoding.Decoder`.

    Both of HigherHRNet's outputs as published, 17 heatmaps and 17 tags at stride 4 and 17 heatmaps at stride 2, are brought
    together first; or the network has done so itself, as edgepose's converter has it do. The stride is that of the finer.

    Raises:
        ModelError: The outputs are no heatmaps and tags.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    # The published figures of HigherHRNet (arXiv 1908.10357) are of pictures scaled by their short side.
    sized_by: ClassVar[SizedBy] = "short side"

    def __init__(self, model: Model, output_channels: tuple[int, ...], min_score: float) -> None:
        # Others could not be told apart by their channels.
        if sorted(output_channels) not in ([2 * KEYPOINTS], [KEYPOINTS, 2 * KEYPOINTS]):
            raise ModelError(
                f"the outputs of {model.name} have {list(output_channels)} channels and fit no decoder of tags; expected one "
                f"output of {2 * KEYPOINTS}: {KEYPOINTS} heatmaps, then {KEYPOINTS} tags; or that, and one of {KEYPOINTS} "
                "finer heatmaps"
            )
        self._name, self._stride = model.name, model.stride
        self._min_score = max(min_score, LEAST_SCORE)
        warm_up()
        if len(output_channels) == 2:
            merge_resolutions(np.zeros((2 * KEYPOINTS, 1, 1), np.float32), np.zeros((KEYPOINTS, 2, 2), np.float32))

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        maps = self._merged(*sorted((output[0] for output in outputs), key=len))
        people = decode_tags(
            maps[:KEYPOINTS], maps[KEYPOINTS:], peak_threshold=max(self._min_score, PEAK_THRESHOLD),
            fill_threshold=self._min_score, min_keypoints=MIN_JOINED,
        )  # fmt: skip
        return people._replace(keypoints=cells_to_pixels(people.keypoints, self._stride))

    def _merged(self, maps: Float, coarse: Float | None = None) -> Float:
        """Heatmaps and tags (34, h, w) of the one output, or of finer heatmaps and a coarse output."""
        if coarse is None:
            return maps
        if maps.shape[1:] != (2 * coarse.shape[1], 2 * coarse.shape[2]) or 0 in maps.shape:
            raise ModelError(
                f"{self._name} answers maps of {coarse.shape[1:]} and finer ones of {maps.shape[1:]}; expected twice as many "
                "cells on each axis"
            )
        return merge_resolutions(coarse, maps)


def decode_tags(
    heatmaps: Maps,
    tags: Maps,
    *,
    peak_threshold: float = PEAK_THRESHOLD,
    fill_threshold: float = 0.0,
    min_keypoints: int = 1,
    peaks: Maps | None = None,
    reweight: bool = False,
) -> DecodedPoses:
    """People in the maps of an associative embedding network, best first.

    The result is that of HigherHRNet's published code, whose coordinates are higher by half a cell, as its cells begin at
    whole numbers. Confidence is its score: the mean height of the keypoints that were joined, with 0 for the others. The
    maps are not written to. Of each keypoint type at most `MAX_CANDIDATES` are considered; more of them are logged.

    Args:
        heatmaps: (17, h, w) float32 or float16, keypoints in COCO's order.
        tags: (17, h, w) of the same types; or (D, 17, h, w), such as of a picture and its mirror image, brought back.
        peak_threshold: Keypoints that are joined are higher than this, above 0.
        fill_threshold: Keypoints that are missing then are filled in where they are higher than this, 0 or more.
        min_keypoints: People with fewer keypoints are left out before any is filled in. The published code leaves out nobody.
        peaks: (17, h, w), where the keypoints to join are looked for; None: in `heatmaps`.
        reweight: Weigh tag distances by distances in the picture, as Open Model Zoo's decoder does.

    Raises:
        InputError: A shape, type or number does not fit.
    """
    heatmaps, tags = _checked(heatmaps, tags)
    if not 0 < peak_threshold < np.inf:
        raise InputError(f"peak_threshold is {peak_threshold}; expected a number above 0, such as {PEAK_THRESHOLD}")
    if not fill_threshold >= 0:
        raise InputError(f"fill_threshold is {fill_threshold}; expected 0 or more")
    places = np.empty((KEYPOINTS, MAX_CANDIDATES), np.int64)
    heights = np.empty((KEYPOINTS, MAX_CANDIDATES), np.float32)
    counts = np.empty(KEYPOINTS, np.int64)
    sought = heatmaps if peaks is None else _checked(peaks, tags)[0]
    crowded = find_candidates(sought, tags, peak_threshold, places, heights, counts)
    if crowded:
        _log.warning(
            "maps as full as noise: %d keypoint types with more than %d peaks; the lower ones are left out",
            crowded, MAX_CANDIDATES,
        )  # fmt: skip
    members = _group(tags, places, heights, counts, reweight)
    members = members[(members >= 0).sum(axis=1) >= min_keypoints]

    keypoints = np.empty((len(members), KEYPOINTS, 2), np.float32)
    scores = np.empty((len(members), KEYPOINTS), np.float32)
    describe(heatmaps, members, keypoints, scores)
    confidence = scores.mean(axis=1)
    fill_missing(heatmaps, tags, members, fill_threshold, keypoints, scores)
    order = np.argsort(-confidence, kind="stable")
    return DecodedPoses(keypoints[order], scores[order], confidence[order])


def warm_up() -> None:
    """Compile the kernels of this decoder, or load them from the cache."""
    heatmaps = np.zeros((KEYPOINTS, 1, 7), np.float32)
    heatmaps[:, 0, ::6] = 1
    tags = np.zeros_like(heatmaps)
    tags[0, 0, 6] = 10  # two noses, then two of everything for one of them: all kernels are called
    decode_tags(heatmaps, tags)


def _group(tags: Float, places: Ints, heights: Float, counts: Ints, reweight: bool) -> Ints:
    """(N, 17) the places of each person's keypoints, -1 for none."""
    most = int(counts.sum())
    members = np.empty((most, KEYPOINTS), np.int64)
    keys = np.empty(most, np.float32)
    sums = np.empty((most, len(tags)))
    sizes = np.empty(most, np.int64)
    costs = np.empty((MAX_CANDIDATES, MAX_CANDIDATES))
    people = 0
    n = -1
    while n < KEYPOINTS:
        n, people = group_until_contested(
            _ORDER, n + 1, tags, places, heights, counts, people, members, keys, sums, sizes, costs, reweight
        )
        if n < KEYPOINTS:
            k = _ORDER[n]
            columns = assign(np.ascontiguousarray(costs[: counts[k], : min(people, MAX_CANDIDATES)]))
            people = join(k, tags, places, columns, people, members, keys, sums, sizes)
    return members[:people]


def _checked(heatmaps: Maps, tags: Maps) -> tuple[Float, Float]:
    """Heatmaps (17, h, w) and tags (D, 17, h, w), both contiguous."""
    check_type("heatmaps", heatmaps)
    check_type("tags", tags)
    if heatmaps.ndim != 3 or len(heatmaps) != KEYPOINTS or 0 in heatmaps.shape:
        raise InputError(f"heatmaps have shape {heatmaps.shape}; expected ({KEYPOINTS}, h, w)")
    stacked = tags if tags.ndim == 4 else tags[None]
    if stacked.shape[1:] != heatmaps.shape or len(stacked) == 0:
        expected = ", ".join(map(str, heatmaps.shape))
        raise InputError(f"tags have shape {tags.shape}; expected ({expected}), as the heatmaps, or (D, {expected})")
    return np.ascontiguousarray(heatmaps, np.float32), np.ascontiguousarray(stacked, np.float32)
