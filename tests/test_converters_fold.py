from __future__ import annotations

import cv2
import numpy as np
import openvino as ov
import pytest
import tiny_models

import edgepose
from converters import command, fold
from converters.int8.graph import batch_normalisations

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _the_logging_of_the_command_is_not_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.logging, "basicConfig", lambda **_: None)


def test_statistics_at_run_time_become_constants(models_in_reach, shared, tmp_path, capsys):
    data = shared / "data" / "eval"
    arguments = ["--images", str(data / "images"), "--annotations", str(data / "person_keypoints_eval.json")]
    arguments += ["--max-images", "8", "--subset", "12", "--height", "256", "--output", str(tmp_path / "out")]
    assert fold.main(["openpose-mobilenet-v2-small", *arguments]) == 0
    assert "statistics of 39 layers made constant" in capsys.readouterr().out
    path = tmp_path / "out" / "openpose-mobilenet-v2-small-folded.xml"
    assert batch_normalisations(ov.Core().read_model(path)) == []
    estimator = edgepose.PoseEstimator(path)
    assert estimator.model.size == (256, 456)
    assert len(estimator(cv2.imread(str(sorted((data / "images").iterdir())[0])))) >= 0
    assert "val2017" not in (estimator.model.ap_protocol or "")  # what was measured, not what the zoo says
    assert "height 256" in estimator.model.ap_protocol


def test_a_network_without_statistics_is_refused(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), np.zeros((64, 96, 3), np.uint8))
    arguments = ["--images", str(tmp_path / "images"), "--annotations", "a.json", "--output", str(tmp_path / "out")]
    assert fold.main([str(tiny_models.save(tmp_path)), *arguments]) == 1
    assert "nothing to fold" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
