"""Distillation (arXiv 1811.05419): a network learns from the maps of a trained model, too, and not from labels alone.

Labels are exact, but have gaps: bystanders and faces that nobody labelled. The maps of a model have none, but are less exact.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edgepose.engines.openvino import OpenVINOEngine, read_network
from edgepose.errors import ModelError
from edgepose.loading import locate
from edgepose.networks.lightweight_openpose import HEATMAPS, PAFS
from edgepose.training.augmentation import MEAN, SCALE
from edgepose.training.targets import STRIDE

# Of the teacher's maps, where the weight of labels is 1.
WEIGHT = 1.0


class Teacher:
    """A bottom-up model with the maps of Lightweight OpenPose, run by OpenVINO on the processor.

    Args:
        model: A name of the zoo, or a file; see `edgepose.loading.locate`.

    Raises:
        ModelError: It cannot be read, or has other maps.
    """

    def __init__(self, model: str | Path) -> None:
        path, description = locate(model)
        self._engine = OpenVINOEngine(read_network(path), description)
        channels = self._engine.output_channels
        if sorted(channels) not in ([HEATMAPS, PAFS], [HEATMAPS + PAFS]) or description.stride != STRIDE:
            raise ModelError(
                f"{description.name} answers {list(channels)} channels at stride {description.stride}, and cannot teach "
                f"Lightweight OpenPose; expected {HEATMAPS} heatmaps and {PAFS} PAFs at stride {STRIDE}"
            )

    def maps(self, images: Tensor) -> Tensor:
        """Heatmaps and PAFs (B, 57, h, w) of the network's input `images` (B, 3, H, W), on the same device."""
        pixels = (images * SCALE + MEAN).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        # Told apart by their channels: fewer heatmaps than PAFs.
        outputs = sorted(self._engine.infer(pixels.cpu().numpy()), key=lambda maps: maps.shape[1])
        return torch.cat([torch.from_numpy(maps) for maps in outputs], dim=1).to(images.device)


def blended(targets: Tensor, weights: Tensor, opinion: Tensor) -> tuple[Tensor, Tensor]:
    """Targets and weights (B, 57, h, w) whose squared error has the gradient of two errors' sum: to `targets` and `opinion`."""
    total = weights + WEIGHT
    return (weights * targets + WEIGHT * opinion) / total, total
