"""The set-up of a trial: the inputs that a network is calibrated on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models

pytest.importorskip("nncf")

from converters import trial
from converters.pictures import network_input
from edgepose.errors import InputError
from edgepose.zoo.registry import from_yaml


@pytest.fixture
def top_down(tmp_path: Path) -> Path:
    return tiny_models.save(tmp_path, (17,), description=tiny_models.TOP_DOWN)


@pytest.fixture
def astronaut(tmp_path: Path) -> Path:
    """A folder with one photo of one person."""
    data = pytest.importorskip("skimage.data", reason="the sample photo needs the extra demo")
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "astronaut.png"), data.astronaut()[..., ::-1])
    return tmp_path / "photos"


def prepared(model: Path, images: Path, output: Path, *options: str) -> trial.Trial:
    parser = argparse.ArgumentParser()
    trial.add_options(parser)
    return trial.prepare(parser.parse_args([str(model), "--images", str(images), "--output", str(output), *options]))


def test_a_top_down_model_is_calibrated_on_the_people_who_are_found(top_down, astronaut, tmp_path):
    tensors = prepared(top_down, astronaut, tmp_path / "out").tensors
    assert {tensor.shape for tensor in tensors} == {(1, 3, 64, 32)}
    whole = cv2.resize(cv2.imread(str(astronaut / "astronaut.png")), (32, 64), interpolation=cv2.INTER_AREA)
    whole = network_input(whole[None], from_yaml("tiny", tiny_models.TOP_DOWN, "tests"))
    assert all(np.abs(tensor - whole).mean() > 0.3 for tensor in tensors)  # crops, not the photo as a whole


def test_a_top_down_model_is_calibrated_on_annotated_people(top_down, astronaut, tmp_path):
    person = {
        "category_id": 1,
        "keypoints": [200, 120, 2] * 17,
        "num_keypoints": 17,
        "area": 900.0,
        "iscrowd": 0,
        "image_id": 1,
    }
    boxes = [[100, 20, 220, 300], [20, 200, 350, 300], [0, 0, 60, 80]]
    content = {
        "images": [{"id": 1, "file_name": "astronaut.png"}],
        "annotations": [{**person, "id": number, "bbox": box} for number, box in enumerate(boxes, 1)],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }
    (tmp_path / "people.json").write_text(json.dumps(content))
    options = ["--calibration", str(astronaut), "--calibration-annotations", str(tmp_path / "people.json")]
    assert len(prepared(top_down, astronaut, tmp_path / "out", *options).tensors) == 3
    assert len(prepared(top_down, astronaut, tmp_path / "out", *options, "--subset", "2").tensors) == 2


def test_a_size_for_every_picture_is_width_x_height(top_down, astronaut, tmp_path):
    of_trial = prepared(top_down, astronaut, tmp_path / "out", "--input-size", "64x96")
    assert of_trial.size == (96, 64)
    assert {tensor.shape for tensor in of_trial.tensors} == {(1, 3, 96, 64)}


@pytest.mark.parametrize("size", ["64", "0x96", "64x96x3"])
def test_what_is_no_size_is_wrong_usage(top_down, astronaut, tmp_path, size):
    with pytest.raises(SystemExit) as caught:
        prepared(top_down, astronaut, tmp_path / "out", "--input-size", size)
    assert caught.value.code == 2


def test_a_size_that_the_network_cannot_take_is_refused(top_down, astronaut, tmp_path):
    with pytest.raises(InputError, match="--input-size is 60x96; expected multiples of"):
        prepared(top_down, astronaut, tmp_path / "out", "--input-size", "60x96")


def test_the_former_size_is_refused_with_its_value_turned_round(top_down, astronaut, tmp_path, capsys):
    with pytest.raises(SystemExit):
        prepared(top_down, astronaut, tmp_path / "out", "--size", "256x456")
    assert "--input-size 456x256" in capsys.readouterr().err


def test_photos_without_people_are_refused(top_down, tmp_path):
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "empty" / "grey.png"), np.full((80, 120, 3), 128, np.uint8))
    with pytest.raises(InputError, match="nothing to calibrate on"):
        prepared(top_down, tmp_path / "empty", tmp_path / "out")


@pytest.mark.parametrize("given", [("bottom-up", True), ("top-down", False)], ids=["bottom-up", "no-photos"])
def test_annotations_of_calibration_photos_need_a_top_down_model_and_the_photos(given, astronaut, tmp_path):
    task, has_photos = given
    model = (
        tiny_models.save(tmp_path, (17,), description=tiny_models.TOP_DOWN)
        if task == "top-down"
        else tiny_models.save(tmp_path)
    )
    options = ["--calibration-annotations", "people.json", *(["--calibration", str(astronaut)] if has_photos else [])]
    with pytest.raises(InputError, match="expected a top-down model and --calibration"):
        prepared(model, astronaut, tmp_path / "out", *options)
