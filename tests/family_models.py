"""Small ONNX networks with the outputs of each family of pose models and detectors, and the descriptions that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepose.zoo import registry
from edgepose.zoo.registry import Model

Float = NDArray[np.float32]

HEAD = "colour: RGB\nlayout: NCHW\nmean: [0, 0, 0]\nscale: [1, 1, 1]\n"
SIMCC = f"task: top-down\ndecoder: simcc\nskeleton: coco17\n{HEAD}size: [64, 48]\nstride: 1\n"
ROWS = f"task: bottom-up\ndecoder: rows\nskeleton: coco17\n{HEAD}size: [64, 64]\nstride: 1\npadding: 114\n"
MOVENET = (
    "task: bottom-up\ndecoder: movenet\nskeleton: coco17\ncolour: RGB\nlayout: NHWC\nmean: [0, 0, 0]\nscale: [1, 1, 1]\n"
    "size: [64, 64]\nstride: 1\n"
)
EMBEDDINGS = (
    "task: bottom-up\ndecoder: embeddings\nskeleton: coco17\ncolour: BGR\nlayout: NCHW\nmean: [0, 0, 0]\nscale: [1, 1, 1]\n"
    "size: [64, 64]\nstride: 2\nmultiple: 32\n"
)
TAGS = f"task: bottom-up\ndecoder: tags\nskeleton: coco17\n{HEAD}size: [64, 64]\nstride: 2\nmultiple: 32\n"
BOXES = f"task: detector\ndecoder: boxes\nperson_label: 0\n{HEAD}size: [64, 64]\nstride: 1\npadding: 114\n"


def model(description: str, **changes: object) -> Model:
    """The description as a `Model`, with some fields changed."""
    import yaml

    return registry.parse("mine", {**yaml.safe_load(description), **changes}, "mine.yaml")


def save(
    path: Path,
    outputs: Sequence[Float],
    description: str,
    *,
    input_shape: tuple[int | str, ...] = ("batch", 3, "height", "width"),
    input_type: int = TensorProto.FLOAT,
) -> Path:
    """A network that answers `outputs` (1, ...) to every picture of a batch, as `path`, and its description beside it."""
    picture = helper.make_tensor_value_info("image", input_type, list(input_shape))
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    initializers, results = [axes, zero], []
    for number, output in enumerate(outputs):
        name = f"output{number}"
        initializers.append(numpy_helper.from_array(np.asarray(output, np.float32), f"values{number}"))
        shape = numpy_helper.from_array(np.array([-1] + [1] * (output.ndim - 1), np.int64), f"shape{number}")
        initializers.append(shape)
        nodes.append(helper.make_node("Reshape", ["nothing", shape.name], [f"nothing{number}"]))
        nodes.append(helper.make_node("Add", [f"values{number}", f"nothing{number}"], [name]))
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * output.ndim))
    graph = helper.make_graph(nodes, "family", [picture], results, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    path.with_suffix(".yaml").write_text(description)
    return path


def person(height: int, width: int) -> Float:
    """(17, 2) x, y of a standing person who fills most of a picture."""
    from edgepose.pipelines import detection

    standing = np.stack([detection._STANDING.real, detection._STANDING.imag], axis=1)
    low, high = standing.min(axis=0), standing.max(axis=0)
    scale = 0.8 * min(width / (high[0] - low[0]), height / (high[1] - low[1]))
    middle = np.array([width, height]) / 2
    return np.asarray((standing - (low + high) / 2) * scale + middle, np.float32)


def simcc(points: Float, height: int, width: int, ratio: int = 2) -> list[Float]:
    """The outputs for one crop with keypoints (K, 2) at these pixels."""
    outputs = []
    for axis, side in ((0, width), (1, height)):
        bins = np.zeros((1, len(points), ratio * side), np.float32)
        places = np.clip(np.rint(points[:, axis] * ratio), 0, ratio * side - 1).astype(int)
        bins[0, np.arange(len(points)), places] = 0.8
        outputs.append(bins)
    return outputs


def row(points: Float, score: float, *, centred: bool = False, label: bool = False) -> Float:
    """(5 + 3 K,) or (6 + 3 K,) box, score, maybe class 0, and keypoints (K, 2) at these pixels with score 0.9."""
    low, high = points.min(axis=0) - 2, points.max(axis=0) + 2
    box = [*(low + high) / 2, *(high - low)] if centred else [*low, *high]
    keypoints = np.column_stack([points, np.full(len(points), 0.9)]).ravel()
    return np.array([*box, score, *([0.0] if label else []), *keypoints], np.float32)


def heatmaps(points: Float, cells: tuple[int, int]) -> Float:
    """(1, K, h, w) with a peak at each of the keypoints (K, 2), in cells."""
    y, x = np.mgrid[: cells[0], : cells[1]]
    squares = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    return np.asarray(0.9 * np.exp(-squares / 8), np.float32)[None]
