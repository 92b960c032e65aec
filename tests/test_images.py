"""Reading and writing one picture: formats, depths, transparency, orientation, and all that is refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encode, grey_tiff, oriented, png_chunk, quadrants

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


def test_a_picture_that_differs_from_its_header_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a parser here and a decoder ever take a file for two things."""
    monkeypatch.setattr(images, "read_header", lambda _: images.Header(10, 10))
    with pytest.raises(SourceError, match="damaged image: its header says 10 x 10 pixels, its picture 48 x 32"):
        read_image(encode(".png", quadrants()))


@pytest.mark.parametrize("width", [(256, 3, 1, 13_000), (256, 4, 1, 13_000), (256, 9, 1, 13_000)])
def test_the_second_width_of_a_tiff_hides_no_bomb(width: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SourceError, match="13000 x 13000 = 169,000,000 pixels"):
        read_image(grey_tiff(100, 100, width, (257, *width[1:])))


def test_wide_samples_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel of them takes 32 bytes."""
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SourceError, match="an image of float64; expected uint8 or uint16 samples"):
        read_image(encode(".tiff", quadrants() / 255))


def test_text_in_a_png_is_never_unpacked() -> None:
    data = encode(".png", quadrants())
    bomb = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_000_000)))  # OpenCV 5 takes a minute for a thousand.
    began = time.process_time()
    np.testing.assert_array_equal(read_image(data[:33] + bomb * 200 + data[33:]), quadrants())
    assert time.process_time() - began < 1


def test_an_animated_png_is_its_still_picture() -> None:
    data = encode(".png", quadrants())
    control = struct.pack(">5I2H2B", 0, 48, 32, 0, 0, 1, 10, 0, 0)
    # Decoders that go by it write beyond the picture: the offset and the width add up to few pixels in 32 bits.
    outside = struct.pack(">5I2H2B", 1, 0x20, 32, 0xFFFFFFF0, 0, 1, 10, 0, 0)
    other = zlib.compress(b"\0" * (32 * (48 * 3 + 1)))
    before = png_chunk(b"acTL", struct.pack(">II", 3, 0))
    after = png_chunk(b"fcTL", control) + png_chunk(b"fdAT", struct.pack(">I", 2) + other) + png_chunk(b"fcTL", outside)
    np.testing.assert_array_equal(read_image(data[:33] + before + data[33:-12] + after + data[-12:]), quadrants())


def test_transparency_is_laid_on_white_whatever_the_height() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (151, 5, 4), np.uint8)
    colour, alpha = noise[..., :3].astype(int), noise[..., 3:].astype(int)
    np.testing.assert_array_equal(read_image(encode(".png", noise)), (colour * alpha + (255 - alpha) * 255 + 127) // 255)


BOUNDED = """
import resource, sys
from edgepose.errors import SourceError
from edgepose.media.images import MAX_PIXELS, read_image
assert MAX_PIXELS == 1_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_image(path)
    except SourceError:
        pass
    else:
        sys.exit(path)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_pictures_that_mean_harm_take_no_memory(tmp_path: Path) -> None:
    files = {
        "two_sizes.tiff": grey_tiff(100, 100, (257, 3, 1, 13_000), (256, 3, 1, 13_000)),
        "signed.tiff": grey_tiff(100, 100, (257, 9, 1, 13_000), (256, 9, 1, 13_000)),
        **{f"large{suffix}": enlarged(suffix, 13_000) for suffix in FORMATS},
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", BOUNDED, *(str(tmp_path / name) for name in files)],
        env={**os.environ, images.OPENCV_BOUND: "1000000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 50  # Megabytes; one of them decoded takes 500.
