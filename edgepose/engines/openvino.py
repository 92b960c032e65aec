"""The engine on OpenVINO: reads .xml, .onnx, .tflite and .pb, folds the pre-processing in, and compiles for each input shape.

The compiled network takes (B, H, W, 3) uint8 BGR. Colour order, mean, scale and layout are part of it, so no float picture is
ever made in Python.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from openvino.preprocess import ColorFormat, PrePostProcessor

from edgepose.arrays import Float, Image
from edgepose.engines import padded
from edgepose.engines.openvino_core import compile_alone, core
from edgepose.errors import DeviceError, InputError, ModelError
from edgepose.once import Once
from edgepose.zoo.decoders import DECODERS
from edgepose.zoo.registry import Model, from_yaml

_log = logging.getLogger(__name__)

Hint = Literal["latency", "throughput"]
Precision = Literal["f32", "f16", "bf16"]
SUFFIXES = (".xml", ".onnx", ".pb", ".tflite")
RT_INFO_KEY = "edgepose"

# Compiled shapes kept; the least recently used goes. A folder of photos has four or five of the aspect buckets.
MAX_COMPILED_SHAPES = 8

Shape = tuple[int, int, int]  # B, H, W


def available_devices() -> list[str]:
    """Names of the devices that OpenVINO can use here, such as CPU and GPU."""
    return list(core().available_devices)


def read_network(path: Path) -> ov.Model:
    """Read a model file.

    Raises:
        ModelError: The file is missing, of another kind, or broken.
    """
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path} is no model file that can be read; expected one of {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):  # Of names too long, Path.is_file raises an error.
        raise ModelError(f"there is no model file {path}")
    if path.suffix == ".xml" and not os.path.isfile(path.with_suffix(".bin")):
        raise ModelError(f"{path} lacks its weights; expected {path.with_suffix('.bin').name} beside it")
    try:
        return core().read_model(path)
    except Exception as error:  # OpenVINO raises RuntimeError and others, in many lines
        raise ModelError(f"{path} cannot be read as a model; is it whole? OpenVINO says: {_gist(error)}") from error


def described(network: ov.Model, path: Path) -> Model | None:
    """The description that a model made by edgepose's converters carries; None if it has none."""
    if not network.has_rt_info(RT_INFO_KEY):
        return None
    return from_yaml(path.stem, str(network.get_rt_info(RT_INFO_KEY).value), str(path))


