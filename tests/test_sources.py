"""Everything that frames come from: files, folders, patterns, arrays, and what cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encode, quadrants, write_video

from edgepose.errors import InputError, SourceError
from edgepose.media.sources import Frame, open_source, source_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images, bad ones and other files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("10.jpg", "9.png", "2.JPG", "Baum.webp", "apfel.bmp", "zebra.tif"):
        (folder / name).write_bytes(encode({".JPG": ".jpg", ".tif": ".tiff"}.get(name[-4:], Path(name).suffix), quadrants()))
    (folder / "3.jpg").write_bytes(b"")
    (folder / "4.jpg").write_bytes(encode(".jpg", quadrants())[:-40])
    (folder / "._9.png").write_bytes(b"what macOS leaves behind")
    (folder / "notes.txt").write_text("none of our business")
    (folder / "folder.jpg").mkdir()
    return folder


def read(source: object, **options: int) -> list[Frame]:
    with open_source(source, **options) as frames:  # type: ignore[arg-type]
        return list(frames)


def test_an_image_file(photos: Path) -> None:
    with open_source(photos / "9.png") as source:
        assert (source.kind, source.name, source.is_live, source.fps, source.total) == (
            "images",
            str(photos / "9.png"),
            False,
            None,
            1,
        )
        (frame,) = source
    np.testing.assert_array_equal(frame.image, quadrants())
    assert (frame.index, frame.timestamp, frame.path) == (0, 0.0, str(photos / "9.png"))


def test_a_folder_in_natural_order_with_bad_ones_passed_over(photos: Path) -> None:
    with open_source(str(photos)) as source:
        frames = list(source)
    assert [Path(f.path).name for f in frames] == ["2.JPG", "9.png", "10.jpg", "apfel.bmp", "Baum.webp", "zebra.tif"]
    assert [f.index for f in frames] == list(range(6))
    assert (source.kind, source.total) == ("images", 8)
    assert [Path(path).name for path, _ in source.skipped] == ["3.jpg", "4.jpg"]
    assert source.skipped[0][1].startswith("empty; expected")
    assert source.skipped[1][1].startswith("truncated image")


def test_a_pattern(photos: Path) -> None:
    with open_source(f"{photos}/[0-9]*.*") as source:
        assert [Path(f.path).name for f in source] == ["2.JPG", "9.png", "10.jpg"]
        assert len(source.skipped) == 2


def test_a_file_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(encode(".png", quadrants()))
    assert len(read(str(tmp_path / "a[1].png"))) == 1


def test_a_bad_image_that_was_asked_for_by_name_is_an_error(photos: Path) -> None:
    with open_source(photos / "3.jpg") as source, pytest.raises(SourceError, match=r"3\.jpg: empty"):
        list(source)


@pytest.mark.parametrize("images", [[quadrants(), quadrants(8, 8)], (quadrants(), quadrants(8, 8))], ids=["list", "tuple"])
def test_arrays(images: list[NDArray[np.uint8]]) -> None:
    with open_source(images) as source:
        assert (source.kind, source.total, source.fps) == ("images", 2, None)
        frames = list(source)
    assert [f.image.shape for f in frames] == [(32, 48, 3), (8, 8, 3)]
    assert [f.index for f in frames] == [0, 1]


def test_one_array_is_one_image_and_four_dimensions_are_several() -> None:
    assert len(read(quadrants())) == 1
    assert len(read(np.stack([quadrants()] * 3))) == 3


def test_a_generator_is_read_as_needed() -> None:
    made = 0

    def images() -> Iterator[NDArray[np.uint8]]:
        nonlocal made
        while True:
            made += 1
            yield quadrants()

    assert len(read(images(), max_frames=3)) == 3
    assert made == 3


def test_an_array_that_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"of float64; expected an image \(H, W, 3\) uint8 BGR"):
        read([np.zeros((4, 4, 3))])


@pytest.mark.parametrize("limit", [0, 1, 7, 100])
@pytest.mark.parametrize("kind", ["folder", "video", "arrays"])
def test_max_frames(photos: Path, kind: str, limit: int) -> None:
    source = {"folder": photos, "video": photos / "clip.mp4", "arrays": [quadrants()] * 10}[kind]
    there = {"folder": 6, "video": 10, "arrays": 10}[kind]
    if kind == "video":
        write_video(photos / "clip.mp4", 10)
    with open_source(source, max_frames=limit) as frames:  # type: ignore[arg-type]
        assert frames.total == min(limit, {"folder": 8}.get(kind, there))
        assert len(list(frames)) == min(limit, there)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(InputError, match="max_frames is -1; expected 0 or more"):
        open_source([], max_frames=-1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{tmp}/nothing.mp4", r"nothing\.mp4: no such file or folder$"),
        ("{tmp}/clip.avi", r"clip\.avi: no such file or folder; did you mean .*clip\.mp4\?$"),
        ("{tmp}/nowhere/clip.mp4", r"no such file, nor a folder .*nowhere$"),
        ("{tmp}", r"no images in this folder; expected files named \.jpg, \.jpeg, \.png"),
        ("{tmp}/*.jpg", r"\*\.jpg: this pattern matches no files; expected at least one image"),
        ("{tmp}/*.mp4", r"\*\.mp4: this pattern matches 1 files, none of them an image"),
        ("", "the source is empty; expected a file"),
        ("a" * 5000, "cannot be opened: File name too long"),
        ("http://[1.2/", r"not an address that can be opened: Invalid IPv6 URL"),
        ("rtsp://127.0.0.1:9/stream", r"^rtsp://127\.0\.0\.1:9/stream cannot be opened; check the address"),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(SourceError, match=message) as caught:
        open_source(source.replace("{tmp}", str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_what_is_no_source_at_all() -> None:
    with pytest.raises(
        InputError, match=r"got NoneType; expected a path, .*; cv2\.imread gives None for a file that it cannot"
    ):
        open_source(None)  # type: ignore[arg-type]
    with open_source([None]) as source, pytest.raises(InputError, match=r"got NoneType; .*; cv2\.imread gives None"):  # type: ignore[list-item]
        list(source)


def test_a_folder_may_be_called_2024(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("2024", "7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encode(".png", quadrants()))
    assert len(read("2024")) == len(read("./7")) == 1
    assert source_files("2024") == [Path("2024/a.png")]
    with pytest.raises(SourceError, match=r"camera 7 cannot be opened .*a file \(\./7 for what has this name\)"):
        open_source("7")
    with pytest.raises(SourceError, match="there is no camera 2025"):
        open_source("2025")


def test_home_in_a_quoted_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.png").write_bytes(encode(".png", quadrants()))
    for source in ("~/*.png", "~/a.png", "~"):
        assert len(read(source)) == 1
        assert source_files(source) == [tmp_path / "a.png"]


def test_pictures_of_phones_are_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.avif", "d.hif"):
        (tmp_path / name).write_bytes(b"no picture")
    with open_source(tmp_path) as source:
        assert list(source) == []
    assert [reason.partition(";")[0] for _, reason in source.skipped] == ["not an image that can be read"] * 4
