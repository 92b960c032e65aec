"""PyInstaller's hook for edgepose: its models and pages, modules that are imported by name, and the sources of its kernels."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("edgepose")
# Public names, decoders, sinks and engines are imported when they are first needed, by names that PyInstaller does not see.
_NOT_NEEDED = ("edgepose.training", "edgepose.networks", "edgepose.pyinstaller")
hiddenimports = collect_submodules("edgepose", filter=lambda name: not name.startswith(_NOT_NEEDED))
# Numba tells by a kernel's source whether its compiled form is still the right one.
module_collection_mode = {"edgepose": "pyz+py"}
