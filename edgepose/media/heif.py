"""HEIC, HEIF and AVIF pictures, which phones and browsers write, through an optional package."""

from __future__ import annotations

import importlib
import io
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import SourceError

# ISO 23008-12, 10.2 and AV1's own: what the file type box names, first or among those that are compatible.
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_OTHER_BRANDS = frozenset({b"mif1", b"msf1", b"miaf"})
# Of videos that hold a still picture as well, which are videos all the same.
_VIDEO_BRANDS = (b"isom", b"mp4", b"qt  ", b"M4V ", b"3gp")
# `pi_heif` is the same without the encoder, which is under the GPL.
_READERS = ("pillow_heif", "pi_heif")


def heif_kind(data: bytes) -> str | None:
    """ "HEIC", "HEIF" or "AVIF", by the start of a file of at least 64 bytes; None for anything else."""
    if data[4:8] != b"ftyp" or len(data) < 16:
        return None
    (length,) = struct.unpack_from(">I", data)
    major = data[8:12]
    brands = {major, *(data[at : at + 4] for at in range(16, min(length, 64, len(data)), 4))}
    if major.startswith(_VIDEO_BRANDS) or not brands & (_HEIC_BRANDS | _AVIF_BRANDS | _OTHER_BRANDS):
        return None
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else "HEIF"


def heif_size(data: bytes) -> tuple[int, int]:
    """The width and height of the largest picture or tile that a HEIF file has, before anything is decoded; 0, 0 if none."""
    sizes, at = [(0, 0)], data.find(b"ispe")
    while at >= 0 and at + 16 <= len(data):
        sizes.append(struct.unpack_from(">II", data, at + 8))
        at = data.find(b"ispe", at + 4)
    return max(sizes, key=lambda size: size[0] * size[1])


def decode_heif(data: bytes, name: str) -> NDArray[Any]:
    """The whole primary picture of a HEIF file, upright: (H, W, 3 or 4) uint8 BGR or BGRA, or (H, W).

    Raises:
        SourceError: What reads it is not installed, or it is damaged.
    """
    kind = heif_kind(data)
    try:
        picture = _decode_avif(data) if kind == "AVIF" else _decode_hevc(data)
    except ImportError:
        command = 'python -m pip install "edgepose[heif]"'
        raise SourceError(f"{name}: {kind} is read by a package that is not installed; install it with: {command}") from None
    except Exception as error:  # Of libraries in C++, which raise what they like.
        what = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise SourceError(f"{name}: damaged or truncated {kind} image ({what}); copy or download it again") from None
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise SourceError(f"{name}: an image {picture.shape} of {picture.dtype}; expected uint8 samples")
    return picture


def _decode_hevc(data: bytes) -> NDArray[Any]:
    for module in _READERS:
        try:
            reader: Any = importlib.import_module(module)
        except ImportError:
            continue
        # It turns pictures itself, and puts the tiles of a grid together.
        return np.asarray(reader.open_heif(data, convert_hdr_to_8bit=True, bgr_mode=True))
    raise ImportError


def _decode_avif(data: bytes) -> NDArray[Any]:
    image_module: Any = importlib.import_module("PIL.Image")
    if not importlib.import_module("PIL.features").check("avif"):
        raise ImportError
    turn = importlib.import_module("PIL.ImageOps").exif_transpose
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of large pictures; the caller has looked at the size.
        picture = turn(image_module.open(io.BytesIO(data), formats=["AVIF"]))
    array = np.asarray(picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGBA"))
    return array if array.ndim == 2 else np.ascontiguousarray(array[..., [2, 1, 0, 3][: array.shape[2]]])
