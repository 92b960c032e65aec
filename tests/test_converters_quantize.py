from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
import tiny_models
from openvino import opset13 as ops

import edgepose
from converters import command, fold, quantize
from converters.int8 import nncf, search


@pytest.fixture(autouse=True)
def _the_logging_of_the_command_is_not_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.logging, "basicConfig", lambda **_: None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), random.integers(0, 256, (80, 120, 3), np.uint8))
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_models.save(tmp_path)


def run(model: str | Path, images: Path, output: Path, *options: str) -> int:
    return quantize.main([str(model), "--images", str(images), "--output", str(output), *options])


@pytest.mark.slow
def test_the_default_model_passes_and_runs_without_any_other_file(tmp_path, capsys):
    data = pytest.importorskip("skimage.data")
    (tmp_path / "photos").mkdir()
    photo = np.ascontiguousarray(data.astronaut()[..., ::-1])
    cv2.imwrite(str(tmp_path / "photos" / "astronaut.png"), photo)
    assert run("default", tmp_path / "photos", tmp_path / "out", "--name", "small", "--height", "256") == 0
    out = capsys.readouterr().out
    assert "0 lost and 0 invented of 1 people: passes" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["small.bin", "small.md", "small.xml"]
    report = (tmp_path / "out" / "small.md").read_text()
    assert all(f"\n| {name} | " in report for name in ("FP32", "FP16", "INT8"))
    network = ov.Core().read_model(tmp_path / "out" / "small.xml")
    assert any(node.get_type_name() == "FakeQuantize" for node in network.get_ops())
    estimator = edgepose.PoseEstimator(tmp_path / "out" / "small.xml", precision="f32")
    assert estimator.model.decoder == "paf"
    assert estimator.model.notes.startswith("INT8, plain recipe")
    ours, theirs = estimator(photo), edgepose.PoseEstimator(input_size=256, precision="f32")(photo)
    apart = np.linalg.norm(ours.keypoints[0] - theirs.keypoints[0], axis=-1)  # of the best person, in 512 pixels
    assert np.nanmedian(apart) < 5


def test_a_broken_int8_is_refused_and_leaves_no_file(tiny, images, tmp_path, monkeypatch, capsys):
    original = nncf.quantise

    def broken(network, *arguments):
        quantised = original(network, *arguments)
        for result in quantised.get_results():
            result.input(0).replace_source_output(ops.negative(result.input_value(0)).output(0))
        quantised.validate_nodes_and_infer_types()
        return quantised

    monkeypatch.setattr(search, "quantise", broken)
    assert run(tiny, images, tmp_path / "out") == 1
    out, error = capsys.readouterr()
    assert "| INT8, plain recipe | " in out  # the table of what was tried
    assert "no INT8 model passes" in out
    assert error.count("\n") == 1
    assert "no INT8 model passes" in error
    assert not (tmp_path / "out").exists()


def test_one_option_more_keeps_operations_in_floating_point(tiny, images, tmp_path, capsys):
    assert run(tiny, images, tmp_path / "out", "--ignore-types", "Nope") == 1
    assert "ignored scope" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["nncf", "pycocotools"])
