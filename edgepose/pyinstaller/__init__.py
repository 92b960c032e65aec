"""What PyInstaller is told of edgepose, by the entry point `pyinstaller40`, so that programs with edgepose need no options."""

from __future__ import annotations

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """The folder with the hook."""
    return [str(Path(__file__).parent)]
