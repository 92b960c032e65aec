"""Headers of image files: size, orientation, and whether all of the file is there."""

from __future__ import annotations

import struct
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest
from pictures import encode, exif, grey_tiff, oriented, png_chunk, quadrants, tiff

from edgepose.media.headers import Header, bare, read_header

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


# Entries (tag, type, count, value) before the true ones; the place of what comes after the directory is 134.
LYING_TIFFS = [
    ("two widths", (256, 3, 1, 9000), b"", 9000),
    ("a small one first", (256, 3, 1, 5), b"", 5),
    ("BYTE", (256, 1, 1, 200), b"", 200),
    ("SBYTE", (256, 6, 1, 100), b"", 100),
    ("SSHORT", (256, 8, 1, 9000), b"", 9000),
    ("SLONG", (256, 9, 1, 9000), b"", 9000),
    ("LONG8", (256, 16, 1, 134), struct.pack("<Q", 9000), 9000),
    ("SLONG8", (256, 17, 1, 134), struct.pack("<q", 9000), 9000),
]


@pytest.mark.parametrize(("entry", "after", "width"), [row[1:] for row in LYING_TIFFS], ids=[row[0] for row in LYING_TIFFS])
def test_the_width_of_a_tiff_is_what_libtiff_takes_for_it(entry, after, width):
    data = grey_tiff(64, 48, entry, after=after)
    assert data.index(after, 134) == 134
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read_header(data) == Header(width, 48)
    assert decoded is None or decoded.shape == (48, width)


@pytest.mark.parametrize("kind", [0, 2, 5, 7, 10, 11, 12, 13, 99])
def test_a_width_of_a_tiff_that_is_no_whole_number_is_none(kind):
    assert read_header(grey_tiff(64, 48, (256, kind, 1, 134), after=bytes(8))) == Header(0, 48)


def test_numbers_of_a_tiff_in_either_order_of_bytes():
    for order in "<>":
        entries = (256, 3, 1, 640), (257, 4, 1, 480), (258, 3, 3, 8 + 2 + 3 * 12 + 4)
        data = tiff(*entries, order=order, after=struct.pack(f"{order}3H", 8, 8, 8))
        assert read_header(data) == Header(640, 480)


def test_only_the_first_picture_of_a_tiff_counts():
    first = grey_tiff(64, 48)
    end = 8 + 2 + 12 * 9
    other = tiff((256, 3, 1, 30_000), (257, 3, 1, 30_000))
    data = first[:end] + struct.pack("<I", len(first) - 8 + 8) + first[end + 4 :] + other[8:]
    assert read_header(data) == Header(64, 48)


def test_big_tiffs_are_not_taken():
    assert read_header(b"II+\0\x08\0\0\0" + bytes(50)) is None
    assert read_header(b"MM\0+\0\x08\0\0" + bytes(50)) is None


def test_tiles_larger_than_the_picture_are_refused():
    assert read_header(tiff((256, 3, 1, 10), (257, 3, 1, 10), (322, 3, 1, 512), (323, 3, 1, 512))) == Header(10, 10)
    with pytest.raises(ValueError, match="damaged"):
        read_header(tiff((256, 3, 1, 10), (257, 3, 1, 10), (322, 3, 1, 16_384), (323, 3, 1, 16_384)))


@pytest.mark.parametrize(
    ("bits", "kind", "colour", "samples"),
    [
        (8, 1, 1, None),
        (16, 1, 1, None),
        (32, 3, 1, "float32"),
        (64, 3, 1, "float64"),
        (32, 1, 1, "uint32"),
        (16, 2, 32845, "float32"),
    ],
)
def test_samples_of_a_tiff_that_are_too_large_are_named(bits, kind, colour, samples):
    header = read_header(tiff((256, 3, 1, 9), (257, 3, 1, 9), (258, 3, 1, bits), (262, 3, 1, colour), (339, 3, 1, kind)))
    assert header is not None
    assert header.samples == samples


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    """The frame header of a grey JPEG."""
    return struct.pack(">BBHBHHBBBB", 0xFF, marker, 11, 8, height, width, 1, 1, 0x11, 0)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


JPEG = encode(".jpg", quadrants())
LYING_JPEGS = [
    ("a marker without a length, 01", b"\xff\x01" + segment(0xFE, frame(9, 9))),
    ("likewise, D0", b"\xff\xd0" + segment(0xFE, frame(9, 9))),
    ("likewise, D7, often", b"\xff\xd7" * 9 + segment(0xFE, frame(9, 9))),
    ("fillings", b"\xff" * 50 + b"\xff\xfe" + segment(0xFE, frame(9, 9))[2:]),
    ("stray bytes", b"\0\1\2" + segment(0xFE, frame(9, 9))),
    ("data where none is", b"\xff\0" + segment(0xFE, frame(9, 9))),
    ("a comment", segment(0xFE, frame(9, 9) + b"\xff\xda" + frame(9, 9))),
    ("a comment of no length", b"\xff\xfe\0\0" + segment(0xFE, frame(9, 9))),
    ("a thumbnail", segment(0xE0, b"\xff\xd8" + frame(9, 9) + b"\xff\xd9")),
]


@pytest.mark.parametrize("before", [row[1] for row in LYING_JPEGS], ids=[row[0] for row in LYING_JPEGS])
def test_the_size_of_a_jpeg_is_what_libjpeg_takes_for_it(before):
    data = JPEG[:2] + before + JPEG[2:]
    if not data.startswith(b"\xff\xd8\xff"):
        data = JPEG[:2] + segment(0xFE, b"") + before + JPEG[2:]
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read_header(data) == Header(48, 32)
    assert decoded is not None
    assert decoded.shape == (32, 48, 3)


