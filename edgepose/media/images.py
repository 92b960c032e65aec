"""Reads image files as arrays, checks arrays, and writes them as image files."""

from __future__ import annotations

import difflib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.addresses import showable
from edgepose.errors import InputError, MissingExtraError, OutputError, SourceError
from edgepose.media.files import write_file
from edgepose.media.headers import Header, bare, read_header
from edgepose.media.heif import decode_heif, heif_kind, heif_size
from edgepose.media.kinds import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from edgepose.opencv import cv2

logger = logging.getLogger(__name__)

# OpenCV's own bound, which it reads when it is imported: a program that sets it before has it respected here, too.
OPENCV_BOUND = "OPENCV_IO_MAX_IMAGE_PIXELS"


def _most_pixels(most: int) -> int:
    bound = os.environ.get(OPENCV_BOUND, "")
    return min(most, int(bound)) if bound.isdecimal() else most


# More pixels than any phone or full-frame camera stores in one shot by default (108 million), and 360 MB once decoded.
MAX_PIXELS = _most_pixels(120_000_000)
# A file that is larger than this is larger than any encoding of `MAX_PIXELS` (16-bit RGBA takes 8 bytes a pixel).
MAX_FILE_BYTES = 1 << 30

# Suffixes of the files that are read as pictures; of some it takes the extra `heif`.
READ_SUFFIXES = (*IMAGE_SUFFIXES, ".heic", ".heif", ".hif", ".avif")

# How a None comes about where a picture is expected.
NONE_HINT = "; cv2.imread gives None for a file that it cannot read"
_JPEG_END = b"\xff\xd9"
# Enough for the largest block of a picture in each of them, and no marker in them.
_ANY_BITS = (b"", b"\x00" * 256, b"\x5a\xc3" * 128, b"\xb6" * 256)
# Rows that are laid on white at a time.
_ROWS = 64

# EXIF 2.32, tag 0x0112: how to stand a stored picture up: swap its axes or not, then flip as `cv2.flip` counts
# (1 left and right, 0 top and bottom, -1 both).
_UPRIGHT: dict[int, tuple[bool, int | None]] = {
    1: (False, None),
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}


def check_image(image: object) -> None:
    """Make sure that `image` is an array (H, W, 3) uint8 in the order blue, green, red.

    Raises:
        InputError: It is something else.
    """
    expected = "expected an image (H, W, 3) uint8 BGR"
    if not isinstance(image, np.ndarray):
        hint = NONE_HINT if image is None else ""
        raise InputError(f"got {type(image).__name__}; {expected} as a numpy array{hint}")
    if image.dtype != np.uint8:
        way_out = "; scale it to 0..255, replace NaN, and convert with .astype(np.uint8)" if image.dtype.kind == "f" else ""
        raise InputError(f"got an array {image.shape} of {image.dtype}; {expected}{way_out}")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        way_out = "; cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) makes one of a grey one" if image.ndim == 2 and image.size else ""
        raise InputError(f"got an array {image.shape} of uint8; {expected}{way_out}")


