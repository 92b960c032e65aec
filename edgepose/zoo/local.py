"""The places of a model's files on this machine, none of which may be an output."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from edgepose.errors import EdgePoseError
from edgepose.zoo import download, registry

# Suffixes of the files that belong to a model: its network, its weights (of a large ONNX file, too), and its description.
_SUFFIXES = (
    ".xml", ".bin", ".onnx", ".onnx.data", ".onnx_data", ".pb", ".tflite", ".yaml", ".pth", ".pt", ".safetensors", ".npz",
)  # fmt: skip


def model_files(model: object) -> list[Path]:
    """The places where the files of `model`, a path or a name of the zoo, are or may be; nothing is fetched.

    There are none for what is no model at all, which is an error when it is loaded.
    """
    if not isinstance(model, str | Path):
        return []
    path = Path(model)
    if path.suffix in _SUFFIXES:
        return [path, *(path.with_suffix(suffix) for suffix in _SUFFIXES)]
    try:
        entry = registry.get(str(model))
    except EdgePoseError:
        return [path]
    here, mirror = download.find(entry), os.environ.get("EDGEPOSE_MIRROR", "")
    folders = []
    with suppress(EdgePoseError):  # The user has no folder for models.
        folders.append(download.models_dir())
    if here is not None:
        folders.append(here.parent)
    if mirror and "://" not in mirror:
        folders.append(Path(os.path.expanduser(mirror)))
    return [folder / file.name for folder in folders for file in entry.files]
