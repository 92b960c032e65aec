"""`edgepose benchmark`, `eval`, `demo` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from command_line import failure, run


def test_demo_on_an_own_photo(model, photo, tmp_path, capsys):
    assert run("demo", "--model", model, "--image", photo, "--output", tmp_path / "demo.png") == 0
    assert "0 people found by tiny" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "demo.png")).shape == (48, 64, 3)


def test_figures_on_standard_output_are_nothing_but_json(model, capfd):
    assert run("benchmark", "--model", model, "--frames", 2, "--json", "-") == 0
    output, table = capfd.readouterr()
    assert json.loads(output)["model"] == "tiny"
    assert "end to end, FPS" in table
    assert not Path("-").exists()


def test_doctor(models_in_reach, capsys):
    assert run("doctor") == 0
    findings = capsys.readouterr().out
    assert "openvino 20" in findings
    assert "default model" in findings
    assert "FAIL" not in findings


def test_eval_prints_figures_and_protocol(model, tmp_path, capfd):
    person = {
        "id": 1,
        "image_id": 7,
        "category_id": 1,
        "iscrowd": 0,
        "area": 900.0,
        "bbox": [5, 5, 30, 30],
        "num_keypoints": 17,
    }
    keypoints = [value for n in range(17) for value in (10 + n, 20, 2)]
    content = {
        "images": [{"id": 7, "file_name": "7.png", "width": 64, "height": 48}],
        "annotations": [{**person, "keypoints": keypoints}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["k"] * 17, "skeleton": []}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    cv2.imwrite(str(tmp_path / "7.png"), np.zeros((48, 64, 3), np.uint8))
    arguments = ["eval", "--annotations", tmp_path / "a.json", "--images", tmp_path, "--model", model]
    assert run(*arguments, "--json", tmp_path / "f.json", "--height", 64) == 0
    printed = capfd.readouterr().out
    assert "AP50" in printed
    assert "height 64" in printed
    report = json.loads((tmp_path / "f.json").read_text())
    assert {"AP", "AP50", "AP75", "APm", "APl", "AR", "images", "model", "input_size"} <= set(report)
    assert (report["AP"], report["images"], report["model"], report["input_size"]) == (0, 1, "tiny", 64)
    assert "keypoints from score 0.05" in printed
    assert (report["min_score"], report["flip_test"], report["boxes"]) == (0.05, False, "detector")
    assert run(*arguments, "--json", tmp_path / "f.json", "--min-score", 0.2) == 0
    assert "keypoints from score 0.2," in capfd.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text())["min_score"] == 0.2

    assert run(*arguments, "--json", "-") == 0
    output, table = capfd.readouterr()
    assert json.loads(output)["model"] == "tiny"
    assert "AP50" in table

    (tmp_path / "names").mkdir()
    inputs = {name: (tmp_path / name).read_bytes() for name in ("a.json", "7.png")}
    for index, name in enumerate(inputs):
        (tmp_path / "names" / f"{index}.json").hardlink_to(tmp_path / name)
        assert run(*arguments, "--json", tmp_path / "names" / f"{index}.json") == 1
        assert "is the source itself" in failure(capfd)
    assert run(*arguments, "--json", tmp_path / "7.png") == 1
    assert "suffix of a picture or video" in failure(capfd)
    assert inputs == {name: (tmp_path / name).read_bytes() for name in inputs}
