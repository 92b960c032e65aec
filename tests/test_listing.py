"""What folders and patterns hold, and the names of results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepose.media.listing import Input, list_inputs, local_name, result_paths


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures, videos and others, in folders of folders, with links that lead round in a circle."""
    for name in ("a10.jpg", "a2.jpg", "b.mp4", "notes.txt", ".hidden.jpg", "sub/c.mov", "sub/deep/d.webm", "e.HEIC"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "in" / "again").symlink_to("sub")
    (tmp_path / "in" / "sub" / "up").symlink_to("..")
    return tmp_path / "in"


def places(sources: list[str], **options: object) -> list[str]:
    return [str(each.place) for each in list_inputs(sources, **options).inputs]  # type: ignore[arg-type]


def test_a_folder_in_natural_order(tree: Path) -> None:
    listing = list_inputs([str(tree)])
    assert [str(each.place) for each in listing.inputs] == ["a2.jpg", "a10.jpg", "b.mp4", "e.HEIC"]
    assert listing.passed_over == [str(tree / "notes.txt")]
    assert listing.is_collection


def test_folders_of_folders_each_once_and_at_its_own_place(tree: Path) -> None:
    assert places([str(tree)], recursive=True) == ["a2.jpg", "a10.jpg", "b.mp4", "e.HEIC", "sub/c.mov", "sub/deep/d.webm"]


def test_results_are_not_read_again(tree: Path) -> None:
    assert places([str(tree)], recursive=True, without=[tree / "sub"]) == ["a2.jpg", "a10.jpg", "b.mp4", "e.HEIC"]


def test_a_pattern(tree: Path) -> None:
    assert places([f"{tree}/*"]) == ["a2.jpg", "a10.jpg", "again/c.mov", "b.mp4", "e.HEIC", "sub/c.mov"]
    assert places([f"{tree}/a*.jpg"]) == ["a2.jpg", "a10.jpg"]
    assert "sub/deep/d.webm" in places([f"{tree}/**/*.webm"])


def test_a_file_that_is_named_twice_is_one_input(tree: Path) -> None:
    assert places([str(tree / "b.mp4"), str(tree), f"{tree}/./b.mp4"]).count("b.mp4") == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [("empty", "no images in this folder"), ("empty/*.jpg", "matches no files"), ("*.txt", "1 files, none of them an image")],
)
def test_nothing_to_read(tree: Path, source: str, reason: str) -> None:
    (tree / "empty").mkdir()
    listing = list_inputs([str(tree / source)])
    assert not listing.inputs
    assert reason in listing.missing[0][1]


def test_a_home_and_a_folder_that_looks_like_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert local_name("~/*.jpg") == f"{tmp_path}/*.jpg"
    assert local_name("2024") == "2024"
    (tmp_path / "2024").mkdir()
    (tmp_path / "0").write_bytes(b"")
    assert local_name("2024") == os.path.join(".", "2024")
    assert local_name("0") == "0"  # A file of this name is there by accident, and the camera is meant.


def test_names_of_results_mirror_and_never_meet() -> None:
    names = ["a.jpg", "b/a.jpg", "x.mov", "x.avi", "X.MKV", "same.jpg", "same.jpg.mp4", "same"]
    inputs = [Input(f"{n}/{name}", Path(name)) for n, name in enumerate(names)]
    paths = result_paths(inputs, Path("out"), lambda each: ".jpg" if each.is_picture else ".mp4")
    found = [str(paths[each.source]) for each in inputs]
    assert found[:2] == ["out/a.jpg", "out/b/a.jpg"]
    assert found[2:5] == ["out/x.mov.mp4", "out/x.avi.mp4", "out/X.MKV.mp4"]
    assert len({name.casefold() for name in found}) == len(found)


def test_addresses_get_names_of_files() -> None:
    (one,) = list_inputs(["https://user:secret@host/a/b.mp4?token=x"]).inputs
    assert "secret" not in str(one.place)
    assert "token" not in str(one.place)
    assert one.place.parent == Path()
