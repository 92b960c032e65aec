"""Fixtures that many tests share: the folder of real models, photos and golden outputs, where there is one."""

from __future__ import annotations

import edgepose  # isort: skip  (before the modules below import OpenVINO, which calls home otherwise)

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import tiny_models


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder: `EDGEPOSE_SHARED`, or `../shared` beside the checkout; skips where neither exists."""
    folder = Path(os.environ.get("EDGEPOSE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "FACTS.md").is_file():
        pytest.skip(f"no shared data at {folder}; set EDGEPOSE_SHARED to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def fill(shared: Path) -> ModuleType:
    """The deterministic weights and input of the parity tests."""
    spec = importlib.util.spec_from_file_location("fill", shared / "contracts" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_estimator(tmp_path_factory: pytest.TempPathFactory) -> edgepose.PoseEstimator:
    """An estimator whose network has one layer: a millisecond a picture, and no sense in what it finds."""
    return edgepose.PoseEstimator(tiny_models.save(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def models_in_reach(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared folder as the mirror that models come from, and an empty models folder to fetch them into."""
    monkeypatch.setenv("EDGEPOSE_MIRROR", str(shared / "models"))
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def small_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with small_disk(n)`: no file can grow beyond n bytes, as if the disk were full.

    Only inside the `with` statement: pytest's own report may go to a file that is longer.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The file of the smallest model."""
    return str(tiny_models.save(tmp_path))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A grey picture with nobody on it."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 128, np.uint8))  # the mean: maps of zero, nobody there
    return path