def read_image(source: str | Path | bytes) -> NDArray[np.uint8]:
    """A JPEG, PNG, WebP, BMP or TIFF file (or its bytes) as (H, W, 3) uint8 BGR, upright.

    HEIC, HEIF and AVIF files are read where the extra `heif` is installed. EXIF orientation is applied. Grey becomes three
    equal channels, 16 bits are scaled to 8, and a transparent picture is laid on white, as browsers and viewers show it. Of an
    animation it is the picture that stands for it.

    Raises:
        SourceError: There is no such file; it is empty, cut short, damaged, not an image, or has more than `MAX_PIXELS`.
    """
    return decode_image(source, "image data") if isinstance(source, bytes) else decode_image(read_file(source), str(source))


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """The picture in the bytes of a file, as `read_image` has it.

    Raises:
        SourceError: Likewise, with `name` in it.
    """
    if heif_kind(data[:64]):
        width, height = heif_size(data)
        _check_size(max(1, width), max(1, height), name)
        return _bgr(decode_heif(data, name))
    try:
        header = read_header(data)
    except ValueError as error:
        raise SourceError(f"{name}: damaged image: {error}") from None
    if header is None:
        found = "not an image that can be read" if data else "empty"
        raise SourceError(f"{name}: {found}; expected a JPEG, PNG, WebP, BMP or TIFF image")
    _check_size(header.width, header.height, name)
    if not header.whole:
        ended = _with_end(data)
        if ended is None:
            raise SourceError(f"{name}: truncated image: the file ends before the picture does; copy or download it again")
        logger.warning("%s: the file lacks its last bytes, the mark of its end; the picture itself is whole", name)
        data = ended
    if header.samples is not None:
        raise _wrong_samples(name, header.samples)
    return _decode(bare(data), header, name)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write `image` (H, W, 3) uint8 BGR in the format that the suffix of `path` names; missing folders are made.

    The file appears whole or not at all.

    Raises:
        OutputError: The suffix is unknown, the format cannot hold the image, or the file cannot be written.
        InputError: `image` is not an image.
    """
    check_image(image)
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{path}: unknown image suffix {path.suffix!r}; expected one of {', '.join(IMAGE_SUFFIXES)}")
    try:
        done, encoded = cv2.imencode(path.suffix.lower(), image)
    except cv2.error:
        done = False
    if not done:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise OutputError(f"{path}: {path.suffix} cannot hold a picture of {size} pixels; .png and .tiff can")
    write_file(path, encoded.tobytes())


def missing(path: Path) -> SourceError:
    """The error to raise where there is no `path`: it names the most similar one that there is."""
    name = showable(str(path))  # It may be an address that was taken for a path.
    try:
        near = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
    except OSError:
        return SourceError(f"{name}: no such file, nor a folder {showable(str(path.parent))}")
    hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
    return SourceError(f"{name}: no such file or folder{hint}")


def read_file(source: str | Path) -> bytes:
    """The bytes of an image file, of bounded size.

    Raises:
        SourceError: There is no such file, it is too large, or it cannot be read.
    """
    path = Path(source)
    try:
        if path.is_dir():
            raise SourceError(f"{path}: a folder; expected an image file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SourceError(f"{path}: {size:,} bytes; expected an image of at most {MAX_FILE_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        raise SourceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _decode(data: bytes, header: Header, name: str) -> NDArray[np.uint8]:
    try:
        # Unchanged, because only so alpha and 16 bits survive; orientation is applied below, for every format alike.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise SourceError(f"{name}: damaged or truncated image; copy or download it again")
    # Sorted, because TIFFs come turned. Whoever bounded the picture did so by its header.
    if sorted(image.shape[:2]) != sorted((header.height, header.width)):
        sizes = f"{header.width} x {header.height} pixels, its picture {image.shape[1]} x {image.shape[0]}"
        raise SourceError(f"{name}: damaged image: its header says {sizes}; copy or download it again")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # 65535 / 255
    if image.dtype != np.uint8:
        raise _wrong_samples(name, str(image.dtype))
    image = _bgr(image)
    swap, flip = _UPRIGHT[header.orientation]
    if swap:
        image = cv2.transpose(image)
    return np.asarray(image if flip is None else cv2.flip(image, flip), np.uint8)


def _check_size(width: int, height: int, name: str) -> None:
    pixels = width * height
    if not 0 < pixels <= MAX_PIXELS:
        raise SourceError(f"{name}: {width} x {height} = {pixels:,} pixels; expected 1 to {MAX_PIXELS:,}: scale it down first")


def _with_end(data: bytes) -> bytes | None:
    """A JPEG that lacks its end marker, with one, if all of its picture is there."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    data = data.rstrip(b"\xff")
    # Decoders fill what is missing from the bits that follow. If these bits change nothing, then nothing is missing.
    pictures = [cv2.imdecode(np.frombuffer(data + bits + _JPEG_END, np.uint8), cv2.IMREAD_UNCHANGED) for bits in _ANY_BITS]
    first = pictures[0]
    is_whole = first is not None and all(other is not None and np.array_equal(first, other) for other in pictures)
    return data + _JPEG_END if is_whole else None


def _bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    """A picture (H, W), (H, W, 3) or (H, W, 4) uint8 as (H, W, 3)."""
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.asarray(on_white(image) if image.shape[2] == 4 else image, np.uint8)


def _wrong_samples(name: str, samples: str) -> SourceError:
    return SourceError(f"{name}: an image of {samples}; expected uint8 or uint16 samples")


def on_white(image: NDArray[Any], *, may_be_empty: bool = False) -> NDArray[np.uint8]:
    """A picture (H, W, 4) BGRA laid on white: (H, W, 3).

    Nothing but transparency is taken for a writer that left the fourth byte empty (32-bit BMP), unless it `may_be_empty`.
    """
    colour, alpha = image[..., :3], image[..., 3:]
    if alpha.min() == 255 or (alpha.max() == 0 and not may_be_empty):
        return np.ascontiguousarray(colour, np.uint8)
    laid = np.empty(colour.shape, np.uint8)
    # A few rows at a time: all at once takes several times the memory of the picture, and is slower.
    for rows in range(0, len(image), _ROWS):
        part = slice(rows, rows + _ROWS)
        # At most 255 * 255, which fits.
        blend = colour[part].astype(np.uint16) * alpha[part] + (255 - alpha[part]).astype(np.uint16) * 255
        laid[part] = (blend + 127) // 255
    return laid


def sample_photo(extra: str) -> NDArray[np.uint8]:
    """scikit-image's portrait of the astronaut Eileen Collins (NASA, public domain), (512, 512, 3) BGR.

    Raises:
        MissingExtraError: scikit-image is not installed; the message says to install `extra`.
    """
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise MissingExtraError("scikit-image, which has the sample photo,", extra) from error
    photo: NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(photo[..., ::-1])
