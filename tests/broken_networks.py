"""Networks that no user would take, each made of a good one by a change to its outputs, to try the converters' gates with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from edgepose.skeleton import COCO17, OPENPOSE18, PAF_CHANNELS, PAF_LIMBS

# What the channels of outputs mean, by their number: keypoints' heatmaps, background, PAFs and tags.
KINDS = {
    17: ["keypoint"] * 17,
    19: ["keypoint"] * 18 + ["background"],
    34: ["keypoint"] * 17 + ["tag"] * 17,
    38: ["paf"] * 38,
}

Change = Callable[[ov.Output, list[str]], ov.Output]
"""From maps (B, C, h, w), and what each of the C channels is, to other maps."""


def broken(network: ov.Model, change: Change) -> ov.Model:
    """`network` with a change made to each of its outputs."""
    other = network.clone()
    for result in other.get_results():
        maps = result.input_value(0)
        result.input(0).replace_source_output(change(maps, KINDS[maps.get_partial_shape()[1].get_length()]))
    other.validate_nodes_and_infer_types()
    return other


def answering(*maps: np.ndarray) -> ov.Model:
    """A network that answers the same maps (1, C, h, w) to every picture, of their size times their stride."""
    image = ops.parameter(ov.PartialShape([1, 3, -1, -1]), np.float32, name="image")
    nothing = ops.multiply(ops.reduce_max(image, [0, 1, 2, 3], keep_dims=True), ops.constant(np.float32(0)))
    return ov.Model([ops.add(ops.constant(np.float32(values)), nothing) for values in maps], [image], "answering")


def by_channel(values: Sequence[float]) -> ov.Node:
    return ops.constant(np.array(values, np.float32).reshape(1, -1, 1, 1))


def scaled(factor: float, *only: str) -> Change:
    """All channels, or those of some kinds alone, times a factor."""

    def change(maps: ov.Output, kinds: list[str]) -> ov.Output:
        return ops.multiply(maps, by_channel([factor if not only or kind in only else 1 for kind in kinds])).output(0)

    return change


def one_channel(factor: float, kind: str, index: int) -> Change:
    """The channel number `index` of a kind times a factor."""

    def change(maps: ov.Output, kinds: list[str]) -> ov.Output:
        factors = np.ones(len(kinds))
        if kind in kinds:
            factors[kinds.index(kind) + index] = factor
        return ops.multiply(maps, by_channel(list(factors))).output(0)

    return change


def shifted(rows: int, columns: int) -> Change:
    """The whole picture moved down and right by so many cells."""

    def change(maps: ov.Output, kinds: list[str]) -> ov.Output:
        padded = ops.pad(maps, [0, 0, rows, columns], [0, 0, 0, 0], "edge")
        size = ops.shape_of(maps, "i64")
        return ops.slice(padded, [0, 0, 0, 0], size, [1, 1, 1, 1], [0, 1, 2, 3]).output(0)

    return change


def noisy(amplitude: float) -> Change:
    """Every cell off by up to `amplitude`."""

    def change(maps: ov.Output, kinds: list[str]) -> ov.Output:
        low, high = (ops.constant(np.array(value, np.float32)) for value in (-amplitude, amplitude))
        return ops.add(maps, ops.random_uniform(ops.shape_of(maps, "i64"), low, high, "f32", 1, 1)).output(0)

    return change


def offset(by: float, *only: str) -> Change:
    def change(maps: ov.Output, kinds: list[str]) -> ov.Output:
        return ops.add(maps, by_channel([by if not only or kind in only else 0 for kind in kinds])).output(0)

    return change


def permuted(order: Callable[[list[str]], list[int]]) -> Change:
    """Channel number i is what channel number `order(kinds)[i]` was."""

    def change(maps: ov.Output, kinds: list[str]) -> ov.Output:
        return ops.gather(maps, ops.constant(order(kinds)), ops.constant(1)).output(0)

    return change


def left_for_right(kinds: list[str]) -> list[int]:
    """Of heatmaps, tags and PAFs alike, so that all still belong together."""
    if "paf" in kinds:
        flip = OPENPOSE18.flip
        order = list(range(len(kinds)))
        for (a, b), channels in zip(PAF_LIMBS, PAF_CHANNELS, strict=True):
            other = PAF_CHANNELS[PAF_LIMBS.index((flip[a], flip[b]))]
            for channel, its in zip(channels, other, strict=True):
                order[channel] = its
        return order
    if "background" in kinds:
        return [*OPENPOSE18.flip, 18]
    keypoints = list(COCO17.flip)
    return keypoints + [17 + k for k in keypoints if "tag" in kinds]


def next_keypoint(kinds: list[str]) -> list[int]:
    """Each keypoint's heatmap in the place of another's."""
    count = kinds.count("keypoint")
    return [(i + 1) % count if i < count else i for i in range(len(kinds))]


BROKEN: dict[str, Change] = {
    "heatmaps-zeroed": scaled(0, "keypoint"),
    "all-zeroed": scaled(0),
    "hundredth": scaled(0.01),
    "half": scaled(0.5),
    "heatmaps-half": scaled(0.5, "keypoint"),
    "negative": scaled(-1),
    "shifted-right": shifted(0, 1),
    "shifted-down": shifted(1, 0),
    "left-for-right": permuted(left_for_right),
    "permuted": permuted(next_keypoint),
    "one-dead": one_channel(0, "keypoint", 6),
    "one-half": one_channel(0.5, "keypoint", 1),
    "another-half": one_channel(0.5, "keypoint", 9),
    "one-double": one_channel(2, "keypoint", 1),
    "noise": noisy(0.2),
    "offset": offset(0.1),
    "not-numbers": scaled(float("nan")),
    "one-not-numbers": one_channel(float("nan"), "keypoint", 6),
}
OF_PAFS: dict[str, Change] = {
    "pafs-zeroed": scaled(0, "paf"),
    "pafs-half": scaled(0.5, "paf"),
    "pafs-triple": scaled(3, "paf"),
    "one-paf-dead": one_channel(0, "paf", 0),
    "another-paf-dead": one_channel(0, "paf", 37),
    "limb-negative": lambda maps, kinds: one_channel(-1, "paf", 12)(one_channel(-1, "paf", 13)(maps, kinds), kinds),
}
OF_TAGS: dict[str, Change] = {"tags-zeroed": scaled(0, "tag"), "tags-negative": one_channel(-1, "tag", 5)}
