"""HRNet (arXiv 1902.09212): branches at strides 4, 8, 16 and 32 side by side, which exchange their features again and again.

Attributes are named as in the published checkpoints, so that their state dicts load as they are. Two quirks of those
are kept for the same reason: where the exchange goes down by several steps, only the last convolution widens the
channels; and the last exchange makes the high-resolution output alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor, nn

from edgepose.errors import InputError

BlockKind = Literal["basic", "separable", "bottleneck"]
_Network = TypeVar("_Network", bound="HRNetTrunk")

STEM_CHANNELS = 64
EXPANSION = 4  # from the hidden to the outer channels of the bottlenecks after the stem


@dataclass(frozen=True)
class Stage:
    """`modules` times: every branch runs `blocks` residual blocks, then all branches exchange. Both are 1 or more."""

    modules: int
    blocks: int

    def __post_init__(self) -> None:
        if min(self.modules, self.blocks) < 1:
            raise InputError(f"a stage has {self.modules} modules of {self.blocks} blocks, expected 1 or more of both")


@dataclass(frozen=True)
class HRNetConfig:
    """The layout of an HRNet.

    Attributes:
        stages: The stages with two, three and four branches.
        channels: Channels of the branches at strides 4, 8, 16 and 32.
        bottlenecks: Bottleneck blocks between the stem and the first stage, 1 or more.
        low_blocks: Residual blocks of the branches below the high-resolution one: "basic" has two 3x3 convolutions
            and is the published one; "separable" has depthwise 3x3 and 1x1 convolutions in their place; "bottleneck"
            has one 3x3 convolution on half of the channels, between 1x1 convolutions.
        keypoints: Heatmaps to give.
    """

    stages: tuple[Stage, Stage, Stage]
    channels: tuple[int, int, int, int]
    bottlenecks: int = 4
    low_blocks: BlockKind = "basic"
    keypoints: int = 17

    def __post_init__(self) -> None:
        if self.bottlenecks < 1:
            raise InputError(f"bottlenecks is {self.bottlenecks}, expected 1 or more")


_PUBLISHED_STAGES = (Stage(modules=1, blocks=4), Stage(modules=4, blocks=4), Stage(modules=3, blocks=4))
VARIANTS = {
    "w32": HRNetConfig(_PUBLISHED_STAGES, channels=(32, 64, 128, 256)),
    "w48": HRNetConfig(_PUBLISHED_STAGES, channels=(48, 96, 192, 384)),
    # Chosen by benchmarks/hrnet_compact.py among layouts of at most 2.5 GMACs at 256x192. Its plain 3x3 convolutions do the
    # most arithmetic in a millisecond: in INT8 it is the fastest with VNNI, and with AVX2 alone within 10 % of separable
    # layouts that have three quarters of its arithmetic and half of its parameters.
    "w32-compact": HRNetConfig(
        (Stage(modules=1, blocks=2), Stage(modules=2, blocks=2), Stage(modules=1, blocks=2)),
        channels=(32, 64, 128, 256),
        bottlenecks=1,
    ),
}


class HRNetTrunk(nn.Module):
    """HRNet up to its high-resolution features: images (B, 3, H, W) -> (B, channels[0], H / 4, W / 4)."""

    def __init__(self, config: HRNetConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)

        wide = STEM_CHANNELS * EXPANSION
        inputs = (STEM_CHANNELS, *(wide for _ in range(config.bottlenecks - 1)))
        self.layer1 = nn.Sequential(*(Bottleneck(count, STEM_CHANNELS, wide) for count in inputs))

        two, three, four = config.channels[:2], config.channels[:3], config.channels
        self.transition1 = _transition((wide,), two)
        self.stage2 = _stage(config.stages[0], two, config.low_blocks)
        self.transition2 = _transition(two, three)
        self.stage3 = _stage(config.stages[1], three, config.low_blocks)
        self.transition3 = _transition(three, four)
        self.stage4 = _stage(config.stages[2], four, config.low_blocks, last_outputs=1)

    @classmethod
    def variant(cls: type[_Network], name: str) -> _Network:
        """A network of a known layout: "w32" and "w48" are the published ones, "w32-compact" does 29 % of the work.

        Raises:
            InputError: No variant has this name.
        """
        if name not in VARIANTS:
            raise InputError(f"{cls.__name__} variant is {name!r}, expected one of: {', '.join(VARIANTS)}")
        return cls(VARIANTS[name])

    def features(self, x: Tensor) -> Tensor:
        """High-resolution features (B, channels[0], H / 4, W / 4) of images `x` (B, 3, H, W), sides a multiple of 32."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        branches: list[Tensor] = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A new branch grows out of the lowest one; the others go on as they are.
            branches = [step(branches[min(index, len(branches) - 1)]) for index, step in enumerate(transition)]
            branches = stage(branches)
        return branches[0]


