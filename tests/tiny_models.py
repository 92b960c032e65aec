"""Networks of one pooling and one 1x1 convolution, to test with where the real ones are too large or not at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

DESCRIPTION = """\
task: bottom-up
decoder: paf
skeleton: openpose18
colour: BGR
layout: NCHW
mean: [128, 128, 128]
scale: [256, 256, 256]
size: [64, 96]
stride: 8
"""
TOP_DOWN = """\
task: top-down
decoder: heatmaps
skeleton: coco17
colour: RGB
layout: NCHW
mean: [123.675, 116.28, 103.53]
scale: [58.395, 57.12, 57.375]
size: [64, 32]
stride: 4
multiple: 32
"""


def network(channels: tuple[int, ...] = (19, 38), *, layout: str = "NCHW", inputs: int = 1, stride: int = 8) -> ov.Model:
    """One picture (or `inputs` of them, summed) in, maps of `channels` at 1/stride out; the same weights each time."""
    random = np.random.default_rng(7)
    shape = [1, 3, -1, -1] if layout == "NCHW" else [1, -1, -1, 3]
    parameters = [ops.parameter(ov.PartialShape(shape), np.float32, name=f"input{i}") for i in range(inputs)]
    image = parameters[0].output(0)
    for extra in parameters[1:]:
        image = ops.add(image, extra).output(0)
    if layout == "NHWC":
        image = ops.transpose(image, [0, 3, 1, 2]).output(0)
    pooled = ops.avg_pool(image, [stride, stride], [0, 0], [0, 0], [stride, stride], exclude_pad=True)
    outputs = []
    for count in channels:
        weights = random.normal(0, 1, (count, 3, 1, 1)).astype(np.float32)
        maps = ops.convolution(pooled, ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
        outputs.append(ops.transpose(maps, [0, 2, 3, 1]) if layout == "NHWC" else maps)
    return ov.Model([o.output(0) for o in outputs], parameters, "tiny")


def save(
    folder: Path,
    channels: tuple[int, ...] = (19, 38),
    *,
    description: str | None = DESCRIPTION,
    layout: str = "NCHW",
    stride: int = 8,
) -> Path:
    """`network` as folder/tiny.xml, with a description beside it unless that is None."""
    path = folder / "tiny.xml"
    ov.save_model(network(channels, layout=layout, stride=stride), path, compress_to_fp16=False)
    if description is not None:
        path.with_suffix(".yaml").write_text(description)
    return path
