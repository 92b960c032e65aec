"""A PyTorch network as OpenVINO IR that describes itself; written only if it answers as PyTorch does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from converters.command import EXTRA
from converters.files import arriving, read_whole, save_network
from converters.int8.maps import by_kind, channel_rows
from converters.pictures import network_input
from edgepose.engines.openvino import RT_INFO_KEY
from edgepose.errors import ModelError
from edgepose.media.images import read_image, sample_photo
from edgepose.zoo.registry import Model, to_yaml

# Largest difference from PyTorch in a channel, as a part of the range of its values. FP16 keeps eleven bits of each weight, and
# errors of a thousand of them add up, to 1.6 % of the range of the embedded model's channels, 0.2 % of the compact HRNet's and
# 0.1 % of HigherHRNet's; FP32 differs by the order of sums alone.
TOLERANCE = {"FP32": 1e-4, "FP16": 3e-2}
# A channel with a range below this part of the largest of its kind is measured by that part: the ankles of a portrait are
# ripples, which any rounding changes.
QUIET = 0.3
# And at least by this part of the largest value, as far as which rounding is relative to values.
LEAST_RANGE = 1e-2

MAX_BATCH, MAX_MULTIPLES = 1024, 512  # What torch.export promises to hold for; the IR itself knows no bounds.


@dataclass(frozen=True)
class Parity:
    """How far a converted network and PyTorch are apart.

    Attributes:
        maximum: The largest difference of all.
        mean: The mean difference.
        scale: PyTorch's largest value.
        worst: The largest difference in a channel as a part of the range of that channel.
        where: That channel, in words.
    """

    maximum: float
    mean: float
    scale: float
    worst: float
    where: str

    def __str__(self) -> str:
        return (
            f"max {self.maximum:.2e}, mean {self.mean:.2e}, of values up to {self.scale:.3g}; {self.worst:.2%} of the range of "
            f"{self.where}"
        )


class LastMaps(nn.Module):
    """A network with its last `count` outputs alone, as a tuple."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network = network
        self.count = count

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs[-self.count :])


def export(network: nn.Module, *, model: Model, folder: Path, precision: str, photos: list[Path], onnx: bool) -> None:
    """Write `network` to `folder` as NAME.xml and NAME.bin, and print how far they are from PyTorch.

    Args:
        network: Takes (B, 3, H, W), answers maps; the last ones, as many as `model` has outputs, are kept.
        model: What the IR says of itself; its name is that of the files.
        folder: Gets the files, all of them or none.
        precision: "FP16" or "FP32" weights.
        photos: What to compare on, beside noise; none: the sample photo of scikit-image.
        onnx: Also write NAME.onnx, and NAME.yaml to describe it.

    Raises:
        ModelError: A file differs from PyTorch by more than `TOLERANCE`.
        SourceError: A photo cannot be read.
        OutputError: The folder cannot be written.
        MissingExtraError: There is no photo at all to compare on.
    """
    images = [read_image(photo) for photo in photos] or [sample_photo(EXTRA)]
    inputs = {"noise": [_noise(model)], "photos" if len(images) > 1 else "photo": [_input(image, model) for image in images]}
    network = LastMaps(network, len(model.outputs)).eval()
    with arriving(folder) as room:
        files = {room / f"{model.name}.xml": precision}
        parts = {".xml": (".xml", ".bin"), ".onnx": (".onnx",)}
        save_network(to_openvino(network, model), room / f"{model.name}.xml", fp16=precision == "FP16")
        if onnx:
            files[room / f"{model.name}.onnx"] = "FP32"
            _save_onnx(network, model, room / f"{model.name}.onnx")
            (room / f"{model.name}.yaml").write_text(to_yaml(model), encoding="utf-8")
        for path, its_precision in files.items():
            written = read_whole(path)
            megabytes = sum(path.with_suffix(suffix).stat().st_size for suffix in parts[path.suffix]) / 1e6
            print(f"{folder / path.name}: {its_precision}, {megabytes:.1f} MB")
            pairs = {kind: _run_both(network, written, tensors) for kind, tensors in inputs.items()}
            # Noise leaves a trained network's maps nearly flat: the range of a channel is that over everything.
            everything = [
                (np.concatenate([a for a, _ in outputs], axis=1), np.concatenate([b for _, b in outputs], axis=1))
                for outputs in zip(*pairs.values(), strict=True)
            ]
            ranges = _ranges(everything)
            _check(_parity(everything, ranges), its_precision)
            for kind, its_pairs in pairs.items():
                print(f"  differs from PyTorch by {_parity(its_pairs, ranges)} ({kind})")


