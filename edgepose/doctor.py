"""The checks of `edgepose doctor`: versions, processor, devices, models, kernels, and whether the default model runs here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgepose
from edgepose.errors import EdgePoseError, missing_library

CORE = ("numpy", "openvino", "opencv-python", "av", "numba", "pyyaml")
OPTIONAL = ("torch", "nncf", "pillow-heif", "scikit-image", "pycocotools", "starlette", "picamera2")


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    passed: bool
    finding: str


def examine() -> Iterator[Check]:
    """Look at this machine, one check after the other; a check that fails does not stop the rest."""
    yield Check("edgepose", True, edgepose.__version__)
    yield Check("system", True, f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")
    yield Check("processor", True, processor())
    versions = {package: package_version(package) for package in (*CORE, *OPTIONAL)}
    if versions["opencv-python"] is None:  # any of OpenCV's builds will do
        versions["opencv-python"] = next(
            filter(None, map(package_version, ("opencv-python-headless", "opencv-contrib-python"))), None
        )
    missing = [package for package in CORE if versions[package] is None]
    yield Check("core packages", not missing, ", ".join(f"{package} {versions[package] or 'MISSING'}" for package in CORE))
    optional = ", ".join(f"{package} {versions[package] or '-'}" for package in OPTIONAL)
    yield Check("optional packages", True, optional)
    yield _attempt("devices", _devices)
    yield _attempt("models", _models)
    yield _attempt("kernels", _kernels)
    yield _attempt("default model", _default_model)


def processor() -> str:
    """Name and cores of the processor."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))), name)
    except OSError:
        pass  # not Linux
    return f"{name}, {os.cpu_count()} cores"


def package_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    from edgepose.engines.openvino import available_devices

    return f"OpenVINO finds {', '.join(available_devices()) or 'none'}"


def _models() -> str:
    from edgepose.zoo import download, registry

    here = [name for name in registry.names() if download.find(registry.get(name))]
    return f"{', '.join(here) or 'none'} ready to run, in {download.models_dir()} or the package"


def _kernels() -> str:
    """Compile the kernels of all decoders and of tracking, or load them: whatever runs next on this machine waits for none."""
    from edgepose.caches import has_warned
    from edgepose.decoding import decoder_class
    from edgepose.kernels.resizing import warm_up
    from edgepose.tracking import Tracker
    from edgepose.zoo import registry

    started = time.perf_counter()
    warm_up()
    models = [registry.get(name) for name in registry.names()]
    # One of each decoder: its making compiles its kernels.
    for model in {model.decoder: model for model in models if model.outputs}.values():
        decoder_class(model.decoder)(model, model.outputs, model.min_score)
    Tracker(smooth=True)
    kept = "cannot be kept, so that every start compiles them" if has_warned() else "kept for the next start"
    return f"all compiled or loaded in {time.perf_counter() - started:.1f} s, {kept}"


def _default_model() -> str:
    from edgepose.estimator import PoseEstimator

    image = np.full((360, 640, 3), 128, np.uint8)
    estimator = PoseEstimator()
    estimator(image)
    started = time.perf_counter()
    estimator(image)
    milliseconds = (time.perf_counter() - started) * 1000
    return f"{estimator.model.name} runs: {milliseconds:.0f} ms for one picture of 640x360"


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except ImportError as error:
        return Check(name, False, str(missing_library(error) or error))
    except EdgePoseError as error:
        return Check(name, False, str(error))
