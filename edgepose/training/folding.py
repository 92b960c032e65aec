"""Batch norms that stay as they are: their arithmetic goes into the convolutions before them, which are trained on.

For weights that are trained already, on a processor: a crop takes two thirds of the time. They are saved by the names of the
network with batch norms, which then do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgepose.networks import LightweightOpenPose

# The first blocks of the backbone stay as they are: they have learned edges and textures from many more photos, and at their
# resolution they would take a quarter of the time.
FIXED_BLOCKS = 3


def fold_norms(network: LightweightOpenPose) -> None:
    """Fold all batch norms of `network`, in place, and fix its first blocks. Their running statistics become constants."""
    for path, norm_path in _norms(network).items():
        convolution, norm = network.get_submodule(path), network.get_submodule(norm_path)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        # A bias that was not there before would not learn.
        network.set_submodule(path, fuse_conv_bn_eval(convolution.eval(), norm.eval()).requires_grad_())
        network.set_submodule(norm_path, nn.Identity())
    for block in list(network.model)[:FIXED_BLOCKS]:
        block.requires_grad_(False)


def unfolded(weights: Mapping[str, Tensor], network: LightweightOpenPose) -> dict[str, Tensor]:
    """The folded `weights` by the names of `network`, which has batch norms: those do nothing but add."""
    plain = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    norms = _norms(network)
    for name, tensor in weights.items():
        path, _, kind = name.rpartition(".")
        norm = norms.get(path)
        if kind == "bias" and norm is not None:
            variance = plain[f"{norm}.running_var"]
            epsilon = nn.BatchNorm2d(1).eps
            plain[f"{norm}.weight"] = torch.ones_like(variance)
            plain[f"{norm}.bias"] = tensor.clone()
            plain[f"{norm}.running_mean"] = torch.zeros_like(variance)
            plain[f"{norm}.running_var"] = torch.full_like(variance, 1 - epsilon)
            if name in plain:
                plain[name] = torch.zeros_like(tensor)
        else:
            plain[name] = tensor.clone()
    return plain


def _norms(network: nn.Module) -> dict[str, str]:
    """The path of every batch norm that stands behind a convolution, by the path of that convolution."""
    return {
        f"{path}.{name}": f"{path}.{following}"
        for path, parent in network.named_modules()
        if isinstance(parent, nn.Sequential)
        for (name, module), (following, after) in pairwise(parent.named_children())
        if isinstance(module, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    }
