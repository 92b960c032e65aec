"""`edgepose run` over one source: what it writes, and what it says of what it cannot read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from command_line import failure, run, write_video


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
    ("form", "name"),
    [("json", "o.json"), ("jsonl", "o.jsonl"), ("coco", "o.json"), ("coco-results", "o.json"), ("openpose", "folder")],
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
        assert len(json.loads((tmp_path / name).read_text())["images"]) == 3
    elif form == "coco-results":
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


def test_a_folder_of_bad_pictures_leaves_older_results(model, photo, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(photo.read_bytes()[:60])
    (tmp_path / "o.json").write_text("yesterday's")
    assert run("run", folder, "--model", model, "--json", tmp_path / "o.json", "--save", tmp_path / "new") == 1
    assert "nothing of it can be read; skipped 2, such as" in failure(capsys)
    assert (tmp_path / "o.json").read_text() == "yesterday's"
    assert not (tmp_path / "new").exists()


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


def test_an_error_in_the_middle_keeps_what_was_found_and_says_so(model, tmp_path, monkeypatch, capsys):
    from edgepose.drawing import draw_poses
    from edgepose.errors import SourceError

    calls = iter(range(100))

    def broken(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 2:
            raise SourceError("the camera is gone")
        return draw_poses(*arguments, **options)

    monkeypatch.setattr("edgepose.watch.draw_poses", broken)
    video = write_video(tmp_path / "v.avi", 5)
    assert run("run", video, "--model", model, "--json", tmp_path / "o.jsonl", "--save", tmp_path / "o.mp4") == 1
    assert "the camera is gone; what was found in 2 frames before is kept" in failure(capsys)
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 3
    assert cv2.VideoCapture(str(tmp_path / "o.mp4")).read()[0]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="OpenCV raises an error there")
def test_a_screen_that_does_not_answer_is_an_error_in_a_line(model, photo, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    assert run("run", photo, "--model", model, "--show") == 1
    assert "the screen does not answer or refuses (DISPLAY=:987)" in failure(capsys)


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
