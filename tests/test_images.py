"""Reading and writing one picture: formats, depths, transparency, orientation, and all that is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encode, oriented, quadrants

from edgepose.errors import InputError, OutputError, SourceError
from edgepose.media import images
from edgepose.media.images import IMAGE_SUFFIXES, MAX_PIXELS, check_image, read_image, write_image

FORMATS = [".jpg", ".png", ".webp", ".bmp", ".tiff"]
# A stored picture as it is to be seen, from the words of EXIF 2.32: where its first row and column belong.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}


def assert_same(image: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: int) -> None:
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert image.flags.c_contiguous
    # Away from the edges of the quarters, where JPEG rings.
    difference = np.abs(image.astype(int) - expected)
    assert np.percentile(difference, 80) <= tolerance


@pytest.mark.parametrize("suffix", FORMATS)
def test_colour(suffix: str) -> None:
    assert_same(read_image(encode(suffix, quadrants())), quadrants(), 3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_grey_becomes_three_equal_channels(suffix: str) -> None:
    grey = quadrants()[..., 0].copy()
    assert_same(read_image(encode(suffix, grey)), np.dstack([grey] * 3), 3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_transparency_is_laid_on_white(suffix: str) -> None:
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:, 16:32], alpha[:, 32:] = 128, 255
    expected = quadrants()
    expected[:, :16] = 255
    expected[:, 16:32] = np.rint(expected[:, 16:32] * (128 / 255) + 127)
    assert_same(read_image(encode(suffix, np.dstack([quadrants(), alpha]))), expected, 1)


def test_a_fourth_channel_of_nothing_is_ignored() -> None:
    assert_same(read_image(encode(".png", np.dstack([quadrants(), np.zeros((32, 48), np.uint8)]))), quadrants(), 0)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled(suffix: str, channels: int) -> None:
    wide = quadrants().astype(np.uint16) * 257
    stored = {1: wide[..., 0].copy(), 3: wide, 4: np.dstack([wide, np.full((32, 48), 65535, np.uint16)])}[channels]
    expected = np.dstack([quadrants()[..., 0]] * 3) if channels == 1 else quadrants()
    assert_same(read_image(encode(suffix, stored)), expected, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_tiff_is_refused_with_what_is_expected(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "float.tiff"
    path.write_bytes(encode(".tiff", (quadrants() / 255).astype(dtype)))
    with pytest.raises(SourceError, match=rf"float\.tiff: an image of {np.dtype(dtype)}; expected uint8 or uint16"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(suffix: str, orientation: int) -> None:
    image = read_image(oriented(suffix, quadrants(), orientation))
    assert_same(image, UPRIGHT[orientation](quadrants()), 3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_turn_as_opencv_turns_them(orientation: int) -> None:
    data = oriented(".jpg", quadrants(), orientation)
    np.testing.assert_array_equal(read_image(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_transparent_pictures_turn_too() -> None:
    image = np.dstack([quadrants(), np.full((32, 48), 255, np.uint8)])
    assert_same(read_image(oriented(".png", image, 6)), np.rot90(quadrants(), -1), 0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_pixel(suffix: str) -> None:
    image = np.full((1, 1, 3), (10, 120, 240), np.uint8)
    assert_same(read_image(encode(suffix, image)), image, 3)


@pytest.mark.parametrize("name", ["photo.png", "Größe – 写真 🙂.png", "with space.PNG"])
def test_any_file_name_there_and_back(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, quadrants())
    np.testing.assert_array_equal(read_image(tmp_path / name), quadrants())
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), quadrants())
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(SourceError, match=r"holidya\.jpg: no such file or folder; did you mean .*holiday\.jpg\?$"):
        read_image(tmp_path / "holidya.jpg")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file, nor a folder .*nowhere"):
        read_image(tmp_path / "nowhere" / "a.jpg")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a folder; expected an image file"):
        read_image(tmp_path)


@pytest.mark.parametrize("data", [b"", b"This is not an image at all.", b"\x00" * 100])
def test_what_is_not_an_image(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.jpg: (empty|not an image).*expected a JPEG, PNG, WebP, BMP or TIFF"):
        read_image(path)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_a_truncated_image_is_refused(suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(suffix, noise)
    with pytest.raises(SourceError, match=r"truncated|damaged"):
        read_image(data[: int(kept * len(data))])


def test_a_damaged_image_is_refused() -> None:
    data = bytearray(encode(".png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    with pytest.raises(SourceError, match="damaged"):
        read_image(bytes(data))


def enlarged(suffix: str, side: int) -> bytes:
    """A small file whose header claims `side` x `side` pixels."""
    data = bytearray(encode(suffix, quadrants()))
    if suffix == ".png":
        struct.pack_into(">II", data, 16, side, side)
    elif suffix == ".jpg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    elif suffix == ".bmp":
        struct.pack_into("<ii", data, 18, side, -side)
    elif suffix == ".webp":
        struct.pack_into("<I", data, 21, (side - 1) | (side - 1) << 14)
    else:
        directory = struct.unpack_from("<I", data, 4)[0] + 2
        for entry in range(directory, directory + 24, 12):
            assert struct.unpack_from("<H", data, entry)[0] in (256, 257)
            struct.pack_into("<HII", data, entry + 2, 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize(
    ("suffix", "side"), [(".png", 20_000), (".jpg", 20_000), (".bmp", 20_000), (".tiff", 20_000), (".webp", 16_000)]
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(suffix: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SourceError, match=f"{side} x {side} = {side * side:,} pixels; expected 1 to {MAX_PIXELS:,}"):
        read_image(enlarged(suffix, side))


def test_a_file_too_large_to_be_an_image_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(images.MAX_FILE_BYTES + 1)
    with pytest.raises(SourceError, match="1,073,741,825 bytes; expected an image of at most"):
        read_image(path)


@pytest.mark.parametrize("name", ["a\0b.jpg", "a" * 300 + ".jpg"])
def test_impossible_names(name: str) -> None:
    with pytest.raises(SourceError):
        read_image(name)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_suffix_can_be_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / "folder" / f"a{suffix.upper()}"
    write_image(path, quadrants())
    assert_same(read_image(path), quadrants(), 12)


@pytest.mark.parametrize("name", ["a.gif", "a", "a.mp4"])
def test_unknown_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"unknown image suffix .*; expected one of \.jpg, "):
        write_image(tmp_path / name, quadrants())


def test_a_picture_that_the_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.webp cannot hold a picture of 17000 x 1 pixels"):
        write_image(tmp_path / "wide.webp", np.zeros((1, 17_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.jpg", "got str; expected an image .* as a numpy array"),
        (np.zeros((4, 4, 3), np.float32), r"got an array \(4, 4, 3\) of float32; expected .* uint8 BGR; scale it"),
        (np.full((4, 4, 3), np.nan), "of float64; expected .* replace NaN"),
        (np.zeros((4, 4, 3), np.int64), "of int64; expected"),
        (np.zeros((4, 4), np.uint8), r"got an array \(4, 4\) of uint8; expected .*COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 4), np.uint8), r"got an array \(4, 4, 4\) of uint8; expected"),
        (np.zeros((0, 4, 3), np.uint8), r"got an array \(0, 4, 3\) of uint8; expected"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got an array \(2, 4, 4, 3\)"),
        (None, "got NoneType"),
    ],
    ids=["path", "float", "nan", "int64", "grey", "bgra", "empty", "batch", "none"],
)
def test_check_image_says_what_came_and_what_was_expected(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_image(image)


def test_check_image_takes_views() -> None:
    check_image(quadrants()[::2, ::-1])
