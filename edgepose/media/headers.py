"""What an image file says of itself before it is decoded: its size, its orientation, and whether all of it is there.

OpenCV allocates whatever a header asks for, has no size limit below 2^30 pixels that a program can set, and, from
version to version, reads EXIF in some formats and flags and not in others. So the few bytes in question are read here,
for the five formats that edgepose takes, and the decoder only sees what is bounded and whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

# TIFF 6.0: tags of the first directory, and the two types of whole numbers.
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_SHORT, _LONG = 3, 4
# ITU T.81, table B.1: the frame headers, which carry the size, without the tables (C4, CC) and the extension (C8) between.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Size in stored pixels, EXIF orientation (1 to 8; 1 is upright), and whether the file reaches its own end."""

    width: int
    height: int
    orientation: int = 1
    whole: bool = True


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG, PNG, WebP, BMP or TIFF file; None if `data` is none of them.

    Raises:
        ValueError: It is one of them, but the header is cut short or damaged.
    """
    for start, parse in _FORMATS:
        if data.startswith(start):
            try:
                return parse(data)
            except (struct.error, ValueError):
                raise ValueError("its header is cut short or damaged") from None
    return None


def _jpeg(data: bytes) -> Header:
    at, orientation = 2, 1
    while True:
        # Some writers leave stray or filling bytes between segments; decoders pass over them.
        at = data.index(b"\xff", at)
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 10 : at + 2 + length])
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            # In coded data FF is always followed by 00, so FF D9 can only be the end; what phones append comes after it.
            return Header(width, height, orientation, data.rfind(b"\xff\xd9", at) >= 0)
        at += 2 + length


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    at, orientation = 8, 1
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        elif name == b"IEND":
            return Header(width, height, orientation)
        at += 12 + length
    return Header(width, height, orientation, whole=False)


def _webp(data: bytes) -> Header | None:
    size, form, first = struct.unpack_from("<I4s4s", data, 4)
    if form != b"WEBP":
        return None
    if first == b"VP8X":
        words = struct.unpack_from("<HBHB", data, 24)
        width, height = 1 + words[0] + (words[1] << 16), 1 + words[2] + (words[3] << 16)
    elif first == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    at, orientation = 12, 1
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return Header(width, height, orientation, len(data) >= 8 + size)


def _bmp(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    return Header(abs(width), abs(height))  # A negative height means that the rows run downwards.


def _tiff(data: bytes) -> Header:
    tags = _tiff_tags(data)
    # OpenCV's TIFF decoder turns the picture itself, whatever the flags: the orientation is not for us to apply.
    return Header(tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0))


def _exif_orientation(block: bytes) -> int:
    """The orientation in a block of EXIF, which is a small TIFF; 1 if it says nothing sensible."""
    try:
        orientation = _tiff_tags(block).get(_ORIENTATION, 1)
    except struct.error:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The tags with a single whole number in the first directory of a TIFF."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
        if values == 1 and kind in (_SHORT, _LONG):
            (tags[tag],) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", data, entry + 8)
    return tags


_FORMATS: tuple[tuple[bytes, Callable[[bytes], Header | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
)
