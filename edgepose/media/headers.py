"""Headers of image files, read before anything is decoded: size, orientation, and whether the file is complete.

OpenCV allocates whatever a header asks for, and, from version to version, reads EXIF in some formats and flags and not in
others. So the few bytes in question are read here, for the five formats that edgepose takes, and the decoder gets only files
that are complete and of bounded size. Where a file contradicts itself, it is read as the libraries under OpenCV read it.

Reading takes a few steps, or time in proportion to the length of the file: padding is skipped at once, and a file with more
parts than any program writes is refused as damaged.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

# TIFF 6.0: tags of the first directory.
_WIDTH, _HEIGHT, _BITS, _COLOUR, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLES = 256, 257, 258, 262, 274, 322, 323, 339
# All types of whole numbers, those of BigTIFF too: libtiff takes any of them for any of these tags.
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
_SAMPLE_NAMES = {2: "int", 3: "float"}  # Anything else is unsigned.
_LOG_LUV = 32845  # A colour that is decoded to float32.
# libtiff reads no directory with more.
_MAX_TAGS = 4096
# Pixels. A tile is decoded whole, however little of it is picture; this one takes 64 MB.
_MAX_TILE = 1 << 24

# ITU T.81, table B.1: the frame headers, which carry the size, without the tables (C4, CC) and the extension (C8) between.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BASELINE = (0xC0, 0xC1)
_JPEG_START, _JPEG_END, _JPEG_SCAN, _JPEG_EXIF = 0xD8, 0xD9, 0xDA, 0xE1
# The next marker that counts, after any number of stray or filling bytes: FF 00 is data, FF 01 and FF D0 to D7 stand alone.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_SEARCHED_BYTES = 1 << 18
# Programs write about ten. libjpeg visits all pixels for each, which may have no more than ten bytes in the file.
_MAX_SCANS = 100

# What OpenCV needs of a PNG. The rest may unpack to gigabytes of text, or is an animation.
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

# Segments of a JPEG, chunks of a PNG or WebP. Metadata come in pieces of up to 64 KB; an animation has a chunk for each frame.
_MAX_PARTS = 10_000
_BYTES_A_PART = 1024  # For each of these a file may have one more.


class Header(NamedTuple):
    """The facts in the header of an image file.

    Attributes:
        width: In stored pixels.
        height: Likewise.
        orientation: Of EXIF, 1 to 8; 1 is upright.
        whole: Whether the file reaches its own end.
        samples: What its pixels are made of, in numpy's words, where that is more than the 16 bits that edgepose takes.
    """

    width: int
    height: int
    orientation: int = 1
    whole: bool = True
    samples: str | None = None


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


def bare(data: bytes) -> bytes:
    """A complete image file without the parts that its decoder does not need: a PNG without text, profiles and animation."""
    if not data.startswith(_PNG_START):
        return data
    chunks = list(_png_chunks(data))
    if all(name in _PNG_NEEDED for name, _, _ in chunks):
        return data
    return _PNG_START + b"".join(data[start:end] for name, start, end in chunks if name in _PNG_NEEDED)


def _jpeg(data: bytes) -> Header:
    orientation, scans, frame = 1, 0, 0
    width = height = 0
    for marker, start, end in _jpeg_segments(data):
        if frame == 0 and marker in (_JPEG_START, _JPEG_SCAN, _JPEG_END):
            break
        if frame == 0 and marker == _JPEG_EXIF and data[start : start + 6] == b"Exif\0\0":
            orientation = _exif_orientation(data[start + 6 : end])
        elif frame == 0 and marker in _JPEG_FRAMES:
            frame, is_baseline = start, marker in _JPEG_BASELINE
            height, width, components = struct.unpack_from(">HHB", data, start + 1)
        elif marker == _JPEG_SCAN:
            scans += 1
            if scans > _MAX_SCANS:
                raise ValueError("too many scans")
            if is_baseline and data[start : start + 1] == bytes([components]):
                break  # The only one; there is no need to look at it.
    if frame == 0:
        raise ValueError("no frame header")
    # In coded data FF is always followed by 00, so FF D9 can only be the end; what phones append comes after it.
    return Header(width, height, orientation, data.rfind(b"\xff\xd9", frame) >= 0)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, as libjpeg finds them, to the first end of the picture."""
    at = 2
    for _ in range(_MAX_PARTS):
        found = _next_marker(data, at)
        if found is None:
            return
        marker, at = found[1][0], found.end()
        if marker in (_JPEG_START, _JPEG_END) or at + 2 > len(data):
            yield marker, at, at
            return
        (length,) = struct.unpack_from(">H", data, at)
        at += max(2, length)
        yield marker, found.end() + 2, at
    raise ValueError("too many segments")


