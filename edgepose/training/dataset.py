"""Batches of crops with their marks. Each is a function of the seed and the step alone, so that there is no state to save."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from tqdm import tqdm

from edgepose.arrays import Double, Image, Uint8
from edgepose.errors import InputError, SourceError
from edgepose.training.annotations import Photo, refuse
from edgepose.training.augmentation import draw_crop, draw_look, invert, move_people, pack_looks
from edgepose.training.images import ImageCache, ImageStore
from edgepose.training.targets import Marks, list_marks

_CANVAS_MULTIPLE = 32


@dataclass(frozen=True, eq=False)
class Batch:
    """The B crops of a step, not yet cut and drawn; the parts are those of `cut_crops`, `colour_crops` and `targets`."""

    canvases: Tensor
    to_canvas: Tensor
    looks: Tensor
    marks: Marks

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        canvases = self.canvases.to(device, non_blocking=True)
        return Batch(canvases, self.to_canvas.to(device), self.looks.to(device), self.marks.to(device))


def check_images(photos: Sequence[Photo], store: ImageStore, cache: ImageCache, workers: int) -> None:
    """Check that every image is there, decodes, and has the size that the annotations say; all that fits stays in the cache.

    Raises:
        SourceError: Some do not; all problems are counted, a few are named.
    """
    missing = [f"{photo.file_name} is missing" for photo in photos if photo.file_name not in store]
    refuse(missing, f"images of {store.path}", SourceError)

    def problem(photo: Photo) -> str | None:
        try:
            height, width = cache.read(photo.file_name).shape[:2]
        except SourceError as error:
            return str(error)
        scale = max(height, width) / max(photo.height, photo.width)
        if abs(height - photo.height * scale) > 1 or abs(width - photo.width * scale) > 1 or scale > 1:
            return f"{photo.file_name} is {width}x{height} pixels, but annotated as {photo.width}x{photo.height}"
        return None

    with ThreadPoolExecutor(workers) as pool:
        found = list(tqdm(pool.map(problem, photos), "checking images", len(photos), disable=None, leave=False))
    refuse([text for text in found if text], f"images of {store.path}", SourceError)


def split(photos: Sequence[Photo], held_out: int) -> tuple[list[Photo], list[Photo]]:
    """Split photos into those to train on and `held_out` others: by their ids alone, and as many of each source as can be.

    Raises:
        InputError: Nothing would be left to train on.
    """
    by_source: dict[str, list[Photo]] = defaultdict(list)
    for photo in sorted(photos, key=lambda photo: hashlib.sha256(str(photo.id).encode()).digest()):
        by_source[photo.source].append(photo)
    quota = -(-held_out // len(by_source)) if held_out else 0
    held = [photo for group in by_source.values() for photo in group[:quota]][:held_out]
    ids = {photo.id for photo in held}
    kept = [photo for photo in photos if photo.id not in ids]
    if not kept:
        raise InputError(f"all {len(photos)} photos are held out for validation, none is left to train on; lower --held-out")
    return kept, held


class Batches:
    """Training batches by step. Sources of photos are drawn from by their shares, and their photos equally often.

    Args:
        photos: The photos to draw from.
        cache: Their images.
        batch_size: B.
        crop: Side of the crops.
        seed: Of everything random.
        shares: Weights of sources, by name; 1 for those not named.

    Raises:
        InputError: A share is of no source, or they leave nothing.
    """

    def __init__(
        self, photos: Sequence[Photo], cache: ImageCache, *, batch_size: int, crop: int, seed: int, shares: Mapping[str, float]
    ) -> None:
        groups: dict[str, list[Photo]] = defaultdict(list)
        for photo in photos:
            groups[photo.source].append(photo)
        sources = sorted(groups)
        weights = np.array([shares.get(source, 1.0) for source in sources])
        if not shares.keys() <= groups.keys() or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
            raise InputError(f"shares are {dict(shares)}; expected positive weights of the sources {', '.join(sources)}")
        self._groups = [groups[source] for source in sources]
        self._bounds = np.cumsum(weights / weights.sum())[:-1]
        self._cache = cache
        self._batch_size = batch_size
        self._crop = crop
        self._seed = seed

    def at(self, step: int) -> Batch:
        """The batch of a step, always the same."""
        rng = np.random.default_rng((self._seed, step))
        windows, canvas_maps, looks, people = [], [], [], []
        for _ in range(self._batch_size):
            group = self._groups[np.searchsorted(self._bounds, rng.random(), side="right")]
            photo = group[rng.integers(len(group))]
            to_crop, mirrored = draw_crop(rng, photo, self._crop)
            looks.append(draw_look(rng))
            people.append(move_people(photo, to_crop, mirrored))
            image = self._cache.read(photo.file_name)
            to_image = _to_reduced(photo, image) @ np.vstack([invert(to_crop), (0, 0, 1)])
            rows, columns = _seen(to_image, self._crop, *image.shape[:2])
            crowds = _crowd_mask(photo, *image.shape[:2])[rows, columns] if photo.crowds else None
            windows.append((image[rows, columns], crowds))
            canvas_maps.append(to_image - [[0, 0, columns.start], [0, 0, rows.start]])
        return Batch(
            torch.from_numpy(_canvases(windows)),
            torch.from_numpy(np.array(canvas_maps, np.float32)),
            pack_looks(looks),
            list_marks(people),
        )

    def start(self, step: int, workers: int) -> Iterator[Batch]:
        """The batches from `step` on, without end, made ahead by `workers` threads."""
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                while True:
                    while len(ahead) <= workers:
                        ahead.append(pool.submit(self.at, step))
                        step += 1
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()


def _to_reduced(photo: Photo, image: Image) -> Double:
    """(2, 3) affine map from pixels of the photo to those of its decoded, perhaps reduced image."""
    x, y = image.shape[1] / photo.width, image.shape[0] / photo.height
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]])


def _seen(to_image: Double, crop: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of an image that a crop looks at, with a margin for interpolation."""
    corners = np.array([(x, y, 1) for x in (0, crop) for y in (0, crop)]) @ to_image.T
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, (width - 1, height - 1))
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 3
    return slice(y0, max(y0 + 1, min(y1, height))), slice(x0, max(x0 + 1, min(x1, width)))