def to_openvino(network: nn.Module, model: Model) -> ov.Model:
    """The network as IR that says what it is, for any batch, height and width that it can take."""
    batch, rows, columns = (torch.export.Dim(name, min=1, max=MAX_MULTIPLES) for name in ("batch", "rows", "columns"))
    sides = {0: batch, 2: model.multiple * rows, 3: model.multiple * columns}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's own, of its parts to each other
        program = torch.export.export(network, (_example(model),), dynamic_shapes=(sides,))
        converted = ov.convert_model(program)
    converted.set_rt_info(to_yaml(model), RT_INFO_KEY)
    return converted


def compare(network: nn.Module, converted: ov.Model, inputs: list[NDArray[np.float32]], precision: str) -> Parity:
    """PyTorch against a converted network, in FP32 arithmetic, on `inputs` (B, 3, H, W), by channel.

    Raises:
        ModelError: They are further apart than `TOLERANCE` in a channel.
    """
    pairs = _run_both(network, converted, inputs)
    parity = _parity(pairs, _ranges(pairs))
    _check(parity, precision)
    return parity


Pairs = list[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Of each output, PyTorch's values and those of the converted network, (C, values) each."""


@torch.inference_mode()
def _run_both(network: nn.Module, converted: ov.Model, inputs: list[NDArray[np.float32]]) -> Pairs:
    compiled = ov.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    runs: list[list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = []
    for tensor in inputs:
        expected: tuple[Tensor, ...] = network(torch.from_numpy(tensor))
        answers = [(want.numpy(), np.array(got)) for want, got in zip(expected, compiled(tensor).values(), strict=True)]
        for want, got in answers:
            if want.shape != got.shape:
                raise ModelError(f"the converted network answers {got.shape} where PyTorch answers {want.shape}")
        runs.append([(channel_rows(want), channel_rows(got)) for want, got in answers])
    joined = [[np.concatenate(parts, axis=1) for parts in zip(*output, strict=True)] for output in zip(*runs, strict=True)]
    return [(want, got) for want, got in joined]


def _ranges(pairs: Pairs) -> list[NDArray[np.float64]]:
    """What differences are measured by, (C,) for each output."""
    found = []
    for want, _ in pairs:
        ranges = np.ptp(want, axis=1)
        largest = by_kind(np.abs(want).max(axis=1), np.maximum)
        found.append(np.maximum.reduce([ranges, QUIET * by_kind(ranges, np.maximum), LEAST_RANGE * largest]))
    return found


def _parity(pairs: Pairs, ranges: list[NDArray[np.float64]]) -> Parity:
    differences = [np.abs(want - got) for want, got in pairs]
    parts = []
    for difference, its in zip(differences, ranges, strict=True):
        largest = difference.max(axis=1)
        # A channel without any range has to be met exactly. NaN stays, and counts as the worst.
        parts.append(np.where(largest == 0, 0, largest / np.where(its > 0, its, np.finfo(np.float64).tiny)))
    output = int(np.argmax([part.max() for part in parts]))
    channel = int(np.argmax(parts[output]))
    together = np.concatenate([difference.ravel() for difference in differences])
    scale = max(float(np.abs(want).max()) for want, _ in pairs)
    where = f"channel {channel} of output {output}"
    return Parity(float(together.max()), float(together.mean()), scale, float(parts[output][channel]), where)


def _check(parity: Parity, precision: str) -> None:
    if not parity.worst <= TOLERANCE[precision]:  # also NaN
        raise ModelError(
            f"the converted network differs from PyTorch by {parity}; expected at most {TOLERANCE[precision]:.2%} of that in "
            f"{precision}; nothing is written"
        )


def _save_onnx(network: nn.Module, model: Model, path: Path) -> None:
    with warnings.catch_warnings():
        # The new exporter needs one more package; the old one writes the same operations.
        warnings.simplefilter("ignore", DeprecationWarning)
        names = [f"maps{index}" for index in range(len(model.outputs))]
        axes = {"image": {0: "batch", 2: "height", 3: "width"}} | {name: {0: "batch", 2: "h", 3: "w"} for name in names}
        torch.onnx.export(
            network, (_example(model),), str(path),
            dynamo=False, input_names=["image"], output_names=names, dynamic_axes=axes,
        )  # fmt: skip


def _example(model: Model) -> Tensor:
    # Neither the batch nor a side may be 1 multiple: PyTorch takes a 1 for a constant.
    return torch.zeros(2, 3, *(max(side, 2 * model.multiple) for side in model.size))


def _noise(model: Model) -> NDArray[np.float32]:
    """(1, 3, H, W), the same each time."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, *model.size)).astype(np.float32)


def _input(image: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
    """(1, 3, H, W) of a photo, squeezed to the input: for comparing, its aspect does not matter."""
    pixels = cv2.resize(image, model.size[::-1], interpolation=cv2.INTER_AREA)[None]
    return network_input(np.asarray(pixels, np.uint8), model)