class _Request:
    """One run of a compiled network at a time, and the memory that it reads and writes.

    The arrays are looked up once: asking OpenVINO for them at every run takes longer than all the rest that Python does.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._is_waited_for = True  # nothing was started since the last wait
        self._input: Image = self._request.get_input_tensor().data
        # A shape that is known before the run keeps its memory from run to run.
        self._fixed = all(output.partial_shape.is_static for output in compiled.outputs)
        self._outputs = self._look_up() if self._fixed else []

    def start(self, batch: Image) -> None:
        """Start on a copy of `batch`, after the end of the run before if that was not waited for."""
        if not self._is_waited_for:
            with suppress(RuntimeError):  # an error of that run, whose result nobody asked for
                self._request.wait()
        np.copyto(self._input, batch)
        self._is_waited_for = False
        self._request.start_async()

    def wait(self, count: int) -> list[Float]:
        """Copies of the outputs, of the first `count` pictures, when they are there."""
        self._request.wait()
        self._is_waited_for = True
        outputs = self._outputs if self._fixed else self._look_up()
        return [np.array(output[:count], np.float32) for output in outputs]

    def _look_up(self) -> list[Float]:
        return [tensor.data for tensor in self._request.output_tensors]


class Pending:
    """A network run; `result` waits for it. Threads may share one.

    The request is this run's alone. It goes back to the idle ones once: as soon as the outputs are copied or the run has
    failed, or else with this object.

    Args:
        request: The request that runs it.
        free: The idle requests.
        count: The number of its pictures that were asked for.
        name: The model's, for errors.
    """

    _request: _Request | None = None  # None as soon as it is given back

    def __init__(self, request: _Request, free: list[_Request], count: int, name: str) -> None:
        self._lock = threading.Lock()
        self._free = free
        self._count = count
        self._name = name
        self._outputs: list[Float] | None = None
        self._error: Exception | None = None
        self._request = request

    def result(self) -> list[Float]:
        """The outputs, each (B, C, h, w) float32, in the order of the model.

        Called again, it gives the same ones, or raises the same error.

        Raises:
            ModelError: The run failed.
        """
        if self._request is not None:
            with self._lock:
                self._settle()
        if self._outputs is None:
            assert self._error is not None
            raise self._error.with_traceback(None)
        return self._outputs

    def _settle(self) -> None:
        if self._request is None:  # Another thread was first.
            return
        # A caller who is interrupted (Ctrl-C) in here leaves all as it was, and the next one waits again.
        if self._outputs is None and self._error is None:
            try:
                self._outputs = self._request.wait(self._count)
            except (RuntimeError, MemoryError) as error:
                self._error = _failure(self._name, error)
                self._error.__cause__ = error
            except Exception as error:
                self._error = error
        self._give_back()

    def _give_back(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            self._free.append(request)

    def __del__(self) -> None:
        self._give_back()


class OpenVINOEngine:
    """A network on a device, compiled once for each input shape. Threads may share one.

    Args:
        network: From `read_network`.
        model: Its description: layout, colour order, mean and scale of the input.
        device: An OpenVINO device name, such as "CPU" or "GPU".
        threads: Processor threads at most; None leaves it to OpenVINO (all physical cores).
        streams: Networks run at the same time at most; None leaves it to the hint.
        hint: What to tune for: one picture's "latency", or the "throughput" of many.
        precision: Of the arithmetic; None leaves it to the device (CPUs with bf16 units use them).

    Raises:
        DeviceError: The device is not there.
        ModelError: The network is not one picture in, maps out.
    """

    def __init__(
        self,
        network: ov.Model,
        model: Model,
        *,
        device: str = "CPU",
        threads: int | None = None,
        streams: int | None = None,
        hint: Hint = "latency",
        precision: Precision | None = None,
    ) -> None:
        self._network = _with_preprocessing(network, model)
        self.device = _checked_device(device)
        self.output_channels = _output_channels(self._network, model)
        self._name = model.name
        self._properties: dict[str, Any] = {"PERFORMANCE_HINT": hint.upper()}
        for name, value in (("INFERENCE_NUM_THREADS", threads), ("NUM_STREAMS", streams)):
            if value is not None:
                if value < 1:
                    raise InputError(f"{name.split('_')[-1].lower()} is {value}; expected 1 or more")
                self._properties[name] = value
        if precision is not None:
            self._properties["INFERENCE_PRECISION_HINT"] = precision
        self._requests = 1
        self._lock = threading.Lock()
        # Each shape's compiled network with its idle requests (list.pop and list.append are atomic).
        self._compiled: OrderedDict[Shape, tuple[ov.CompiledModel, list[_Request]]] = OrderedDict()
        self._compiling: dict[Shape, Once[ov.CompiledModel]] = {}

    def submit(self, batch: Image) -> Pending:
        """Start the network on `batch` (B, H, W, 3) uint8 BGR, which may be changed as soon as this returns.

        Raises:
            ModelError: The network cannot be made to take this size, or does not start.
        """
        count = len(batch)
        batch = padded(batch)
        compiled, free = self._for_shape(batch.shape[:3])
        try:
            try:
                request = free.pop()
            except IndexError:
                request = _Request(compiled)
            pending = Pending(request, free, count, self._name)
            request.start(batch)
        except RuntimeError as error:
            raise _failure(self._name, error) from error
        return pending

    def infer(self, batch: Image) -> list[Float]:
        """Run the network on `batch` (B, H, W, 3) uint8 BGR; each output is (B, C, h, w) float32."""
        return self.submit(batch).result()

    @property
    def requests(self) -> int:
        """The number of runs at a time that keeps the device busy, by the shapes compiled so far; 1 before that."""
        return self._requests

    def compiled(self, shape: Shape) -> ov.CompiledModel:
        """The network compiled for inputs of (B, H, W), to measure it bare."""
        return self._for_shape(shape)[0]

    def _for_shape(self, shape: Shape) -> tuple[ov.CompiledModel, list[_Request]]:
        with self._lock:
            if shape in self._compiled:
                self._compiled.move_to_end(shape)
                return self._compiled[shape]
            compiling = self._compiling.setdefault(shape, Once(lambda: self._compile(shape)))
        try:
            # Outside the lock: while one thread compiles for a shape, others run what is compiled for other shapes.
            compiled = compiling()
        finally:
            with self._lock:
                self._compiling.pop(shape, None)
        with self._lock:
            if shape not in self._compiled:
                while len(self._compiled) >= MAX_COMPILED_SHAPES:
                    self._compiled.popitem(last=False)
                self._compiled[shape] = compiled, []
            return self._compiled[shape]

    def _compile(self, shape: Shape) -> ov.CompiledModel:
        batch, height, width = shape
        try:
            network = self._network.clone()
            network.reshape([batch, height, width, 3])
            compiled = _compiled(network, self.device, self._properties)
        except Exception as error:
            raise ModelError(
                f"{self._name} cannot run on {batch} x {height} x {width} pixels on {self.device}; "
                f"try its own size or another device; OpenVINO says: {_gist(error)}"
            ) from error
        self._requests = max(self._requests, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        return compiled


def _compiled(network: ov.Model, device: str, properties: dict[str, Any]) -> ov.CompiledModel:
    try:
        return compile_alone(network, device, properties)
    except Exception:
        if device != "CPU" or all(op.get_type_name() != "FakeQuantize" for op in network.get_ops()):
            raise
        # OpenVINO 2026.4 cannot compile quantised networks for ARM cores without dot products of INT8, such as those of a
        # Raspberry Pi 4 (tests/arm.py: "object is not initialized"). Told to leave the quantisation as it is, it computes the
        # same in floats.
        compiled = compile_alone(network, device, {**properties, "LP_TRANSFORMS_MODE": "NO"})
        _log.info("this processor has no INT8 kernels for the network: its quantised layers run in floats")
        return compiled


def _with_preprocessing(network: ov.Model, model: Model) -> ov.Model:
    """The network with a (B, H, W, 3) uint8 BGR input, and outputs that are (B, C, h, w) if they are maps."""
    if len(network.inputs) != 1 or len(network.input().partial_shape) != 4:
        shapes = ", ".join(str(i.partial_shape) for i in network.inputs)
        raise ModelError(f"{model.name} has the inputs {shapes}; expected one, {model.layout} with three channels")
    channels = network.input().partial_shape[model.layout.index("C")]
    if channels.is_static and channels.get_length() != 3:
        raise ModelError(f"{model.name} takes {network.input().partial_shape}; expected {model.layout} with three channels")
    steps = PrePostProcessor(network)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.BGR)
    steps.input().model().set_layout(ov.Layout(model.layout))
    convert = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if model.colour == "RGB":
        convert.convert_color(ColorFormat.RGB)
    convert.mean(list(model.mean)).scale(list(model.scale))
    for i, output in enumerate(network.outputs):
        steps.output(i).tensor().set_element_type(ov.Type.f32)
        if model.layout == "NHWC" and DECODERS[model.decoder].maps and len(output.partial_shape) == 4:
            steps.output(i).model().set_layout(ov.Layout("NHWC"))
            steps.output(i).tensor().set_layout(ov.Layout("NCHW"))
    try:
        return steps.build()
    except Exception as error:
        raise ModelError(f"{model.name} does not fit its description: {_gist(error)}") from error


def _output_channels(network: ov.Model, model: Model) -> tuple[int, ...]:
    """Channels of each output, by which decoders tell them apart; 0 where the network leaves it open."""
    channels = []
    for output in network.outputs:
        shape = output.partial_shape
        is_map = shape.rank.is_static and len(shape) == 4
        if DECODERS[model.decoder].maps and not is_map:
            raise ModelError(f"{model.name} has an output of shape {shape}; expected maps of shape (B, C, h, w)")
        if shape.rank.is_dynamic or len(shape) < 2:
            channels.append(0)
            continue
        channels.append(shape[1].get_length() if shape[1].is_static else 0)
    return tuple(channels)


def _checked_device(device: str) -> str:
    # To list the devices is to load the plugins of all kinds of them, of GPUs and NPUs, too: 10 MB and more, and 50 ms.
    if device == "CPU":
        with suppress(RuntimeError):
            core().get_property(device, "FULL_DEVICE_NAME")
            return device
    present = available_devices()
    # "GPU.1" is one of several; "AUTO:GPU,CPU" and the like choose among the devices by themselves.
    kinds = {p.split(".")[0] for p in present} | {"AUTO", "MULTI", "HETERO"}
    if device not in present and device.split(":")[0] not in kinds:
        raise DeviceError(f"there is no device {device!r}; OpenVINO finds here: {', '.join(present) or 'none'}")
    return device


def _failure(name: str, error: Exception) -> ModelError:
    return ModelError(f"{name} failed as it ran; try again, a smaller input, or another device; OpenVINO says: {_gist(error)}")


def _gist(error: Exception) -> str:
    """The line of OpenVINO's report that says what is wrong: the last that is no location in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '")) and ".cpp:" not in line]
    return (telling or lines or [type(error).__name__])[-1]
