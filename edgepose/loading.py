"""A model by name or path, opened: its network on an engine, and its description.

This is the only place that knows where models lie, which engine runs which file, and how to open a detector.
"""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

from edgepose.arguments import choice, name_or_path, text, whole
from edgepose.decoding import decoder_class
from edgepose.engines import Engine, Opened
from edgepose.errors import DeviceError, InputError, MissingExtraError, ModelError
from edgepose.pipelines import Options, make_pipeline
from edgepose.pipelines.detection import Detector, boxes_around
from edgepose.zoo.download import fetch
from edgepose.zoo.registry import Model, describe_file, get, undescribed

if TYPE_CHECKING:
    from edgepose.engines.openvino import Hint, Precision

Backend = Literal["openvino", "torch"]

# Crops in a batch on GPUs, which need many at a time; chosen by benchmarks/top_down.py.
TORCH_BATCH_SIZE = 32


def open_model(
    model: str | Path,
    *,
    device: str = "CPU",
    backend: Backend | None = None,
    threads: int | None = None,
    streams: int | None = None,
    hint: Hint = "latency",
    precision: Precision | None = None,
) -> Opened:
    """Open a model for inference; the arguments are those of `PoseEstimator`.

    Raises:
        InputError: An argument is out of range, or the backend does not take it.
        MissingExtraError: The backend is "torch", and PyTorch is not installed.
        UnknownModelError: No model has this name.
        DownloadError: Its files are not here and cannot be fetched.
        ModelError: The file cannot be read, or nothing describes it.
        DeviceError: The device is not there.
    """
    model = name_or_path("model", model, "the name of a model, such as 'default', or the path of a model file")
    device = text("device", device, "a device such as 'CPU', 'GPU' or 'cuda'")
    threads, streams = whole("threads", threads), whole("streams", streams)
    choice("backend", backend, get_args(Backend))
    choice("hint", hint, ("latency", "throughput"), none=False)
    choice("precision", precision, ("f32", "f16", "bf16"))
    backend = backend or ("torch" if device.lower().startswith("cuda") else "openvino")
    if backend == "torch":
        if threads is not None or streams is not None:
            raise InputError(
                "threads and streams are OpenVINO's; set OMP_NUM_THREADS for PyTorch, or leave backend and device out"
            )
        return _open_on_torch(model, device, precision)
    path, description = locate(model)
    openvino = _openvino()
    network = openvino.read_network(path)
    options = {"threads": threads, "streams": streams, "hint": hint, "precision": precision}
    return Opened(openvino.OpenVINOEngine(network, description, device=device, **options), description)


def open_detector(name: str | Path, threads: int | None = None) -> Detector:
    """A detector by name or file; for a bottom-up model, boxes around its people. It runs on the CPU.

    Raises:
        ModelError: It is a top-down model. Otherwise as `open_model`.
    """
    path, description = locate(name)
    if description.task == "top-down":
        raise ModelError(f"{description.name} is a {description.task} model; expected a detector, or a bottom-up model")
    openvino = _openvino()
    engine: Engine = openvino.OpenVINOEngine(openvino.read_network(path), description, threads=threads)
    if description.task == "detector":
        detector: Detector = decoder_class(description.decoder)(engine, description)
        return detector
    people = make_pipeline(Opened(engine, description), Options(min_confidence=0.0), open_detector)
    return lambda image: boxes_around(people.start(image).result())


def locate(model: str | Path) -> tuple[Path, Model]:
    """The file to open for `model`, a path or a name of the zoo (fetched if need be), and its description.

    Raises:
        UnknownModelError: No model has this name.
        DownloadError: Its files are not here and cannot be fetched.
        ModelError: It is a file that nothing describes, or it needs conversion first.
    """
    path = _local_path(model)
    openvino = _openvino()
    if path.suffix in openvino.SUFFIXES:
        _check_file(path)
        description = openvino.described(openvino.read_network(path), path) if path.suffix == ".xml" else None
        description = description or describe_file(path)
        if description is None:
            raise undescribed(path)
        return path, description
    entry = get(str(model))
    if entry.conversion is not None:
        raise ModelError(f"{entry.name} is a checkpoint that needs conversion; see: edgepose models info {entry.name}")
    return fetch(entry), entry


def _openvino() -> ModuleType:
    """The engine on OpenVINO, imported where it is needed: PyTorch also serves machines that OpenVINO has no build for."""
    try:
        from edgepose.engines import openvino
    except ImportError as error:
        raise DeviceError(
            f"OpenVINO cannot be imported ({error}); install it with: python -m pip install openvino, or use backend='torch' "
            "with a checkpoint of a top-down model"
        ) from error
    return openvino


def _local_path(model: str | Path) -> Path:
    try:
        return Path(model).expanduser()
    except RuntimeError:  # The "~" is nobody's home.
        return Path(model)


def _check_file(path: Path) -> None:
    if os.path.isfile(path):  # Of names too long, Path.is_file raises an error.
        return
    near = ""
    with suppress(OSError):
        near = next(iter(difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)), "")
    raise ModelError(f"there is no model file {path}{f'; did you mean {path.with_name(near)}?' if near else ''}")


def _open_on_torch(model: str | Path, device: str, precision: Precision | None) -> Opened:
    """A checkpoint of HRNet or HigherHRNet on PyTorch."""
    try:
        from edgepose.engines import torch as backend
    except ImportError as error:
        raise MissingExtraError("PyTorch", "torch") from error
    path = _local_path(model)
    if path.suffix in backend.SUFFIXES:
        _check_file(path)
        description = describe_file(path)
        if description is None:
            raise undescribed(path)
    else:
        description = get(str(model))
        if (suffix := Path(description.files[0].name).suffix) not in backend.SUFFIXES:
            raise ModelError(
                f"{description.name} is an {suffix} file; expected a checkpoint of HRNet or HigherHRNet for PyTorch, such as "
                "hrnet-w32, or leave backend and device out"
            )
        backend.checked_device(device)  # before a hundred megabytes are fetched for nothing
        path = fetch(description)
    engine = backend.TorchEngine(backend.read_network(path), description, device=device, precision=precision)
    return Opened(engine, description, TORCH_BATCH_SIZE)
