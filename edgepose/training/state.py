"""The state of a run, from which it goes on exactly where it was: saved atomically, loaded safely."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepose.errors import ModelError, OutputError

CHECKPOINT = "checkpoint.pt"
_FORMAT = 1


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        step: Batches trained on.
        seconds: Time spent on training, over all resumptions.
        best_ap: The best held-out AP so far; -1 before the first.
        best_step: Where it was measured.
    """

    step: int = 0
    seconds: float = 0.0
    best_ap: float = -1.0
    best_step: int = 0


class Averaged:
    """An exponential moving average (EMA) of a network's weights; early on it forgets faster than `decay`.

    Args:
        network: The network that it follows.
        decay: Share of the old average that stays at every update, in the long run.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's weights, after step `step` (from 1)."""
        share = 1 - min(self._decay, step / (step + 9))
        state = network.state_dict()
        for name, tensor in self.weights.items():
            if tensor.is_floating_point():
                tensor.lerp_(state[name], share)
            else:
                tensor.copy_(state[name])


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    averaged: Averaged,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    recipe: dict[str, Any],
) -> None:
    """Write the checkpoint of a run into its folder; a run killed meanwhile still has the one before.

    Raises:
        OutputError: It cannot be written.
    """
    content = {
        "format": _FORMAT,
        "network": network.state_dict(),
        "averaged": averaged.weights,
        "optimiser": optimiser.state_dict(),
        "progress": vars(progress),
        "recipe": recipe,
    }
    replace_file(folder / CHECKPOINT, lambda path: torch.save(content, path))


def load_checkpoint(
    folder: Path,
    network: nn.Module,
    averaged: Averaged,
    optimiser: torch.optim.Optimizer,
    recipe: dict[str, Any],
    fixed: tuple[str, ...],
) -> Progress:
    """Bring a run back to its last checkpoint.

    Args:
        folder: The run's folder.
        network, averaged, optimiser: Get the saved state.
        recipe: The recipe now.
        fixed: The fields of it that must be as they were.

    Raises:
        ModelError: There is no checkpoint, it is damaged, or its recipe is another.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise ModelError(f"{path} is not there, so there is nothing to resume; start without --resume")
    content = _read(path)
    for name in fixed:
        was, now = content["recipe"].get(name, False), recipe[name]  # False: of a run before there was such a choice
        if was != now:
            raise ModelError(f"{path} is of a run with {name} {was}, this one has {now}; resume with the same")
    network.load_state_dict(content["network"])
    for name, tensor in averaged.weights.items():
        tensor.copy_(content["averaged"][name])
    optimiser.load_state_dict(content["optimiser"])
    return Progress(**content["progress"])


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint's parts, if it is whole and of this format."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        reason = "" if content["format"] == _FORMAT else f"format {content['format']}, expected {_FORMAT}"
    except Exception as error:  # a damaged file can fail in any way
        raise ModelError(
            f"{path} is no training checkpoint, or damaged ({_first_line(error)}); start anew elsewhere"
        ) from error
    if reason:
        raise ModelError(f"{path} is of another version ({reason}); start anew in another folder")
    return dict(content)


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as a .safetensors file by the names of the state dict, atomically.

    Raises:
        OutputError: It cannot be written.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    replace_file(path, lambda partial: partial.write_bytes(save(plain)))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then move it into place.

    Raises:
        OutputError: It cannot be written, as on a full disk.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's and safetensors' writers raise RuntimeErrors of their own
        partial.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written ({_first_line(error)}); free some space or choose another --output, then --resume"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