def _canvases(windows: Sequence[tuple[Image, Uint8 | None]]) -> Image:
    """(B, H, W, 4): images at the top left of canvases of one size, the rest grey; their crowds in the fourth layer."""
    height, width = (-(-max(image.shape[i] for image, _ in windows) // _CANVAS_MULTIPLE) * _CANVAS_MULTIPLE for i in (0, 1))
    canvases = np.empty((len(windows), height, width, 4), np.uint8)
    canvases[..., :3] = 128
    canvases[..., 3] = 0
    for canvas, (image, crowds) in zip(canvases, windows, strict=True):
        canvas[: image.shape[0], : image.shape[1], :3] = image
        if crowds is not None:
            canvas[: image.shape[0], : image.shape[1], 3] = crowds
    return canvases


def _crowd_mask(photo: Photo, height: int, width: int) -> Uint8:
    """(height, width): 255 inside the outlines of a photo's crowds, or inside the boxes of those that have none."""
    mask = np.zeros((height, width), np.uint8)
    scale = np.array([width / photo.width, height / photo.height] * 2)
    for crowd in photo.crowds:
        if crowd.runs is not None:
            outline = coco_mask.decode(crowd.runs) * np.uint8(255)
            mask |= np.asarray(cv2.resize(outline, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        else:
            inside = np.clip(crowd.box, 0, (photo.width, photo.height) * 2)
            x0, y0, x1, y1 = np.rint(inside * scale).astype(int)
            mask[y0:y1, x0:x1] = 255
    return mask
