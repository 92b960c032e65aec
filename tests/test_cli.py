from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose.cli.main import main, make_parser

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="no sh to close streams with")


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


def failure(capsys: pytest.CaptureFixture[Any]) -> str:
    """The message on stderr, which has to be one line and no traceback."""
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


def spellings(path: Path) -> dict[str, Path]:
    """Other names of a file that is there, in a folder of their own; the suffix is `path`'s."""
    folder = path.parent / "names"
    folder.mkdir()
    (folder / f"symbolic{path.suffix}").symlink_to(path)
    (folder / f"hard{path.suffix}").hardlink_to(path)
    return {
        "itself": path,
        "symbolic link": folder / f"symbolic{path.suffix}",
        "hard link": folder / f"hard{path.suffix}",
        "dots": folder / ".." / path.name,
    }


@pytest.mark.parametrize("name", ["itself", "symbolic link", "hard link", "dots"])
@pytest.mark.parametrize(("source", "option"), [("s.ts", "--json"), ("s", "--json"), ("s.avi", "--save"), ("s.png", "--save")])
def test_a_source_is_never_overwritten(model, photo, tmp_path, capsys, source, option, name):
    file = tmp_path / source
    file.write_bytes((photo if source == "s.png" else write_video(tmp_path / "v.avi", 3)).read_bytes())
    before = file.read_bytes()
    assert run("run", file, "--model", model, option, spellings(file)[name]) == 1
    assert "is the source itself" in failure(capsys)
    assert file.read_bytes() == before


@pytest.mark.parametrize("pattern", ["", "*.png"], ids=["folder", "pattern"])
@pytest.mark.parametrize(("option", "target"), [("--save", "photos/a.png"), ("--save", "other.png"), ("--json", "other.json")])
def test_none_of_several_sources_is_overwritten(model, photo, tmp_path, capsys, pattern, option, target):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo.read_bytes())
    for name in ("other.png", "other.json"):
        (tmp_path / name).hardlink_to(tmp_path / "photos" / "a.png")
    assert run("run", tmp_path / "photos" / pattern, "--model", model, option, tmp_path / target) == 1
    assert "is the source itself" in failure(capsys)
    assert (tmp_path / target).read_bytes() == photo.read_bytes()


@pytest.mark.parametrize("way", ["itself", "link", "links in it", "file in it"])
def test_a_folder_of_sources_is_no_place_for_pictures(model, photo, tmp_path, capsys, way):
    folder, other = tmp_path / "photos", tmp_path / "other"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo.read_bytes())
    source = folder / "a.png" if way == "file in it" else folder
    if way == "link":
        other.symlink_to(folder)
    elif way == "links in it":
        other.mkdir()
        (other / "b.png").hardlink_to(folder / "a.png")
    assert run("run", source, "--model", model, "--save", other if way in ("link", "links in it") else folder) == 1
    assert "is the source itself" in failure(capsys)
    assert (folder / "a.png").read_bytes() == photo.read_bytes()


def test_what_is_written_beside_a_source_is_no_matter(model, photo, tmp_path):
    video = write_video(tmp_path / "v.avi", 2)
    for option, target in (("--save", tmp_path), ("--json", tmp_path / "v.json"), ("--save", tmp_path / "v.mp4")):
        assert run("run", video, "--model", model, option, target) == 0
    assert run("run", photo, "--model", model, "--json", tmp_path, "--format", "openpose") == 0
    names = ["photo_keypoints.json", "v.json", "v.mp4", "v_000000.jpg", "v_000001.jpg"]
    assert set(names) <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["tiny.xml", "tiny.bin", "tiny.yaml"])
def test_a_model_is_never_overwritten(model, photo, tmp_path, capsys, name):
    before = (tmp_path / name).read_bytes()
    for arguments in (["run", photo], ["benchmark"], ["eval", "--annotations", photo, "--images", tmp_path]):
        assert run(*arguments, "--model", model, "--json", tmp_path / name) == 1
        assert "is a file of the model" in failure(capsys)
    assert (tmp_path / name).read_bytes() == before


def test_a_model_of_the_zoo_is_never_overwritten(models_in_reach, photo, capsys):
    assert run("models", "download", "openpose-mobilenet-v2-small") == 0
    path = Path(capsys.readouterr().out.strip())
    before = path.read_bytes()
    assert run("run", photo, "--model", "openpose-mobilenet-v2-small", "--json", path) == 1
    assert "is a file of the model" in failure(capsys)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("save", "json"), [("a", "a"), ("a", "./a"), ("a", "link"), ("out/pictures", "out"), ("out.jpg", "out.jpg/a.json")]
)
def test_two_outputs_are_never_one(model, photo, tmp_path, capsys, save, json):
    (tmp_path / "link").symlink_to("a")
    assert run("run", photo, "--model", model, "--save", tmp_path / save, "--json", f"{tmp_path}/{json}") == 1
    assert "each its own name" in failure(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "photo.png", "tiny.bin", "tiny.xml", "tiny.yaml"]