class HRNet(HRNetTrunk):
    """Heatmaps of one person's keypoints in a crop (top-down)."""

    def __init__(self, config: HRNetConfig) -> None:
        super().__init__(config)
        self.final_layer = nn.Conv2d(config.channels[0], config.keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Heatmaps (B, K, H / 4, W / 4) of crops `x` (B, 3, H, W), RGB, normalised by ImageNet's mean and deviation.

        The sides are multiples of 32, such as 256x192.
        """
        heatmaps: Tensor = self.final_layer(self.features(x))
        return heatmaps


class ExchangeModule(nn.Module):
    """Residual blocks on every branch, then every output is the sum of all branches brought to its resolution.

    Args:
        channels: Channels of the branches, from high to low resolution.
        blocks: Residual blocks per branch.
        low_blocks: Their kind below the high-resolution branch.
        outputs: Branches to give, counted from the highest resolution.
    """

    def __init__(self, channels: tuple[int, ...], blocks: int, low_blocks: BlockKind, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(_block("basic" if branch == 0 else low_blocks, count) for _ in range(blocks)))
            for branch, count in enumerate(channels)
        )
        self.fuse_layers = nn.ModuleList(
            Fusion(_exchange(channels, source, target) for source in range(len(channels))) for target in range(outputs)
        )

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        return [fusion(features) for fusion in self.fuse_layers]


class Fusion(nn.ModuleList):
    """One output of an exchange: the sum of all branches, each brought to the output's resolution by its own layer."""

    def forward(self, features: list[Tensor]) -> Tensor:
        first, *others = (layer(x) for layer, x in zip(self, features, strict=True))
        return nn.functional.relu(sum(others, start=first))


class BasicBlock(nn.Module):
    """A residual of two 3x3 convolutions, each split into a depthwise and a 1x1 one if `separable`."""

    def __init__(self, channels: int, *, separable: bool = False) -> None:
        super().__init__()
        convolution = _separable if separable else _conv3x3
        self.conv1 = convolution(channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(residual)) + x)
        return out


class Bottleneck(nn.Module):
    """A residual of one 3x3 convolution on `hidden` channels, between 1x1 convolutions."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        same = inputs == outputs
        self.downsample = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        out: Tensor = self.relu(self.bn3(self.conv3(residual)) + self.downsample(x))
        return out


def _block(kind: BlockKind, channels: int) -> nn.Module:
    """A residual block that keeps its `channels`."""
    if kind == "bottleneck":
        return Bottleneck(channels, channels // 2, channels)
    return BasicBlock(channels, separable=kind == "separable")


def _conv3x3(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False)


def _separable(channels: int) -> nn.Module:
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1, bias=False))


def _stage(stage: Stage, channels: tuple[int, ...], low_blocks: BlockKind, last_outputs: int | None = None) -> nn.Sequential:
    """The exchange modules of a stage; the last one gives its first `last_outputs` branches, or all."""
    outputs = [len(channels)] * (stage.modules - 1) + [last_outputs or len(channels)]
    return nn.Sequential(*(ExchangeModule(channels, stage.blocks, low_blocks, count) for count in outputs))


def _transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """The layers that bring the branches of one stage to the channels of the next, the new branch being the last."""
    steps: list[nn.Module] = []
    for index, outputs in enumerate(after):
        if index == len(before):
            steps.append(nn.Sequential(_conv(before[-1], outputs, stride=2)))
        elif before[index] == outputs:
            steps.append(nn.Identity())
        else:
            steps.append(_conv(before[index], outputs))
    return nn.ModuleList(steps)


def _exchange(channels: tuple[int, ...], source: int, target: int) -> nn.Module:
    """The layers that bring branch `source` to the resolution and the channels of branch `target`."""
    inputs, outputs = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    steps = [_conv(inputs, inputs, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, _conv(inputs, outputs, stride=2, relu=False))


def _conv(inputs: int, outputs: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution with batch norm and, unless it feeds a sum, ReLU."""
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)
