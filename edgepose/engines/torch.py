"""The engine on PyTorch, for CUDA and for machines without OpenVINO: runs checkpoints as they are, unconverted.

Pixels travel as uint8; colour order, mean and scale are applied on the device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgepose.arrays import Float, Image
from edgepose.engines import padded
from edgepose.errors import DeviceError, InputError, ModelError
from edgepose.networks.checkpoints import count_heatmaps, load_higher_hrnet, load_hrnet, read_state_dict
from edgepose.networks.higher_hrnet import FinalMaps, HigherHRNet
from edgepose.networks.hrnet import VARIANTS, HRNet
from edgepose.once import Once
from edgepose.zoo.registry import Model

SUFFIXES = (".pth", ".pt", ".tar", ".safetensors", ".npz")

Precision = Literal["f32", "f16", "bf16"]
_AUTOCAST = {"f32": None, "f16": torch.float16, "bf16": torch.bfloat16}


def available_devices() -> list[str]:
    """Names of the devices that PyTorch can use here, such as cpu and cuda:0."""
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def read_network(path: Path) -> nn.Module:
    """The HRNet or HigherHRNet that a checkpoint holds: the file's own tensors tell which variant it is.

    Raises:
        ModelError: The file cannot be read, or holds another network.
    """
    tensors = read_state_dict(path)
    finer = any(name.endswith("final_layers.0.weight") for name in tensors)
    final = "final_layers.0.weight" if finer else "final_layer.weight"
    widths = [tensor.shape[1] for name, tensor in tensors.items() if name.endswith(final) and tensor.ndim == 4]
    layers = sum(name.endswith("conv1.weight") for name in tensors)
    for config in VARIANTS.values():
        with torch.device("meta"):
            own = (HigherHRNet(config) if finer else HRNet(config)).state_dict()
        if widths != [config.channels[0]] or layers != sum(key.endswith("conv1.weight") for key in own):
            continue
        if finer:
            higher = HigherHRNet(config)
            load_higher_hrnet(higher, path)
            return FinalMaps(higher)
        network = HRNet(replace(config, keypoints=count_heatmaps(tensors)))
        load_hrnet(network, path)
        return network
    raise ModelError(f"{path} holds no network that runs on PyTorch here; expected HRNet or HigherHRNet: {', '.join(VARIANTS)}")


class PendingTensors:
    """A network run that was started; on CUDA it may still be under way, and `result` waits for it. Threads may share one.

    Args:
        outputs: Of the network, on its device.
        name: Of the model, for errors.
    """

    def __init__(self, outputs: list[Tensor], name: str) -> None:
        self._arrays = Once(partial(_to_host, outputs, name))

    def result(self) -> list[Float]:
        """The outputs, each (B, C, h, w) float32. Called again, it gives the same ones, or raises the same error.

        Raises:
            ModelError: The run failed.
        """
        return self._arrays()


def _to_host(outputs: list[Tensor], name: str) -> list[Float]:
    try:
        return [output.float().cpu().numpy() for output in outputs]
    except RuntimeError as error:  # a run that failed on CUDA shows it here
        raise _failure(name, outputs[0].device, error) from error


def _failure(name: str, device: torch.device, error: RuntimeError) -> ModelError:
    gist = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(f"{name} cannot run on {device}: {gist}")


class TorchEngine:
    """A network on a device. Threads may share one.

    Batches are padded to powers of two, so that PyTorch tunes and compiles for a few sizes and not for every number of people.

    Args:
        network: From images (B, 3, H, W), in the model's colour order and normalised, to one tensor of maps or several.
        model: Its description: colour order, mean and scale of the input.
        device: "cpu", "cuda" or "cuda:1".
        precision: "bf16" and "f16" compute in half the bits where PyTorch thinks it safe (autocast); None: "f32".
        compile: Compile the network (`torch.compile`): faster, but the first run of each batch size takes minutes.

    Raises:
        DeviceError: The device is not there.
        InputError: There is no such precision.
        ModelError: The network does not take the model's input.
    """

    def __init__(
        self,
        network: nn.Module,
        model: Model,
        *,
        device: str = "cuda",
        precision: Precision | None = None,
        compile: bool = False,
    ) -> None:
        self.device = checked_device(device)
        if precision is not None and precision not in _AUTOCAST:
            raise InputError(f"precision is {precision!r}; expected one of {', '.join(_AUTOCAST)}")
        self._type = _AUTOCAST[precision or "f32"]
        # Convolutions are fastest on CUDA, and in bf16 on CPUs, with the channels last: as pictures come anyway.
        network = network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network: Any = torch.compile(network, dynamic=False) if compile else network
        self._mirror_colour = model.colour == "RGB"
        self._mean, self._scale = (
            torch.tensor(values, dtype=torch.float32, device=self.device).view(3, 1, 1) for values in (model.mean, model.scale)
        )
        self._name = model.name
        maps = self.submit(np.zeros((1, *model.size, 3), np.uint8)).result()
        self.output_channels = tuple(output.shape[1] for output in maps)

    requests = 1  # CUDA queues by itself, and the CPU runs one at a time.

    @torch.inference_mode()
    def submit(self, batch: Image) -> PendingTensors:
        """Start the network on `batch` (B, H, W, 3) uint8 BGR, which may be changed as soon as this returns.

        Raises:
            ModelError: The network does not run: it does not take this size, or the device's memory is full.
        """
        count = len(batch)
        try:
            outputs = self._run(batch)
        except RuntimeError as error:
            raise _failure(self._name, self.device, error) from error
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        return PendingTensors([output[:count] for output in outputs], self._name)

    def _run(self, batch: Image) -> Any:
        # A copy in any case: on the CPU the tensor would share the caller's memory.
        x = torch.tensor(padded(batch), device=self.device).permute(0, 3, 1, 2).float()
        if self._mirror_colour:
            x = x.flip(1)
        x = ((x - self._mean) / self._scale).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            return self._network(x)

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._type is None else torch.autocast(self.device.type, self._type)


def checked_device(name: str) -> torch.device:
    """The device called `name`.

    Raises:
        DeviceError: It is not there.
    """
    present = available_devices()
    if name.lower() not in (*present, "cuda" if len(present) > 1 else "cpu"):
        hint = "" if torch.cuda.is_available() else "; CUDA needs an NVIDIA GPU, its driver, and a PyTorch built for CUDA"
        raise DeviceError(f"there is no device {name!r}; PyTorch finds here: {', '.join(present)}{hint}")
    return torch.device(name.lower())
