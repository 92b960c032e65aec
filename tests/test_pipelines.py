from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose.engines import Opened
from edgepose.loading import open_detector, open_model
from edgepose.pipelines import Options, make_pipeline
from edgepose.pipelines.bottom_up import BottomUp


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return open_model(tiny_models.save(tmp_path))


@pytest.mark.parametrize(
    "option",
    [{"detector": "default"}, {"batch_size": 2}, {"refinement": "quarter"}, {"flip_test": True}],
    ids=lambda option: next(iter(option)),
)
def test_what_a_model_does_not_use_is_refused(opened: Opened, option: dict[str, Any]) -> None:
    with pytest.raises(edgepose.InputError, match=f"{next(iter(option))} given, but tiny is bottom-up"):
        make_pipeline(opened, Options(**option), open_detector)


def test_the_models_own_values_hold_where_none_are_given(opened: Opened) -> None:
    pipeline = make_pipeline(opened, Options(), open_detector)
    assert isinstance(pipeline, BottomUp)
    assert pipeline.input_shape(64, 96) == (64, 96)
    own = Options(input_size=opened.model.size[0], min_score=opened.model.min_score, min_confidence=opened.model.min_confidence)
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    poses, expected = (each.start(noise).result() for each in (pipeline, make_pipeline(opened, own, open_detector)))
    np.testing.assert_array_equal(poses.keypoints, expected.keypoints)
    assert len(make_pipeline(opened, Options(min_confidence=1.0), open_detector).start(noise).result()) == 0


def test_boxes_are_for_top_down_models(opened: Opened) -> None:
    pipeline = make_pipeline(opened, Options(), open_detector)
    with pytest.raises(edgepose.InputError, match="boxes given, but tiny is bottom-up"):
        pipeline.start(np.zeros((64, 96, 3), np.uint8), [[0, 0, 9, 9]])
