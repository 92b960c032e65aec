"""Outputs of every command: a source or a model is never one, and what fails at the beginning touches nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import failure, run, spellings, write_video


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
