"""Batch norms that stay as they are: their arithmetic goes into the convolutions before them, which are trained on.

For weights that are trained already, on a processor: a crop takes two thirds of the time. They are saved by the names of the
network with batch norms, which then do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    for parent, name, following in list(_normalised(network)):
        convolution, norm = parent.get_submodule(name), parent.get_submodule(following)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        # A bias that was not there before would not learn.
        setattr(parent, name, fuse_conv_bn_eval(convolution.eval(), norm.eval()).requires_grad_())
        setattr(parent, following, nn.Identity())
    for block in list(network.model)[:FIXED_BLOCKS]:
        block.requires_grad_(False)


def unfolded(weights: Mapping[str, Tensor], network: LightweightOpenPose) -> dict[str, Tensor]:
    """The folded `weights` by the names of `network`, which has batch norms: those do nothing but add."""
    plain = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    norms = dict(_paths(network))
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


def _normalised(network: nn.Module) -> Iterator[tuple[nn.Sequential, str, str]]:
    """Every convolution with a batch norm behind it: where the two are, and their names there."""
    for parent in network.modules():
        if isinstance(parent, nn.Sequential):
            for (name, module), (following, after) in pairwise(parent.named_children()):
                if isinstance(module, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                    yield parent, name, following


def _paths(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Every such convolution and its batch norm, by their paths from the network."""
    names = {id(module): name for name, module in network.named_modules()}
    for parent, name, following in _normalised(network):
        yield f"{names[id(parent)]}.{name}", f"{names[id(parent)]}.{following}"