def test_a_photo_is_not_drawn_over_by_the_demo(model, photo, tmp_path, capsys):
    before = photo.read_bytes()
    for target in spellings(photo).values():
        assert run("demo", "--model", model, "--image", photo, "--output", target) == 1
        assert "is the source itself" in failure(capsys)
    assert photo.read_bytes() == before


def test_a_benchmark_does_not_overwrite_its_source(model, tmp_path, capsys):
    source = tmp_path / "s.ts"
    source.write_bytes(write_video(tmp_path / "v.avi", 3).read_bytes())
    before = source.read_bytes()
    for target in spellings(source).values():
        assert run("benchmark", "--model", model, "--source", source, "--json", target) == 1
        assert "is the source itself" in failure(capsys)
    assert run("benchmark", "--model", model, "--source", tmp_path / "v.avi", "--json", tmp_path / "v.avi") == 1
    assert "suffix of a picture or video" in failure(capsys)
    assert source.read_bytes() == before


BAD_BEGINNINGS = {
    "model": ["--model", "typo"],
    "height": ["--height", "250"],
    "device": ["--device", "GPU.7"],
    "score": ["--min-score", "7"],
    "screen": ["--show"],
    "suffix": ["--save", "o.gif"],
    "source": [],
}


@pytest.mark.parametrize("old", [True, False], ids=["older files", "new files"])
@pytest.mark.parametrize("arguments", BAD_BEGINNINGS.values(), ids=BAD_BEGINNINGS)
def test_what_fails_at_the_beginning_touches_nothing(model, photo, tmp_path, monkeypatch, capsys, arguments, old):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if not arguments:
        photo.write_bytes(photo.read_bytes()[:60])
    folder = tmp_path / "results"
    outputs = {"--json": folder / "o.json", "--save": folder / "pictures" / "o.png"}
    if old:
        for path in outputs.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("yesterday's")
    given = [part for option, path in outputs.items() if option not in arguments for part in (option, path)]
    assert run("run", photo, "--model", model, *given, *arguments) == 1
    failure(capsys)
    assert folder.exists() is old
    for path in outputs.values() if old else ():
        assert path.read_text() == "yesterday's"
        assert os.listdir(path.parent) in (["o.png"], ["o.json", "pictures"], ["pictures", "o.json"])


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["models", "list"], ["models", "path"], ["doctor"]], ids=" ".join)
def test_a_report_for_a_full_disk_is_an_error_in_a_line(arguments):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "edgepose", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "edgepose: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["run", "x.jpg", "--max-frames", "-1"], ["run", "x.jpg", "--format", "xml"], ["models", "info"], ["fly"]],
    ids=" ".join,
)
def test_wrong_usage(arguments, capsys):
    assert run(*arguments) == 2
    assert "usage: edgepose" in capsys.readouterr().err


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def test_help_is_in_full_sentences():
    for parser in commands(make_parser()):
        texts = [parser.description, *(action.help for action in parser._actions if action.dest not in ("help", "action"))]
        for text in texts:
            if text is not None:
                assert re.fullmatch(r"[A-Z].*[^.]\.", text), (parser.prog, text)
        for action in parser._actions:
            assert action.help or isinstance(action, argparse._SubParsersAction), (parser.prog, action.dest)
        parser.format_help()


def test_an_option_means_the_same_in_every_command():
    known: dict[str, tuple[object, ...]] = {}
    for parser in commands(make_parser()):
        for action in parser._actions:
            for option in action.option_strings:
                facts = (action.metavar, action.dest, action.nargs, action.choices and tuple(action.choices))
                assert known.setdefault(option, facts) == facts, (parser.prog, option)


@pytest.mark.parametrize("size", ["720", "1280,720", "1280x", "x720", "1280x720x3", "-1x5", "1²x5"])
def test_a_size_in_another_form_is_wrong_usage_and_the_error_shows_the_form(size, photo, capsys):
    assert run("run", photo, f"--camera-size={size}") == 2
    assert "expected WIDTHxHEIGHT in pixels, such as 1280x720" in capsys.readouterr().err


@pytest.mark.parametrize("fps", ["0", "-5", "nan", "fast", "1001"])
def test_a_rate_out_of_range_is_wrong_usage(fps, photo, capsys):
    for command, option in (("run", "--camera-fps"), ("serve", "--camera-fps"), ("serve", "--stream-fps")):
        assert run(command, photo, f"{option}={fps}") == 2
        assert "expected a number above 0, to 1000" in capsys.readouterr().err


