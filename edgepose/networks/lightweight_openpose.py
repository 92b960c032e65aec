"""Lightweight OpenPose (arXiv 1811.12004): MobileNetV1 at stride 8, then stages that refine maps of joints and limbs.

Attributes are named as in the public checkpoint, so that its state dict loads as it is. Shapes in comments are those of
width 1 for an input of (B, 3, H, W), with h = H / 8 and w = W / 8.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgepose.errors import InputError

HEATMAPS = 19  # 18 keypoints and the background
PAFS = 38  # x and y of 19 limbs


class LightweightOpenPose(nn.Module):
    """Heatmaps and part affinity fields (PAFs) of an image, after an initial stage and after every refinement stage.

    Args:
        refinement_stages: Stages after the initial one, 0 or more; the public checkpoints have 1 or 3.
        width: Factor on the channels of every hidden layer, each rounded to a multiple of 8; the public checkpoints
            have 1.0.

    Raises:
        InputError: `refinement_stages` is negative, or `width` is not positive.
    """

    def __init__(self, refinement_stages: int = 1, width: float = 1.0) -> None:
        super().__init__()
        if refinement_stages < 0:
            raise InputError(f"refinement_stages is {refinement_stages}, expected 0 or more")
        if not 0 < width < float("inf"):
            raise InputError(f"width is {width}, expected a positive factor on the channels such as 1.0 or 0.75")

        def channels(at_width_1: int) -> int:
            return max(8, int(at_width_1 * width / 8 + 0.5) * 8)

        c32, c64, c128, c256, c512 = (channels(count) for count in (32, 64, 128, 256, 512))
        self.model = nn.Sequential(  # MobileNetV1 up to conv5_5
            _conv(3, c32, stride=2, bias=False, norm=True),
            _separable(c32, c64),
            _separable(c64, c128, stride=2),
            _separable(c128, c128),
            _separable(c128, c256, stride=2),
            _separable(c256, c256),
            _separable(c256, c512),  # conv4_2: its stride of 2 is dropped, which keeps the maps at stride 8 ...
            _separable(c512, c512, dilation=2),  # ... and a dilation keeps the field of view
            _separable(c512, c512),
            _separable(c512, c512),
            _separable(c512, c512),
            _separable(c512, c512),
        )
        self.cpm = Cpm(c512, c128)
        self.initial_stage = Stage((_conv(c128, c128) for _ in range(3)), c128, c512)
        widths = (c128 + HEATMAPS + PAFS, c128, c128, c128, c128)  # of the input of each block: features and former maps first
        self.refinement_stages = nn.ModuleList(
            Stage((RefinementBlock(inputs, c128) for inputs in widths), c128, c128) for _ in range(refinement_stages)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of every stage for images `x` (B, 3, H, W), BGR, `(pixel - 128) / 256`, sides a multiple of 8.

        Returns:
            Heatmaps (B, 19, H / 8, W / 8), PAFs (B, 38, H / 8, W / 8), heatmaps, PAFs, ...: two per stage, the last
            two being the best.
        """
        features = self.cpm(self.model(x))  # B, 128, h, w
        maps: list[Tensor] = list(self.initial_stage(features))
        for stage in self.refinement_stages:
            maps.extend(stage(torch.cat((features, maps[-2], maps[-1]), dim=1)))
        return maps


class Cpm(nn.Module):
    """From backbone to stage features: `wide` channels narrowed to `narrow`, then a residual of separable layers."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.align = _conv(wide, narrow, kernel=1)
        self.trunk = nn.Sequential(*(_separable_elu(narrow) for _ in range(3)))
        self.conv = _conv(narrow, narrow)

    def forward(self, x: Tensor) -> Tensor:
        x = self.align(x)
        out: Tensor = self.conv(x + self.trunk(x))
        return out


class Stage(nn.Module):
    """Heatmaps and PAFs of what the `trunk` makes of the input, whose `channels` go through `hidden` ones in each head."""

    def __init__(self, trunk: Iterable[nn.Module], channels: int, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*trunk)
        self.heatmaps = _head(channels, hidden, HEATMAPS)
        self.pafs = _head(channels, hidden, PAFS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class RefinementBlock(nn.Module):
    """A 1x1 convolution and a residual of two 3x3 ones, which together see as far as OpenPose's 7x7 for less work."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.initial = _conv(inputs, outputs, kernel=1)
        self.trunk = nn.Sequential(_conv(outputs, outputs, norm=True), _conv(outputs, outputs, dilation=2, norm=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        out: Tensor = x + self.trunk(x)
        return out


def _conv(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, bias: bool = True, norm: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), batch norm on request, ReLU."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _separable(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """MobileNetV1's block: a depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, dilation, dilation, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable_elu(channels: int) -> nn.Sequential:
    """A depthwise 3x3 and a 1x1 convolution without batch norm, each with ELU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ELU(inplace=True),
    )


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two 1x1 convolutions from features to maps; the second, wrapped as the public checkpoint names it, is linear."""
    return nn.Sequential(_conv(inputs, hidden, kernel=1), nn.Sequential(nn.Conv2d(hidden, outputs, 1)))
