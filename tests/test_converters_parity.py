"""Parity with PyTorch: what differs in any channel is no conversion."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import torch
from broken_networks import BROKEN, OF_PAFS, OF_TAGS, broken, one_channel, scaled
from torch import nn

from converters.files import as_written
from converters.openvino_ir import LastMaps, to_openvino
from converters.parity import compare
from edgepose.errors import ModelError
from edgepose.networks import HigherHRNet, LightweightOpenPose
from edgepose.networks.higher_hrnet import FinalMaps
from edgepose.networks.hrnet import HRNetConfig, Stage
from edgepose.zoo import registry

pytestmark = pytest.mark.slow

SMALL = HRNetConfig((Stage(1, 1), Stage(1, 1), Stage(1, 1)), channels=(8, 16, 24, 32), bottlenecks=1)
INPUTS = {"noise": [np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 96, 128)).astype(np.float32)]}


class LargeTags(nn.Module):
    """HigherHRNet whose tags are a thousand times as large as its heatmaps."""

    def __init__(self) -> None:
        super().__init__()
        self.network = FinalMaps(HigherHRNet(SMALL))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        heatmaps, tags = torch.tensor_split(self.network(image), 2, dim=1)
        return torch.cat((heatmaps, 1000 * tags), dim=1)


def converted(network: nn.Module, name: str) -> tuple[nn.Module, ov.Model]:
    model = registry.get(name)
    whole = LastMaps(network, len(model.outputs)).eval()
    return whole, as_written(to_openvino(whole, model), fp16=True)[0]


@pytest.fixture(scope="module")
def of_pafs():
    torch.manual_seed(0)
    return converted(LightweightOpenPose(1, 0.25), "lightweight-openpose")


@pytest.fixture(scope="module")
def of_tags():
    torch.manual_seed(0)
    return converted(LargeTags(), "higher-hrnet-w32")


def test_a_conversion_to_fp16_equals_pytorch(of_pafs, of_tags):
    for network, ir in (of_pafs, of_tags):
        parity = compare(network, ir, INPUTS, "FP16")["noise"]
        assert 0 < parity.worst < 0.02
        assert "% of the range of channel" in str(parity)


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
@pytest.mark.parametrize("change", [pytest.param(it, id=name) for name, it in {**BROKEN, **OF_PAFS}.items()])
def test_a_broken_conversion_is_refused(of_pafs, change, precision):
    network, ir = of_pafs
    with pytest.raises(ModelError, match="differs from PyTorch"):
        compare(network, broken(ir, change), INPUTS, precision)


@pytest.mark.parametrize("change", [pytest.param(it, id=name) for name, it in {**BROKEN, **OF_TAGS}.items()])
def test_a_broken_conversion_is_refused_whatever_the_tags_are_like(of_tags, change):
    network, ir = of_tags
    with pytest.raises(ModelError, match="differs from PyTorch"):
        compare(network, broken(ir, change), INPUTS, "FP16")


def test_heatmaps_are_not_measured_by_tags(of_tags):
    network, ir = of_tags
    with pytest.raises(ModelError, match=r"channel \d+ of output 0"):
        compare(network, broken(ir, scaled(0.6, "keypoint")), INPUTS, "FP16")


def test_every_channel_counts(of_pafs):
    network, ir = of_pafs
    for kind, index in (("keypoint", 0), ("keypoint", 17), ("background", 0), ("paf", 0), ("paf", 37)):
        with pytest.raises(ModelError, match="differs from PyTorch"):
            compare(network, broken(ir, one_channel(0.5, kind, index)), INPUTS, "FP16")


def test_inputs_of_each_kind_are_held_to_the_tolerance(of_pafs):
    network, ir = of_pafs
    inputs = {"nothing": [np.zeros((1, 3, 96, 128), np.float32)], **INPUTS}
    assert list(compare(network, ir, inputs, "FP16")) == ["nothing", "noise"]
    with pytest.raises(ModelError, match=r"\((nothing|noise)\); expected at most 3.00%"):
        compare(network, broken(ir, scaled(0.6, "keypoint")), inputs, "FP16")
