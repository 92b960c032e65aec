from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose.loading import locate, open_detector, open_model


def test_a_path_is_opened_with_its_description(tmp_path: Path) -> None:
    opened = open_model(tiny_models.save(tmp_path))
    assert (opened.model.name, opened.model.decoder, opened.batch_size) == ("tiny", "paf", 1)
    assert opened.engine.output_channels == (19, 38)


def test_an_alias_is_the_file_of_its_model() -> None:
    path, model = locate("default")
    assert path.name == f"{model.name}.xml"
    assert path.is_file()


@pytest.mark.parametrize(
    ("option", "message"),
    [({"backend": "tensorrt"}, "backend is 'tensorrt'"), ({"hint": "fast"}, "hint is 'fast'")],
    ids=["backend", "hint"],
)
def test_unknown_choices_are_refused(tmp_path: Path, option: dict[str, str], message: str) -> None:
    with pytest.raises(edgepose.InputError, match=message):
        open_model(tiny_models.save(tmp_path), **option)  # type: ignore[arg-type]


def test_a_bottom_up_model_detects_people(tmp_path: Path) -> None:
    boxes = open_detector(tiny_models.save(tmp_path))(np.zeros((64, 96, 3), np.uint8))
    assert boxes.shape[1:] == (5,)  # how many depends on how the processor rounds


def test_a_top_down_model_detects_nobody(tmp_path: Path) -> None:
    description = tiny_models.DESCRIPTION.replace("bottom-up", "top-down").replace("decoder: paf", "decoder: heatmaps")
    path = tiny_models.save(tmp_path, (18,), description=description)
    with pytest.raises(edgepose.ModelError, match="tiny is a top-down model; expected a detector"):
        open_detector(path)


def test_pytorch_takes_checkpoints_alone_and_fetches_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("edgepose.loading.fetch", lambda model: pytest.fail("fetched"))
    with pytest.raises(edgepose.ModelError, match=r"is an \.xml file; expected a checkpoint of HRNet or HigherHRNet"):
        open_model("default", backend="torch")
