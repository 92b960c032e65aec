"""Arguments of `PoseEstimator`: each says what came and what was expected, and numpy's numbers are numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from command_line import failure, run

import edgepose

WRONG: list[tuple[str, Any]] = [
    *(("input_size", value) for value in ((256,), "256", 256.0, True, -8, 0, (0, 64), (64, 64, 3), (64, "64"))),
    *(("input_size", value) for value in (np.zeros((2, 2)), float("nan"))),
    *(("min_score", value) for value in ("x", True, float("nan"), -0.1, 1.1, [0.5], np.float32("nan"), 1j)),
    *(("min_confidence", value) for value in ("0.5", False, 2)),
    *(("device", value) for value in (None, 5, "", b"CPU")),
    *(("model", value) for value in (None, 3, "", True, b"default", ["default"], "a\0b")),
    *(("threads", value) for value in (0, -1, 1.5, True, "2", float("inf"))),
    *(("streams", value) for value in (0, "auto", np.float64(2))),
    *(("precision", value) for value in ("int4", "F32", 32, True)),
    *(("hint", value) for value in (None, "fast", 1)),
    *(("backend", value) for value in ("tensorrt", 3)),
    *(("detector", value) for value in (5, True, "")),
    *(("batch_size", value) for value in (0, "2", 1.0, np.bool_(True))),
    *(("refinement", value) for value in ("half", 1)),
    *(("flip_test", value) for value in (1, None, "yes")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_what_came_and_what_was_expected(tmp_path: Path, name: str, value: Any) -> None:
    options = {"model": tiny_models.save(tmp_path), name: value}
    with pytest.raises(edgepose.InputError, match=rf"^{name} is .*; expected ") as raised:
        edgepose.PoseEstimator(**options)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    estimator = edgepose.PoseEstimator(
        tiny_models.save(tmp_path),
        input_size=np.array([64, 96]),  # type: ignore[arg-type]
        threads=np.int32(1),  # type: ignore[arg-type]
        min_score=np.float32(0.25),  # type: ignore[arg-type]
        flip_test=np.bool_(False),  # type: ignore[arg-type]
    )
    assert (estimator.input_size, estimator.min_score) == ((64, 96), 0.25)
    assert type(estimator.min_score) is float


@pytest.mark.parametrize("name", ["missing.onnx", "missing.xml", "missing.pb", "x" * 300 + ".xml", "x" * 300 + ".onnx"])
def test_a_model_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(edgepose.ModelError, match="there is no model file") as raised:
        edgepose.PoseEstimator(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_similar_name_is_shown(tmp_path: Path) -> None:
    tiny_models.save(tmp_path)
    with pytest.raises(edgepose.ModelError, match=r"did you mean .*tiny\.xml\?"):
        edgepose.PoseEstimator(tmp_path / "tinny.xml")


def test_a_folder_of_models_with_a_name_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[Any]
) -> None:
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path / ("x" * 300)))
    assert run("models", "list") == 0
    capsys.readouterr()
    assert run("models", "download", "openpose-mobilenet-v2-small") == 1
    assert "EDGEPOSE_MODELS" in failure(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--flip-test"], "--flip-test given"),
        (["--batch-size", 2], "--batch-size given"),
        (["--min-score", 7], "--min-score is 7.0"),
        (["--min-confidence", "nan"], "--min-confidence is nan"),
        (["--height", 7], "--height 7 does not fit"),
    ],
    ids=lambda value: str(value),
)
def test_the_command_names_its_own_options(
    model: str, photo: Path, capsys: pytest.CaptureFixture[Any], arguments: list[object], said: str
) -> None:
    assert run("run", photo, "--model", model, *arguments) == 1
    assert f"edgepose: {said}" in failure(capsys)
