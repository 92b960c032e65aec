from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models

from edgepose.cli import main


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(tiny_models.save(tmp_path))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 128, np.uint8))  # the mean: maps of zero, nobody there
    return path


def write_video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(frames):
        writer.write(np.full((48, 64, 3), 128, np.uint8))
    writer.release()
    return path


def run(*arguments: object) -> int:
    """The command line in this process; wrong usage exits by itself, as argparse does."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr says, which has to be one line and no traceback."""
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("edgepose:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def test_image_to_picture_and_json(model, photo, tmp_path, capsys):
    assert run("run", photo, "--model", model, "--save", tmp_path / "out.jpg", "--json", tmp_path / "out.json") == 0
    assert cv2.imread(str(tmp_path / "out.jpg")).shape == (48, 64, 3)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["image"] == {"path": str(photo), "width": 64, "height": 48}
    assert (content["skeleton"], content["poses"]) == ("openpose18", [])
    assert "1 frame, 0 people found" in capsys.readouterr().err


def test_json_to_standard_output_is_nothing_but_json(model, photo, capfd):
    assert run("run", photo, "--model", model, "--json", "-") == 0
    assert json.loads(capfd.readouterr().out)["skeleton"] == "openpose18"


@pytest.mark.parametrize(
    ("form", "name"), [("json", "o.json"), ("jsonl", "o.jsonl"), ("coco", "o.json"), ("openpose", "folder")]
)
def test_formats(model, tmp_path, form, name):
    video = write_video(tmp_path / "v.avi", 3)
    assert run("run", video, "--model", model, "--json", tmp_path / name, "--format", form) == 0
    if form == "json":
        assert len(json.loads((tmp_path / name).read_text())) == 3
    elif form == "jsonl":
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert [line["frame"] for line in lines] == [0, 1, 2]
        assert [line["timestamp"] for line in lines] == pytest.approx([0, 0.04, 0.08])
    elif form == "coco":
        assert json.loads((tmp_path / name).read_text()) == []
    else:
        assert len(list((tmp_path / name).glob("*_keypoints.json"))) == 3


def test_video_to_video(model, tmp_path):
    video = write_video(tmp_path / "v.avi", 12)
    assert run("run", video, "--model", model, "--save", tmp_path / "out.mp4", "--max-frames", 5) == 0
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == 5


def test_max_frames_zero_is_a_clean_end(model, tmp_path, capsys):
    video = write_video(tmp_path / "v.avi", 3)
    assert run("run", video, "--model", model, "--json", tmp_path / "o.jsonl", "--max-frames", 0) == 0
    assert "0 frames" in capsys.readouterr().err


def test_one_bad_picture_does_not_stop_a_folder(model, photo, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(photo.read_bytes())
    (folder / "b.png").write_bytes(photo.read_bytes()[:60])
    assert run("run", folder, "--model", model, "--save", tmp_path / "out", "--json", tmp_path / "o.json") == 1
    message = failure(capsys)
    assert "skipped" in message
    assert "b.png" in message
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    assert len(json.loads((tmp_path / "o.json").read_text())) == 2


def _huge_png(path: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (20000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    path.write_bytes(header + b"\x00" * 100)


BAD_SOURCES = [
    ("nowhere.jpg", None, "no such file"),
    ("empty.jpg", lambda p: p.write_bytes(b""), "empty"),
    ("text.png", lambda p: p.write_text("hello"), "not an image"),
    ("zero.mp4", lambda p: p.write_bytes(b""), "empty"),
    ("noise.mp4", lambda p: p.write_bytes(b"\x13\x37" * 5000), "neither a video"),
    ("huge.png", _huge_png, "20000 x 20000"),
    ("nothing", lambda p: p.mkdir(), "no images in this folder"),
    ("*.webp", None, "matches no files"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD_SOURCES, ids=[row[0] for row in BAD_SOURCES])
def test_bad_sources(model, tmp_path, capsys, name, make, message):
    path = tmp_path / "sources" / name
    path.parent.mkdir()
    if make:
        make(path)
    assert run("run", path, "--model", model) == 1
    assert message in failure(capsys)


BAD_MODELS = [
    ("no-such-model", "no-such-model"),
    ("nowhere.xml", "there is no model file"),
    ("weights.pth", "weights.pth"),
]


@pytest.mark.parametrize(("name", "message"), BAD_MODELS, ids=[row[0] for row in BAD_MODELS])
def test_bad_models(photo, capsys, name, message):
    assert run("run", photo, "--model", name) == 1
    assert message in failure(capsys)


def test_corrupt_weights(model, photo, capsys):
    Path(model).with_suffix(".bin").write_bytes(b"")
    assert run("run", photo, "--model", model) == 1
    assert "cannot be read as a model" in failure(capsys)


def test_absent_device(model, photo, capsys):
    assert run("run", photo, "--model", model, "--device", "GPU.7") == 1
    assert "OpenVINO finds here" in failure(capsys)


@pytest.mark.parametrize("option", ["--save", "--json"])
def test_unwritable_output(model, photo, tmp_path, capsys, option):
    (tmp_path / "file").write_text("in the way")
    assert (
        run(
            "run",
            photo,
            "--model",
            model,
            option,
            tmp_path / "file" / "out.jpg" if option == "--save" else tmp_path / "file" / "o.json",
        )
        == 1
    )
    assert "cannot be written" in failure(capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk(model, photo, capsys):
    assert run("run", photo, "--model", model, "--json", "/dev/full", "--format", "jsonl") == 1
    assert "No space left" in failure(capsys)


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["run", "x.jpg", "--max-frames", "-1"], ["run", "x.jpg", "--format", "xml"], ["models", "info"], ["fly"]],
    ids=" ".join,
)
def test_wrong_usage(arguments, capsys):
    assert run(*arguments) == 2
    assert "usage: edgepose" in capsys.readouterr().err


def test_models_list_info_and_path(models_in_reach, capsys):
    assert run("models", "list") == 0
    listing = capsys.readouterr().out
    assert "(default)" in listing
    assert "needs conversion" in listing
    assert run("models", "info", "hrnet-w32") == 0
    assert "converters.hrnet --variant w32" in capsys.readouterr().out
    assert run("models", "path") == 0
    assert capsys.readouterr().out.strip() == str(models_in_reach)
    assert run("models", "download", "openpose-mobilenet-v2-small") == 0
    assert Path(capsys.readouterr().out.strip()).parent == models_in_reach


def test_demo_on_an_own_photo(model, photo, tmp_path, capsys):
    assert run("demo", "--model", model, "--image", photo, "--output", tmp_path / "demo.png") == 0
    assert "0 people found by tiny" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "demo.png")).shape == (48, 64, 3)


def test_doctor(models_in_reach, capsys):
    assert run("doctor") == 0
    findings = capsys.readouterr().out
    assert "openvino 20" in findings
    assert "default model" in findings
    assert "FAIL" not in findings


def test_eval_prints_figures_and_protocol(model, tmp_path, capsys):
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
    printed = capsys.readouterr().out
    assert "AP50" in printed
    assert "height 64" in printed
    report = json.loads((tmp_path / "f.json").read_text())
    assert {"AP", "AP50", "AP75", "APm", "APl", "AR", "images", "model", "input_size"} <= set(report)
    assert (report["AP"], report["images"], report["model"], report["input_size"]) == (0, 1, "tiny", 64)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "stop of a service"])
def test_interrupt_keeps_what_was_computed(model, tmp_path, ending):
    video = write_video(tmp_path / "v.avi", 20000)
    out = tmp_path / "o.jsonl"
    # Where the tests run in the background, Ctrl-C is ignored, and would be in the command, too.
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from edgepose.cli import main; "
    arguments = ["run", str(video), "--model", model, "--json", str(out), "--save", str(tmp_path / "o.mp4")]
    command = [sys.executable, "-c", script + "sys.exit(main(sys.argv[1:]))", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (out.exists() and out.stat().st_size > 1000):
        assert process.poll() is None, process.communicate()
    process.send_signal(ending)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert 0 < len(lines) < 20000
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert capture.read()[0]


def test_from_another_folder_as_a_command(model, photo, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.cli", "run", str(photo), "--model", model, "--json", "-"],
        cwd=tmp_path, env={**os.environ, "EDGEPOSE_MODELS": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["poses"] == []
    assert done.stderr.count("\n") == 1  # the summary: no progress bar where there is no terminal


def test_import_is_lazy():
    script = "import sys, edgepose; edgepose.Poses.empty(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "openvino", "numba"} & set(done.stdout.split())
