"""The networks, as PyTorch modules whose state dicts are those of the public checkpoints. Needs torch."""

from __future__ import annotations

from edgepose.networks.higher_hrnet import HigherHRNet
from edgepose.networks.hrnet import HRNet
from edgepose.networks.lightweight_openpose import LightweightOpenPose

__all__ = ["HRNet", "HigherHRNet", "LightweightOpenPose"]
