"""PyInstaller's hook for edgepose: its models and pages, modules that are imported by name, and the sources of its kernels."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("edgepose")
# Public names, decoders, sinks and engines are imported when they are first needed, by names that PyInstaller does not see.
_NOT_NEEDED = ("edgepose.training", "edgepose.networks", "edgepose.pyinstaller")
hiddenimports = collect_submodules("edgepose", filter=lambda name: not name.startswith(_NOT_NEEDED))
# Numba tells by a kernel's source whether its compiled form is still the right one.
module_collection_mode = {"edgepose": "pyz+py"}

# OpenVINO loads what reads models and what runs them by name, from beside its main library, which PyInstaller puts at the top.
_openvino = importlib.util.find_spec("openvino")
_libraries = Path((_openvino and _openvino.origin) or "").parent / "libs"
binaries = [
    (str(path), ".")
    for path in _libraries.glob("*openvino*")
    if any(part in path.name for part in ("ir_frontend", "onnx_frontend", "cpu_plugin", "auto_plugin", "gpu_plugin"))
]
