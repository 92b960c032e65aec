"""Headers of image files: size, orientation, and whether all of the file is there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures import encode, exif, oriented, quadrants

from edgepose.media.headers import Header, read_header

FORMATS = [".jpg", ".png", ".webp", ".bmp", ".tiff"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_size(suffix: str) -> None:
    assert read_header(encode(suffix, quadrants(30, 52))) == Header(52, 30)


def test_size_of_both_kinds_of_webp() -> None:
    lossy = cv2.imencode(".webp", quadrants(30, 52), [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    lossless = cv2.imencode(".webp", quadrants(30, 52), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    assert (lossy[12:16], lossless[12:16]) == (b"VP8 ", b"VP8L")
    assert read_header(lossy) == read_header(lossless) == Header(52, 30)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(suffix: str, orientation: int) -> None:
    assert read_header(oriented(suffix, quadrants(30, 52), orientation)) == Header(52, 30, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    assert read_header(oriented(".jpg", quadrants(), orientation)) == Header(48, 32)


def test_damaged_exif_does_not_spoil_the_picture() -> None:
    data = oriented(".jpg", quadrants(), 6).replace(exif(6)[:8], b"II*\0\xff\xff\xff\x7f")
    assert read_header(data) == Header(48, 32)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("missing", [1, 10, 100])
def test_a_file_without_its_end_is_not_whole(suffix: str, missing: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    header = read_header(encode(suffix, noise)[:-missing])
    assert header is not None
    assert not header.whole


def test_what_phones_append_to_a_jpeg_is_no_matter() -> None:
    header = read_header(encode(".jpg", quadrants()) + bytes(1000))
    assert header == Header(48, 32)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    data = oriented(".jpg", quadrants(), 1)
    thumbnail = encode(".jpg", quadrants(8, 8))
    length = int.from_bytes(data[4:6], "big")
    with_thumbnail = (
        data[:4] + (length + len(thumbnail)).to_bytes(2, "big") + data[6 : 4 + length] + thumbnail + data[4 + length :]
    )
    assert read_header(with_thumbnail) == Header(48, 32)
    assert read_header(with_thumbnail[:-2]) == Header(48, 32, whole=False)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_cut_header_is_said_to_be_one(suffix: str) -> None:
    with pytest.raises(ValueError, match="cut short or damaged"):
        read_header(encode(suffix, quadrants())[:12])


@pytest.mark.parametrize("data", [b"", b"text", b"RIFF\x10\0\0\0WAVEfmt ", b"GIF89a" + bytes(50)])
def test_other_files_have_no_header(data: bytes) -> None:
    assert read_header(data) is None
