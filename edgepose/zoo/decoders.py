"""The decoders by name: a new one is a file with its class, and a line in this table.

The classes are named, not imported: models can be listed and described without Numba.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Task = Literal["bottom-up", "top-down", "detector"]


class DecoderEntry(NamedTuple):
    """A line of the table."""

    factory: str  # "module:class"; an `edgepose.decoding.Decoder`, or for detectors a class like `SSDDetector`
    task: Task  # of the models that it serves
    skeletons: tuple[str | None, ...]  # keypoint sets that it knows; None for detectors


DECODERS: dict[str, DecoderEntry] = {
    "paf": DecoderEntry("edgepose.decoding.paf:PAFDecoder", "bottom-up", ("openpose18",)),
    "tags": DecoderEntry("edgepose.decoding.tags:TagDecoder", "bottom-up", ("coco17",)),
    "heatmaps": DecoderEntry("edgepose.decoding.heatmaps:HeatmapDecoder", "top-down", ("openpose18", "coco17")),
    "ssd": DecoderEntry("edgepose.pipelines.detection:SSDDetector", "detector", (None,)),
}