def test_a_missing_package_names_its_extra(tiny, images, tmp_path, monkeypatch, capsys, package):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else there(name))
    assert run(tiny, images, tmp_path / "out", "--annotations", str(tmp_path / "a.json")) == 1
    error = capsys.readouterr().err
    assert package in error
    assert "[convert]" in error


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        pytest.param("no-such-model", [], "no-such-model", id="unknown-model"),
        pytest.param("default", ["--height", "250"], "multiple of 8", id="height"),
        pytest.param("default", ["--annotations", "nowhere.json"], "nowhere.json", id="annotations"),
        pytest.param("default", ["--annotations", "a.json", "--by-maps"], "expected one of them", id="two-gates"),
    ],
)
def test_bad_input_is_one_line_and_no_file(images, tmp_path, capsys, model, options, message):
    assert run(model, images, tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_not_there_are_named(tiny, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    for folder, message in (("empty", "no images"), ("nowhere", "nowhere"), ("file", "a folder of images")):
        assert run(tiny, tmp_path / folder, tmp_path / "out") == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_picture_that_does_not_decode_is_named(tiny, images, tmp_path, capsys):
    (images / "1.png").write_bytes(b"not a picture")
    assert run(tiny, images, tmp_path / "out") == 1
    assert "1.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_calibration_pictures_that_cannot_serve_are_named(tiny, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_bytes(b"not a picture")
    for folder, message in (("empty", "no images"), ("nowhere", "nowhere"), ("bad", "0.png")):
        assert run(tiny, images, tmp_path / "out", "--calibration", str(tmp_path / folder), "--subset", "99") == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert not (tmp_path / "out").exists()


TOP_DOWN = """\
task: top-down
decoder: heatmaps
skeleton: coco17
colour: RGB
layout: NCHW
mean: [128, 128, 128]
scale: [256, 256, 256]
size: [64, 48]
stride: 8
multiple: 8
"""


@pytest.mark.parametrize("program", [quantize, fold])
def test_annotations_without_people_to_calibrate_on_are_refused(images, tmp_path, capsys, program):
    model = tiny_models.save(tmp_path, (17,), description=TOP_DOWN)
    listed = [{"id": index, "file_name": f"{index}.png"} for index in range(3)]
    person = {"image_id": 2, "category_id": 1, "keypoints": [40, 40, 2] * 17, "num_keypoints": 17, "area": 900.0, "iscrowd": 0}
    content = {
        "images": listed, "annotations": [{"id": 1, "bbox": [20, 20, 30, 30], **person}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(content))
    arguments = ["--images", str(images), "--annotations", str(tmp_path / "a.json"), "--output", str(tmp_path / "out")]
    assert program.main([str(model), *arguments, "--subset", "1"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nothing to calibrate on" in error
    assert not (tmp_path / "out").exists()


def test_few_annotated_people_end_the_work_before_it_begins(images, tmp_path, monkeypatch, capsys):
    model = tiny_models.save(tmp_path, (17,), description=TOP_DOWN)
    person = {"category_id": 1, "keypoints": [40, 40, 2] * 17, "num_keypoints": 17, "area": 900.0, "iscrowd": 0}
    content = {
        "images": [{"id": index, "file_name": f"{index}.png"} for index in range(3)],
        "annotations": [{"id": 1 + i, "image_id": i, "bbox": [20, 20, 30, 30], **person} for i in range(3)],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    monkeypatch.setattr(search, "quantise", lambda *_: pytest.fail("began"))
    assert run(model, images, tmp_path / "out", "--annotations", str(tmp_path / "a.json")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "3 images with 3 annotated people prove nothing" in error
    assert not (tmp_path / "out").exists()


def test_an_unwritable_output_is_found_before_the_work(tiny, images, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(search, "search", lambda *_: pytest.fail("began"))
    assert run(tiny, images, tmp_path / "file" / "out") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_model_is_never_written_over(tiny, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(search, "search", lambda *_: pytest.fail("began"))
    before = tiny.read_bytes()
    assert run(tiny, images, tiny.parent, "--name", tiny.stem) == 1
    assert "is what is read here" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.bin").symlink_to(tiny.with_suffix(".bin"))
    assert run(tiny, images, tmp_path / "out", "--name", "other") == 1
    assert "is what is read here" in capsys.readouterr().err
    assert tiny.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ["--subset", "0"], ["--preset", "best"], ["--name", "a/b"], ["--max-images", "-3"], ["--headroom", "0.9"],
        ["--headroom", "nan"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_ends_with_status_2(tiny, images, tmp_path, options):
    with pytest.raises(SystemExit) as caught:
        run(tiny, images, tmp_path / "out", *options)
    assert caught.value.code == 2
