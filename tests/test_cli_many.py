"""`edgepose run` over many files: names of results, one list for all, and files that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from command_line import failure, run, write_video


@pytest.fixture
def folder(photo: Path, tmp_path: Path) -> Path:
    """Two pictures and two videos, one of each in a folder of its own, and a text."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(photo.read_bytes())
    write_video(folder / "a.avi", 3)
    write_video(folder / "sub" / "clip.avi", 2)
    (folder / "notes.txt").write_text("none of these")
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_results_mirror_what_is_read(model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    out, poses = tmp_path / "out", tmp_path / "poses"
    assert run("run", folder, "--recursive", "--model", model, "--save", out, "--json", poses) == 0
    assert tree(out) == ["a.mp4", "a.png", "sub/b.png", "sub/clip.mp4"]
    assert tree(poses) == ["a.json", "a.jsonl", "sub/b.json", "sub/clip.jsonl"]
    assert isinstance(json.loads((poses / "a.json").read_text()), dict)
    assert len((poses / "sub" / "clip.jsonl").read_text().splitlines()) == 2
    said = capsys.readouterr().err
    assert "4 files: 7 frames" in said
    assert f"passed over 1 file that is neither pictures nor videos: {folder / 'notes.txt'}" in said


def test_several_sources_in_one_file_are_a_list(model: str, folder: Path, tmp_path: Path) -> None:
    for sources in ([folder / "a.png", folder / "a.avi"], [folder / "a.png", tmp_path / "absent.png"], [folder]):
        run("run", *sources, "--model", model, "--json", tmp_path / "all.json", "--max-frames", 2)
        found = json.loads((tmp_path / "all.json").read_text())
        assert isinstance(found, list)
        assert {each["image"]["path"] for each in found} <= {str(folder / "a.png"), str(folder / "a.avi")}
    assert len(found) == 3  # Two frames of the video at most.


def test_a_folder_of_one_picture_is_a_list(model: str, folder: Path, tmp_path: Path) -> None:
    (folder / "a.avi").unlink()
    assert run("run", folder, "--model", model, "--json", tmp_path / "o.json") == 0
    assert len(json.loads((tmp_path / "o.json").read_text())) == 1


def test_every_source_has_frames_of_its_own(model: str, folder: Path, tmp_path: Path) -> None:
    arguments = ["--every", 2, "--start", "0.04", "--end", "0:01"]
    assert run("run", folder / "a.avi", folder / "sub" / "clip.avi", "--model", model, "--json", tmp_path, *arguments) == 0
    for name, indices in (("a.jsonl", [1]), ("clip.jsonl", [1])):
        lines = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert [line["frame"] for line in lines] == indices


def test_a_broken_file_among_many_costs_a_line(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    (folder / "broken.mp4").write_bytes(b"\x13\x37" * 500)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out"
    assert run("run", folder, tmp_path / "absent.mp4", "--model", model, "--save", out) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert [line.split(": ")[1] for line in lines] == [
        f"skipped {folder / 'broken.mp4'}",
        f"skipped {folder / 'broken.png'}",
        f"skipped {tmp_path / 'absent.mp4'}",
    ]
    assert tree(out) == ["a.mp4", "a.png"]


def test_older_results_stay_where_nothing_can_be_read(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    (tmp_path / "o.json").write_text("yesterday's")
    assert run("run", tmp_path / "a.mp4", tmp_path / "b.png", "--model", model, "--json", tmp_path / "o.json") == 1
    assert "nothing can be read of 2 files" in failure(capsys)
    assert (tmp_path / "o.json").read_text() == "yesterday's"


@pytest.mark.parametrize("way", ["itself", "hard link", "symbolic link"])
def test_none_of_many_sources_is_an_output(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any], way: str
) -> None:
    out = folder if way == "itself" else tmp_path / "out"
    if way == "hard link":
        out.mkdir()
        (out / "a.png").hardlink_to(folder / "sub" / "b.png")
    elif way == "symbolic link":
        out.symlink_to(folder)
    before = {name: (folder / name).read_bytes() for name in tree(folder)}
    assert run("run", folder, "--recursive", "--model", model, "--save", out) == 1
    assert "is the source itself" in failure(capsys)
    assert {name: (folder / name).read_bytes() for name in tree(folder)} == before


def test_a_file_of_json_is_no_source(model: str, folder: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    before = (folder / "a.avi").read_bytes()
    (folder / "s.ts").hardlink_to(folder / "a.avi")
    assert run("run", folder / "a.avi", folder / "a.png", "--model", model, "--json", folder / "s.ts") == 1
    assert "is the source itself" in failure(capsys)
    assert (folder / "a.avi").read_bytes() == before


@pytest.mark.parametrize("name", ["one.mp4", "one.jpg"])
def test_one_file_cannot_hold_many(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any], name: str
) -> None:
    assert run("run", folder, "--model", model, "--save", tmp_path / name) == 1
    assert "give a folder" in failure(capsys)


def test_openpose_has_a_file_for_each_frame_of_each_source(model: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("run", folder, "--recursive", "--model", model, "--json", out, "--format", "openpose") == 0
    names = tree(out)
    assert "a_keypoints.json" in names
    assert len([name for name in names if name.startswith("a/")]) == 3
    assert len([name for name in names if name.startswith("sub/clip/")]) == 2


def test_two_sources_of_one_name_get_two_results(model: str, folder: Path, tmp_path: Path) -> None:
    write_video(folder / "a.mkv", 2)
    out = tmp_path / "out"
    assert run("run", folder / "a.avi", folder / "a.mkv", "--model", model, "--save", out) == 0
    assert tree(out) == ["a.avi.mp4", "a.mkv.mp4"]
    assert cv2.VideoCapture(str(out / "a.mkv.mp4")).read()[0]


@pytest.mark.parametrize(
    ("time", "taken"), [("1:75", False), ("-1", False), ("nan", False), ("1:2:3:4", False), ("1:02:03.5", True)]
)
def test_times(model: str, folder: Path, time: str, taken: bool, capsys: pytest.CaptureFixture[Any]) -> None:
    status = run("run", folder / "a.avi", "--model", model, f"--end={time}")
    assert status == (0 if taken else 2)
    assert taken or "such as 90.5 or 1:30.5" in capsys.readouterr().err


def test_a_codec_without_a_video_is_refused(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    for more in ([], ["--recursive", "--json", tmp_path / "o"]):
        assert run("run", folder, "--model", model, "--codec", "h264", *more) == 1
        assert "codec is h264, and no video is saved" in failure(capsys)
