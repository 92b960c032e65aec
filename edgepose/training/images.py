"""Images from a folder or from tar files, which are indexed once; decoded images are kept as long as memory allows."""

from __future__ import annotations

import tarfile
import threading
from pathlib import Path

import cv2
import numpy as np

from edgepose.arrays import Image
from edgepose.errors import SourceError
from edgepose.media.headers import bare, read_header
from edgepose.media.images import MAX_PIXELS


class ImageStore:
    """Encoded images by name: files below a folder, and members of tar files, which stay packed.

    Args:
        path: A folder of images, a folder with `*.tar` files, or a tar file.

    Raises:
        SourceError: There is nothing there, or a tar file is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            tars = sorted(self.path.glob("*.tar"))
        elif self.path.is_file():
            tars = [self.path]
        else:
            raise SourceError(f"{path} is not there; expected a folder of images or of tar files, or a tar file")
        self._members: dict[str, tuple[Path, int, int]] = {}  # name -> tar, offset, size
        for tar in tars:
            self._members.update(_index(tar))

    def __contains__(self, name: str) -> bool:
        return name in self._members or (self.path.is_dir() and (self.path / name).is_file())

    def read(self, name: str) -> bytes:
        """The encoded image called `name`.

        Raises:
            SourceError: It is not there.
        """
        try:
            if name not in self._members:
                return (self.path / name).read_bytes()
            tar, offset, size = self._members[name]
            # A descriptor of its own for every read: threads do not share a position.
            with tar.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise SourceError(f"{name} cannot be read from {self.path} ({error.strerror}); look at the folder") from error


def _index(tar: Path) -> dict[str, tuple[Path, int, int]]:
    """The files in a tar file by name, each with the tar file, its offset and its size."""
    try:
        with tarfile.open(tar, "r:") as archive:
            files = [member for member in archive if member.isfile()]
    except (tarfile.TarError, OSError) as error:
        raise SourceError(f"{tar} is no readable, uncompressed tar file ({error}); pack it again") from error
    return {member.name.removeprefix("./"): (tar, member.offset_data, member.size) for member in files}


class ImageCache:
    """Decoded images, reduced to a longest side, kept in memory up to a bound; beyond it each read decodes again.

    Threads may share one.

    Args:
        store: Where the images come from.
        max_side: Longest side of a decoded image in pixels; larger ones are reduced.
        max_bytes: Bound on the memory that the decoded images take together.
    """

    def __init__(self, store: ImageStore, *, max_side: int, max_bytes: int) -> None:
        self._store = store
        self._max_side = max_side
        self._left = max_bytes
        self._lock = threading.Lock()
        self._images: dict[str, Image] = {}

    def read(self, name: str) -> Image:
        """(H, W, 3) uint8 BGR, no side longer than `max_side`.

        Raises:
            SourceError: The image is missing or does not decode.
        """
        image = self._images.get(name)
        if image is None:
            image = self._decode(name)
            with self._lock:
                # Another thread may have decoded it meanwhile: it is kept, and counted, once.
                if name not in self._images and image.nbytes <= self._left:
                    self._left -= image.nbytes
                    self._images[name] = image
                image = self._images.get(name, image)
        return image

    def _decode(self, name: str) -> Image:
        data = self._store.read(name)
        _check(data, f"{name} in {self._store.path}")
        # Labels are in the pixels of the file: the EXIF orientation is not looked at, as COCO's tools do not.
        image = cv2.imdecode(np.frombuffer(bare(data), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise SourceError(f"{name} in {self._store.path} does not decode as an image; replace or remove it")
        height, width = image.shape[:2]
        if (scale := self._max_side / max(height, width)) < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return np.asarray(image, np.uint8)


def _check(data: bytes, where: str) -> None:
    """Check, before any memory is taken for its pixels, that an encoded image is whole and of a bounded size.

    Raises:
        SourceError: It is not.
    """
    try:
        header = read_header(data)
    except ValueError:
        header = None
    if header is None or not header.whole:
        raise SourceError(f"{where} does not decode as an image; expected a whole JPEG, PNG, WebP, BMP or TIFF file")
    if not 0 < header.width * header.height <= MAX_PIXELS:
        raise SourceError(f"{where} has {header.width} x {header.height} pixels; expected 1 to {MAX_PIXELS:,} of them")
