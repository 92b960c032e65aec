"""OpenVINO IR, and ONNX if wanted, of a PyTorch network; written only if it answers as PyTorch does."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from converters.command import EXTRA
from converters.files import arriving, read_whole, save_network
from converters.parity import compare
from converters.pictures import network_input
from edgepose.arrays import Float, Image
from edgepose.engines.openvino import RT_INFO_KEY
from edgepose.media.images import read_image, sample_photo
from edgepose.zoo.registry import Model, to_yaml

MAX_DIMENSION = 512  # a bound that torch.export needs; the IR itself has none


class LastMaps(nn.Module):
    """A network reduced to its last `count` outputs, as a tuple."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network = network
        self.count = count

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs[-self.count :])


def write_ir(network: nn.Module, *, model: Model, folder: Path, precision: str, photos: list[Path], onnx: bool) -> None:
    """Write `network` to `folder` as NAME.xml and NAME.bin, and print how far they are from PyTorch.

    Args:
        network: Takes (B, 3, H, W) and answers maps; the last ones, as many as `model` has outputs, are kept.
        model: The description that the IR carries; its name is that of the files.
        folder: Gets the files, all of them or none.
        precision: "FP16" or "FP32" weights.
        photos: Photos to compare on, beside noise; none: the sample photo of scikit-image.
        onnx: Also write NAME.onnx, and NAME.yaml to describe it.

    Raises:
        ModelError: A file differs from PyTorch by more than the tolerance of `converters.parity`.
        SourceError: A photo cannot be read.
        OutputError: The folder cannot be written.
        MissingExtraError: There is no photo at all to compare on.
    """
    images = [read_image(photo) for photo in photos] or [sample_photo(EXTRA)]
    inputs = {"noise": [_noise(model)], "photos" if len(images) > 1 else "photo": [_input(image, model) for image in images]}
    network = LastMaps(network, len(model.outputs)).eval()
    with arriving(folder) as room:
        xml = room / f"{model.name}.xml"
        save_network(to_openvino(network, model), xml, fp16=precision == "FP16")
        written = [(precision, [xml, xml.with_suffix(".bin")])]
        if onnx:
            _save_onnx(network, model, xml.with_suffix(".onnx"))
            xml.with_suffix(".yaml").write_text(to_yaml(model), encoding="utf-8")
            written.append(("FP32", [xml.with_suffix(".onnx")]))
        for its_precision, files in written:
            megabytes = sum(file.stat().st_size for file in files) / 1e6
            print(f"{folder / files[0].name}: {its_precision}, {megabytes:.1f} MB")
            for kind, parity in compare(network, read_whole(files[0]), inputs, its_precision).items():
                print(f"  differs from PyTorch by {parity} ({kind})")


def to_openvino(network: nn.Module, model: Model) -> ov.Model:
    """The network as IR that describes itself, for any batch, height and width that the network can take."""
    batch, rows, columns = (torch.export.Dim(name, min=1, max=MAX_DIMENSION) for name in ("batch", "rows", "columns"))
    sides = {0: batch, 2: model.multiple * rows, 3: model.multiple * columns}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from one part of PyTorch about another
        program = torch.export.export(network, (_example(model),), dynamic_shapes=(sides,))
        converted = ov.convert_model(program)
    converted.set_rt_info(to_yaml(model), RT_INFO_KEY)
    return converted


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
    # torch.export takes a dimension of 1 for a constant, so the batch and the multiples in each side are at least 2.
    return torch.zeros(2, 3, *(max(side, 2 * model.multiple) for side in model.size))


def _noise(model: Model) -> Float:
    """Noise (1, 3, H, W), the same each time."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, *model.size)).astype(np.float32)


def _input(image: Image, model: Model) -> Float:
    """A photo as an input (1, 3, H, W), without regard to its aspect, which does not matter for a comparison."""
    pixels = cv2.resize(image, model.size[::-1], interpolation=cv2.INTER_AREA)[None]
    return network_input(np.asarray(pixels, np.uint8), model)
