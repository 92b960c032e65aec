"""Checkpoints into networks: files of weights, by edgepose or by others, read safely and loaded completely or not at all.

Files are outside input. Pickles (.pth, .pt, .tar) are read with torch's `weights_only`, which builds tensors and plain
containers and refuses everything else; .safetensors and .npz hold nothing but arrays. Names that other projects gave to
the same tensors are translated here; what then fails to fit the network is listed and refused.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepose.errors import MissingExtraError, ModelError
from edgepose.networks.higher_hrnet import HigherHRNet
from edgepose.networks.hrnet import HRNet
from edgepose.networks.lightweight_openpose import LightweightOpenPose

_log = logging.getLogger(__name__)

MAX_BYTES = 4 << 30  # unpacked; a training checkpoint of HRNet-W48, optimiser included, has 0.8 GB
MAX_LISTED = 4  # names per kind in an error

# Training leftovers that mmengine and mmcv pickle beside the weights: the history of the losses, which refers to its own
# methods by `getattr`, and arrays of the data set's description. Each is read as a `_Discarded`, so that nothing of
# theirs is imported or called.
_DISCARDED = (
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
)


# mmpose's prefixes, and what stands in their place here: the head is `keypoint_head` in 0.x and `head` in 1.x.
_FROM_MMPOSE = {"backbone.": "", "keypoint_head.": "", "head.": ""}


class _Discarded:
    """Takes the place of an object in a pickle: accepts whatever it is built from, and keeps none of it."""

    def __new__(cls, *_: object) -> _Discarded:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def load_lightweight_openpose(network: LightweightOpenPose, path: str | Path, *, drop_extra_stages: bool = False) -> None:
    """Load a checkpoint of Lightweight OpenPose: the public training checkpoints or edgepose's own.

    Args:
        network: Gets the weights; stays as it is if they are refused.
        path: The file, of a kind that `read_state_dict` reads.
        drop_extra_stages: Leave out refinement stages that the network does not have, and log them. The stages before
            them are usable on their own, since every stage was trained to give maps.

    Raises:
        ModelError: The file cannot be read, or does not fit the network.
    """
    tensors = read_state_dict(path)
    theirs = {int(match[1]) for name in tensors if (match := re.match(r"refinement_stages\.(\d{1,3})\.", name))}
    ours = len(network.refinement_stages)
    extra = {stage for stage in theirs if stage >= ours}
    hint = ""
    if extra and drop_extra_stages:
        prefixes = tuple(f"refinement_stages.{stage}." for stage in extra)
        tensors = _drop(tensors, prefixes, path)
    elif len(theirs) != ours:
        hint = f"the file has {len(theirs)} refinement stages, the network {ours}"
        hint += "; pass drop_extra_stages=True to leave the others out" if extra else ""

    align = tensors.get("cpm.align.0.weight")
    if align is not None and align.ndim == 4 and align.shape[1] != network.cpm.align[0].in_channels:
        hint = f"the file is of width {align.shape[1] / 512:g}; build LightweightOpenPose(width={align.shape[1] / 512:g})"
    load_tensors(network, tensors, source=path, hint=hint)


def load_hrnet(network: HRNet, path: str | Path) -> None:
    """Load a checkpoint of HRNet, by the names of the official code, of mmpose 0.x, of mmpose 1.x or of edgepose.

    Args:
        network: Gets the weights; stays as it is if they are refused.
        path: The file, of a kind that `read_state_dict` reads.

    Raises:
        ModelError: The file cannot be read, or does not fit the network.
    """
    _load_on_trunk(network, path, "HRNet", "final_layer.weight", network.final_layer.in_channels)


def count_heatmaps(tensors: Mapping[str, Tensor]) -> int:
    """How many heatmaps an HRNet gives, by its tensors of any of these names: 17 of COCO's, 16 of MPII's; 0 if it is none."""
    final = [tensor for name, tensor in tensors.items() if name.endswith("final_layer.weight") and tensor.ndim == 4]
    return final[0].shape[0] if len(final) == 1 else 0


def load_higher_hrnet(network: HigherHRNet, path: str | Path) -> None:
    """Load a checkpoint of HigherHRNet as `load_hrnet` loads one of HRNet, and with the same errors."""
    final = "final_layers.0.weight"
    _load_on_trunk(network, path, "HigherHRNet", final, network.state_dict()[final].shape[1])


def _load_on_trunk(network: nn.Module, path: str | Path, kind: str, final: str, width: int) -> None:
    """Load a network on HRNet's trunk, whose tensor `final` has as many inputs as the trunk is wide: `width`."""
    tensors = read_state_dict(path)
    if any(name.startswith("backbone.") for name in tensors):
        # The mean and deviation of mmpose 1.x: they normalise images, which here is no part of the network.
        tensors = _drop(tensors, ("data_preprocessor.",), path)
        tensors = _rename(tensors, _FROM_MMPOSE, path)
    hint = ""
    given = tensors.get(final)
    if given is not None and given.ndim == 4 and given.shape[1] != width:
        hint = f"the file is of {kind}-W{given.shape[1]}, the network is {kind}-W{width}"
    load_tensors(network, tensors, source=path, hint=hint)


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str | Path, hint: str = "") -> None:
    """Load `tensors` by the network's own names: all of them or none.

    Only the counters `num_batches_tracked` of batch norm may be absent, as in files older than these counters or made
    by tools without them: they play no part in inference and keep the network's values.

    Args:
        network: Gets the weights, cast to its own types; stays as it is if they are refused.
        tensors: The weights by name.
        source: Where they come from, for errors and the log.
        hint: The likely reason of a misfit, for the error.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape; the message lists them.
    """
    own: dict[str, Tensor] = network.state_dict()
    counters = [name for name in own if name not in tensors and name.endswith(".num_batches_tracked")]
    missing = [f"{name} {_shape(own[name])}" for name in own if name not in tensors and name not in counters]
    unexpected = [f"{name} {_shape(tensor)}" for name, tensor in tensors.items() if name not in own]
    misshapen = [
        f"{name} {_shape(tensors[name])}, expected {_shape(own[name])}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    problems = [_listing(kind, names) for kind, names in kinds.items()]
    if any(problems):
        if not tensors.keys() & own.keys():
            hint = "it looks like a checkpoint of another network"
        message = f"{source} does not fit {type(network).__name__}: {'; '.join(filter(None, problems))}"
        raise ModelError(f"{message}; {hint}" if hint else message)
    network.load_state_dict({**own, **tensors})
    if counters:
        _log.info("%s has no batch counters (num_batches_tracked); those of the network stay as they are", source)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Reads `.pth`, `.pt` and `.tar` (what `torch.save` writes: a state dict, or a dict that has one under the key
    `state_dict`, whose other entries are ignored), `.safetensors` and `.npz`. The prefix `module.` of models that were
    trained in parallel is dropped.

    Raises:
        ModelError: No such file, another kind of file, a damaged file, a pickle that refers to code, or one that
            holds something else than tensors.
        MissingExtraError: The file is a `.safetensors`, and the package of that name is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise ModelError(f"{path} is no checkpoint by its name, expected one of: {', '.join(_READERS)}")
    if not path.is_file():
        raise ModelError(f"{path} is {'a folder' if path.is_dir() else 'not there'}, expected a checkpoint file")
    try:
        _check_size(path)
        content = _READERS[path.suffix.lower()](path)
    except (ModelError, MissingExtraError):
        raise
    except Exception as error:  # a damaged file can fail in any way, and nothing here but the file can be at fault
        raise ModelError(_refusal(path, error)) from error

    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}, expected a state dict: tensors by name")
    others = [f"{name} ({type(value).__name__})" for name, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        found = _listing("entries that are no tensors", others) or "nothing"
        raise ModelError(f"{path} holds {found}, expected a state dict, on its own or under the key 'state_dict'")
    tensors = {str(name): tensor for name, tensor in content.items()}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _read_pickle(path: Path) -> Any:
    with torch.serialization.safe_globals([(_Discarded, name) for name in _DISCARDED]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError("safetensors", "convert") from error
    return load_file(path)


def _read_npz(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


_READERS = {
    ".pth": _read_pickle,
    ".pt": _read_pickle,
    ".tar": _read_pickle,
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > MAX_BYTES:
        raise ModelError(f"{path} unpacks to {size / 2**30:.1f} GiB, expected at most {MAX_BYTES / 2**30:g} GiB")


def _refusal(path: Path, error: Exception) -> str:
    """One line for a file that cannot be read."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    if code := re.search(r"\bGLOBAL (\S+)|unrecognized function (.+)", text):
        return (
            f"{path} refers to code ({code[1] or code[2]}), which a pickle could run, and is not read; "
            "expected tensors alone: save network.state_dict(), or a .safetensors file"
        )
    reason = (text.strip().splitlines() or [""])[0][:200] or type(error).__name__
    return f"{path} is no checkpoint, or truncated or damaged ({reason}); fetch or save it again"


def _drop(tensors: dict[str, Tensor], prefixes: tuple[str, ...], path: str | Path) -> dict[str, Tensor]:
    """The tensors whose names have none of these prefixes; logs the others."""
    dropped = [name for name in tensors if name.startswith(prefixes)]
    if dropped:
        _log.info("%s: left out %d tensors: %s", path, len(dropped), ", ".join(dropped))
    return {name: tensor for name, tensor in tensors.items() if name not in dropped}


def _rename(tensors: dict[str, Tensor], prefixes: Mapping[str, str], path: str | Path) -> dict[str, Tensor]:
    """The tensors by names in which each prefix is replaced by its counterpart."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        new = prefixes.get(old, "") + name.removeprefix(old)
        if new in renamed:
            raise ModelError(f"{path} has two tensors for {new}, expected one; {name} is the second")
        renamed[new] = tensor
    return renamed


def _listing(kind: str, entries: list[str]) -> str:
    """`3 missing (a, b, c)`, cut after the first few; empty for none."""
    if not entries:
        return ""
    more = f", and {len(entries) - MAX_LISTED} more" if len(entries) > MAX_LISTED else ""
    return f"{len(entries)} {kind} ({', '.join(entries[:MAX_LISTED])}{more})"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