def test_the_first_frame_of_a_jpeg_counts():
    assert read_header(JPEG[:2] + frame(9000, 9000) + JPEG[2:]) == Header(9000, 9000)
    at = JPEG.index(b"\xff\xda")
    assert read_header(JPEG[:at] + frame(9000, 9000) + JPEG[at:]) == Header(48, 32)


@pytest.mark.parametrize("marker", [0xD8, 0xD9, 0xDA])
def test_a_jpeg_without_a_frame_before_its_picture_or_end_is_damaged(marker):
    with pytest.raises(ValueError, match="damaged"):
        read_header(JPEG[:2] + segment(marker, bytes(6)) + JPEG[2:])


def test_a_jpeg_of_very_many_scans_is_refused():
    """libjpeg visits all of its pixels for each."""
    progressive = cv2.imencode(".jpg", quadrants(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert read_header(progressive) == Header(48, 32)
    scan = segment(0xDA, bytes.fromhex("01 01 00 01 05 10")) + b"\x12\x34"
    assert read_header(progressive[:-2] + scan * 50 + progressive[-2:]) == Header(48, 32)
    with pytest.raises(ValueError, match="damaged"):
        read_header(progressive[:-2] + scan * 200 + progressive[-2:])
    # What comes after the end is no scan.
    assert read_header(progressive + scan * 200) == Header(48, 32)


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PNG = encode(".png", quadrants())
IHDR = PNG[8:33]


def test_a_png_has_one_header_and_it_comes_first():
    assert read_header(png(IHDR, PNG[33:])) == Header(48, 32)
    text = png_chunk(b"tEXt", b"a\0b")
    long = png_chunk(b"IHDR", struct.pack(">II5B", 48, 32, 8, 2, 0, 0, 0) + bytes(4))
    for data in (png(IHDR, IHDR, PNG[33:]), png(text, IHDR, PNG[33:]), png(long, PNG[33:]), png(IHDR, PNG[33:-12], IHDR)):
        with pytest.raises(ValueError, match="damaged"):
            read_header(data)


def test_a_chunk_longer_than_the_file_is_the_end_of_a_png():
    """OpenCV makes room for all of it before it looks."""
    data = png(IHDR, struct.pack(">I4s", 0x7FFFFFFF, b"tEXt"), PNG[33:])
    assert read_header(data) == Header(48, 32, whole=False)


def test_of_a_png_only_what_the_picture_needs_is_decoded():
    control = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 48, 32, 0, 0, 1, 10, 0, 0))
    beside = [png_chunk(b"acTL", struct.pack(">II", 2, 0)), control, png_chunk(b"zTXt", b"a\0\0"), png_chunk(b"iCCP", b"a")]
    animated = png(IHDR, *beside, PNG[33:-12], control, png_chunk(b"fdAT", bytes(50)), PNG[-12:], b"and more")
    assert read_header(animated) == Header(48, 32)
    assert bare(animated) == PNG
    assert bare(PNG) is PNG
    assert bare(JPEG) is JPEG


@pytest.mark.parametrize("first", [b"VP8X", b"VP8L", b"VP8 "])
def test_a_webp_begins_with_its_picture(first):
    data = encode(".webp", quadrants())
    assert data[12:16] == b"VP8L"
    with pytest.raises(ValueError, match="damaged"):
        read_header(data[:12] + b"JUNK" + struct.pack("<I", 8) + first + bytes(4) + data[12:])


@pytest.mark.parametrize(("width", "height", "size"), [(48, -32, (48, 32)), (-48, 32, (0, 32)), (48, -(2**31), (48, 2**31))])
def test_rows_of_a_bmp_may_run_downwards_but_not_backwards(width, height, size):
    data = bytearray(encode(".bmp", quadrants()))
    struct.pack_into("<ii", data, 18, width, height)
    assert read_header(bytes(data)) == Header(*size)


MEGABYTES = 20
FILLINGS = [
    ("JPEG of FF", b"\xff\xd8\xff", b"\xff"),
    ("JPEG of zeros", b"\xff\xd8\xff", b"\0"),
    ("JPEG of markers without a length", b"\xff\xd8\xff", b"\xff\xd0"),
    ("JPEG of markers 01", b"\xff\xd8\xff", b"\xff\x01"),
    ("JPEG of data", b"\xff\xd8\xff", b"\xff\0"),
    ("JPEG of empty segments", b"\xff\xd8\xff", b"\xff\xe1\0\2"),
    ("JPEG of empty scans", JPEG[:2] + frame(48, 32, 0xC2), b"\xff\xda\0\2"),
    ("JPEG of FF after its frame", JPEG[:2] + frame(48, 32, 0xC2), b"\xff"),
    ("PNG of empty chunks", PNG[:33], png_chunk(b"aaaa", b"")),
    ("WebP of empty chunks", encode(".webp", quadrants()), b"aaaa\0\0\0\0"),
    ("TIFF of tags", b"II*\0\x08\0\0\0\xff\xff", struct.pack("<HHII", 999, 3, 1, 1)),
]


@pytest.mark.parametrize(("start", "filling"), [row[1:] for row in FILLINGS], ids=[row[0] for row in FILLINGS])
def test_files_of_nothing_but_fillings_are_read_in_no_time(start, filling):
    data = start + filling * ((MEGABYTES << 20) // len(filling))
    began = time.process_time()
    with suppress(ValueError):
        read_header(data)
    assert time.process_time() - began < 1.0  # Byte by byte it would be five and more.
