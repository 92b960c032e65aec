"""Outputs are checked before anything is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgepose.errors import OutputError
from edgepose.media import outputs
from edgepose.media.outputs import check_apart, check_file, check_folder, spare_source
from edgepose.media.sources import source_files


def test_the_source_is_spared(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    spare_source(path, str(path))  # Neither is there: nothing to lose.
    path.touch()
    (tmp_path / "link.jpg").symlink_to(path)
    spare_source(path, "camera 0")
    for same in (path, tmp_path / "link.jpg"):
        with pytest.raises(OutputError, match="is the source itself"):
            spare_source(same, str(path))


def test_a_source_given_as_the_folder_is_named_as_the_source(tmp_path: Path) -> None:
    source = tmp_path / "clip.ts"
    source.touch()
    with pytest.raises(OutputError, match="is the source itself"):
        check_folder(source, [source], [".jpg"])


def test_a_file_system_that_does_not_tell_letters_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "Clip.ts"
    source.touch()
    status = outputs._status
    monkeypatch.setattr(outputs, "_status", lambda path: status(path.with_name("Clip.ts")))  # As such a system answers.
    with pytest.raises(OutputError, match="is the source itself"):
        check_file(tmp_path / "CLIP.TS", [source])


def test_a_file_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    for path in (tmp_path / "old", tmp_path / "new", tmp_path / "a" / "b" / "new", Path("new"), Path(os.devnull)):
        check_file(path, [tmp_path / "source"])
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Is a directory; give the name of a file"),
        ("file/new", "file: cannot be written: File exists"),
        ("file/a/b/new", "file: cannot be written: File exists"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
    ],
    ids=["folder", "below a file", "far below a file", "long", "NUL"],
)
def test_a_file_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=message):
        check_file(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is write-protected from root")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for check in (check_file, check_folder):
        with pytest.raises(OutputError, match="no right to write"):
            check(tmp_path / "a" / "b")
    tmp_path.chmod(0o700)


def test_a_disk_is_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs.stat, "S_ISBLK", lambda _: True)
    (tmp_path / "sda").touch()
    with pytest.raises(OutputError, match="is a disk"):
        check_file(tmp_path / "sda")


def test_a_folder_with_a_source_in_it(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.touch()
    check_folder(tmp_path, [source], (".json",))
    check_folder(tmp_path / "new", [source], (".jpg",))
    with pytest.raises(OutputError, match=r"a\.jpg: is the source itself; give another folder"):
        check_folder(tmp_path, [source], (".jpg",))


def test_two_outputs(tmp_path: Path) -> None:
    check_apart(tmp_path / "a.json", tmp_path / "a")
    check_apart(tmp_path / "a" / "b.json", tmp_path / "a")  # A file in a folder of pictures.
    for other in (tmp_path / "a", tmp_path / "b" / ".." / "a", tmp_path / "a" / "pictures"):
        with pytest.raises(OutputError, match="each its own name"):
            check_apart(tmp_path / "a", other)


def test_the_files_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "a.jpg", "note.txt", "clip.mp4"):
        (tmp_path / name).touch()
    a, b, clip = (tmp_path / name for name in ("a.jpg", "b.jpg", "clip.mp4"))
    assert source_files(tmp_path) == source_files(f"{tmp_path}/*.jpg") == [a, b]
    assert source_files(clip) == source_files(str(clip)) == [clip]
    assert clip in source_files(f"file://{clip}")
    assert clip in source_files(f'filesrc location="{clip}" ! decodebin ! appsink')
    assert clip in source_files(f"filesrc location={clip} ! decodebin ! appsink")
    assert Path("/dev/video3") in source_files(3)
    assert Path("/dev/video3") in source_files("3")
    assert Path("/dev/video3") in source_files("/dev/video3")
    nones: tuple[Any, ...] = ([], "rtsp://10.0.0.1/live", None)
    for none in nones:
        assert source_files(none) == []