def test_models_list_info_and_path(models_in_reach, capsys):
    assert run("models", "list") == 0
    listing = capsys.readouterr().out
    assert [line.split()[0] for line in listing.splitlines()[1:4]] == ["fast", "default", "accurate"]
    assert "needs conversion" in listing
    assert run("models", "info", "hrnet-w32") == 0
    assert "converters.export hrnet --variant w32" in capsys.readouterr().out
    assert run("models", "path") == 0
    assert capsys.readouterr().out.strip() == str(models_in_reach)
    assert run("models", "download", "openpose-mobilenet-v2-small") == 0
    assert Path(capsys.readouterr().out.strip()).parent == models_in_reach


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


# Where the tests run in the background, Ctrl-C is ignored, and would be in the command, too.
SCRIPT = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from edgepose.cli.main import main; "


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-c", SCRIPT + "sys.exit(main(sys.argv[1:]))", *map(str, arguments)]
    return subprocess.Popen(command, text=True, **{"stderr": subprocess.PIPE, **options})


def wait_for_lines(process: subprocess.Popen[str], folder: Path) -> Path:
    """The part of o.jsonl, once there is something in it."""
    while True:
        for part in folder.glob(".o.*.part"):
            if part.stat().st_size > 1000:
                return part
        assert process.poll() is None, process.communicate()


ENDINGS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS, ids=["Ctrl-C", "stop of a service", "closed terminal"][: len(ENDINGS)])
def test_interrupt_keeps_what_was_computed(model, tmp_path, ending):
    video = write_video(tmp_path / "v.avi", 20000)
    out = tmp_path / "o.jsonl"
    out.write_text("yesterday's")
    process = start("run", video, "--model", model, "--json", out, "--save", tmp_path / "o.mp4")
    wait_for_lines(process, tmp_path)
    assert out.read_text() == "yesterday's"
    process.send_signal(ending)
    process.send_signal(ending)  # Terminals send it twice, and people, too.
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert 0 < len(lines) < 20000
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert capture.read()[0]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_older_file_and_the_part(model, tmp_path):
    video = write_video(tmp_path / "v.avi", 20000)
    out = tmp_path / "o.jsonl"
    out.write_text("yesterday's")
    process = start("run", video, "--model", model, "--json", out)
    part = wait_for_lines(process, tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert out.read_text() == "yesterday's"
    assert json.loads(part.read_text().splitlines()[0])["frame"] == 0


def test_a_reader_that_leaves_costs_the_other_output_nothing(model, tmp_path):
    video = write_video(tmp_path / "v.avi", 5000)
    process = start("run", video, "--model", model, "--json", "-", "--save", tmp_path / "o.mp4", stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    assert cv2.VideoCapture(str(tmp_path / "o.mp4")).read()[0]


@needs_sh
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", ">&- 2>&-", ">&-"])
def test_closed_standard_streams_cost_no_results(model, photo, tmp_path, closed):
    command = f'exec "$0" -m edgepose run "$1" --model "$2" --json "$3" {closed}'
    arguments = ["sh", "-c", command, sys.executable, str(photo), model, str(tmp_path / "o.json")]
    assert subprocess.run(arguments, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert json.loads((tmp_path / "o.json").read_text())["poses"] == []


@needs_sh
def test_results_for_a_closed_standard_output_are_an_error_in_a_line(model, photo):
    command = 'exec "$0" -m edgepose run "$1" --model "$2" --json - >&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(photo), model], check=False, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("edgepose: -: cannot be written: standard output is closed")
    assert done.stderr.count("\n") == 1


def test_from_another_folder_as_a_command(model, photo, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "edgepose", "run", str(photo), "--model", model, "--json", "-"],
        cwd=tmp_path, env={**os.environ, "EDGEPOSE_MODELS": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["poses"] == []
    assert done.stderr.count("\n") == 1  # the summary: no progress bar where there is no terminal


def test_the_module_is_the_command(tmp_path):
    for arguments, said in ((["--version"], f"edgepose {edgepose.__version__}\n"), (["--help"], "usage: edgepose ")):
        done = subprocess.run([sys.executable, "-m", "edgepose", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(said)


def test_import_is_lazy():
    script = "import sys, edgepose; edgepose.Poses.empty(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "openvino", "numba"} & set(done.stdout.split())


def test_a_run_loads_nothing_that_it_does_not_use(model, photo, tmp_path):
    script = (
        "import sys; from edgepose.cli.main import main; status = main(sys.argv[1:]); print(*sys.modules)\n"
        "try: print(open('/proc/self/maps').read())\n"
        "except FileNotFoundError: pass\n"
        "sys.exit(status)"
    )
    arguments = ["run", str(photo), "--model", model, "--json", str(tmp_path / "o.json")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    modules, _, libraries = done.stdout.partition("\n")
    unused = {"torch", "scipy.linalg", "openvino.tools.ovc", "skimage", "requests", "starlette", "filelock", "asyncio"}
    assert not unused & set(modules.split())
    for plugin in ("intel_gpu_plugin", "intel_npu_plugin", "onnx_frontend"):
        assert plugin not in libraries
