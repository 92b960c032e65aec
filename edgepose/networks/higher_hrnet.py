"""HigherHRNet (arXiv 1908.10357): HRNet for the whole picture, with a second, finer output for people who are small in it.

The first output has a heatmap and a tag map of every keypoint, at stride 4: keypoints whose tags are alike belong to one
person (associative embedding, arXiv 1611.05424). The second has the heatmaps alone, at stride 2. Attributes are named as in
the published checkpoints, so that their state dicts load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepose.networks.hrnet import BasicBlock, HRNetConfig, HRNetTrunk

BLOCKS = 4  # residual blocks after the deconvolution


class HigherHRNet(HRNetTrunk):
    """Heatmaps and tags of everybody's keypoints in a picture (bottom-up)."""

    def __init__(self, config: HRNetConfig) -> None:
        super().__init__(config)
        channels, keypoints = config.channels[0], config.keypoints
        self.final_layers = nn.ModuleList([nn.Conv2d(channels, 2 * keypoints, 1), nn.Conv2d(channels, keypoints, 1)])
        self.deconv_layers = nn.ModuleList([_finer(channels + 2 * keypoints, channels)])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of pictures `x` (B, 3, H, W), RGB, normalised by ImageNet's mean and deviation, sides multiples of 32.

        Returns:
            Heatmaps and then tags (B, 2 K, H / 4, W / 4), and finer heatmaps (B, K, H / 2, W / 2).
        """
        features = self.features(x)
        coarse = self.final_layers[0](features)
        features = self.deconv_layers[0](torch.cat((features, coarse), dim=1))
        return [coarse, self.final_layers[1](features)]


class FinalMaps(nn.Module):
    """HigherHRNet and the last steps of its inference, in one output (B, 2 K, H / 2, W / 2), ready to be decoded.

    As in the published code, the coarse output is brought to the resolution of the fine one (bilinear); the K heatmaps are
    the mean of both, and the K tags behind them those of the coarse one.
    """

    def __init__(self, network: HigherHRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        coarse, fine = self.network(x)
        coarse = nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        heatmaps, tags = torch.tensor_split(coarse, 2, dim=1)
        return torch.cat(((heatmaps + fine) / 2, tags), dim=1)


def _finer(inputs: int, channels: int) -> nn.Sequential:
    """Features at twice the resolution, and residual blocks on them."""
    upsampling = nn.Sequential(
        nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )
    return nn.Sequential(upsampling, *(nn.Sequential(BasicBlock(channels)) for _ in range(BLOCKS)))
