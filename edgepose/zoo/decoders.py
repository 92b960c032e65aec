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
    skeletons: tuple[str, ...] | None  # keypoint sets that it knows; None: any, or for detectors none at all
    maps: bool = True  # whether each output is maps (B, C, h, w), which follow the layout of the input; others come as they are


DECODERS: dict[str, DecoderEntry] = {
    "paf": DecoderEntry("edgepose.decoding.paf:PAFDecoder", "bottom-up", ("openpose18",)),
    "tags": DecoderEntry("edgepose.decoding.tags:TagDecoder", "bottom-up", ("coco17",)),
    "embeddings": DecoderEntry("edgepose.decoding.embeddings:EmbeddingDecoder", "bottom-up", ("coco17",), maps=False),
    "rows": DecoderEntry("edgepose.decoding.rows:RowDecoder", "bottom-up", None, maps=False),
    "movenet": DecoderEntry("edgepose.decoding.movenet:MoveNetDecoder", "bottom-up", ("coco17",), maps=False),
    "heatmaps": DecoderEntry("edgepose.decoding.heatmaps:HeatmapDecoder", "top-down", None),
    "simcc": DecoderEntry("edgepose.decoding.simcc:SimCCDecoder", "top-down", None, maps=False),
    "ssd": DecoderEntry("edgepose.pipelines.detection:SSDDetector", "detector", None),
    "boxes": DecoderEntry("edgepose.pipelines.row_detection:RowDetector", "detector", None, maps=False),
}