def _next_marker(data: bytes, at: int) -> re.Match[bytes] | None:
    # A piece at a time, between which other threads have their turn.
    for start in range(at, len(data), _SEARCHED_BYTES - 1):
        if found := _JPEG_MARKER.search(data, start, start + _SEARCHED_BYTES):
            return found
    return None


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation = headers = 0
    for name, start, end in _png_chunks(data):
        headers += name == b"IHDR"
        if headers != 1 or (name == b"IHDR" and end - start != 25):
            raise ValueError("its header comes late, twice or too long")
        if name == b"eXIf":
            orientation = _exif_orientation(data[start + 8 : end - 4])
        elif name == b"IEND":
            return Header(width, height, orientation or 1)
    return Header(width, height, orientation or 1, whole=False)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk, to the end of the picture or the file."""
    at = len(_PNG_START)
    for _ in range(_most_parts(data)):
        if at + 12 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, at + 12 + length
        if name == b"IEND":
            return
        at += 12 + length
    raise ValueError("too many chunks")


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
    elif first == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("no picture comes first")
    at, orientation = 12, 1
    for _ in range(_most_parts(data)):
        if at + 8 > len(data):
            return Header(width, height, orientation, len(data) >= 8 + size)
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    raise ValueError("too many chunks")


def _bmp(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    return Header(max(0, width), abs(height))  # A negative height means that the rows run downwards.


def _tiff(data: bytes) -> Header:
    tags = _tiff_tags(data, {_WIDTH, _HEIGHT, _BITS, _COLOUR, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLES})
    width, height = max(0, tags.get(_WIDTH, 0)), max(0, tags.get(_HEIGHT, 0))
    if tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0) > max(width * height, _MAX_TILE):
        raise ValueError("its tiles are larger than the picture")
    bits = tags.get(_BITS, 1)
    samples = f"{_SAMPLE_NAMES.get(tags.get(_SAMPLES, 1), 'uint')}{bits}" if bits > 16 else None
    if tags.get(_COLOUR) == _LOG_LUV:
        samples = "float32"
    # OpenCV's TIFF decoder turns the picture itself, whatever the flags: the orientation is not for us to apply.
    return Header(width, height, samples=samples)


def _exif_orientation(block: bytes) -> int:
    """The orientation in a block of EXIF, which is a small TIFF; 1 if it says nothing sensible."""
    try:
        orientation = _tiff_tags(block, {_ORIENTATION}).get(_ORIENTATION, 1)
    except (struct.error, ValueError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes, wanted: set[int]) -> dict[int, int]:
    """The first number of each wanted tag in the first directory of a TIFF; 0 where it is no whole number.

    Of two entries for a tag the first counts, as for libtiff.
    """
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    if count > _MAX_TAGS:
        raise ValueError("too many tags")
    tags: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
        if tag not in wanted or tag in tags:
            continue
        tags[tag] = 0
        if kind in _WHOLE_NUMBERS and values:
            number = f"{order}{_WHOLE_NUMBERS[kind]}"
            # What does not fit into the entry lies elsewhere.
            is_here = struct.calcsize(number) * values <= 4
            (place,) = (entry + 8,) if is_here else struct.unpack_from(f"{order}I", data, entry + 8)
            (tags[tag],) = struct.unpack_from(number, data, place)
    return tags


def _most_parts(data: bytes) -> int:
    return _MAX_PARTS + len(data) // _BYTES_A_PART


_PNG_START = b"\x89PNG\r\n\x1a\n"
_FORMATS: tuple[tuple[bytes, Callable[[bytes], Header | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (_PNG_START, _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
)
