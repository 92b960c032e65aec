"""Photos are held out and drawn alike whenever the seed and the step are, and from every source by its share."""

from __future__ import annotations

import numpy as np
import pytest
import training_data

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pycocotools", reason="training needs pycocotools")

from edgepose.errors import InputError
from edgepose.training import dataset
from edgepose.training.annotations import read_annotations
from edgepose.training.images import ImageCache, ImageStore


def test_the_split_is_deterministic_and_takes_from_every_source(tmp_path):
    training_data.make(tmp_path, images=12)
    photos = read_annotations(tmp_path / "annotations.json")
    kept, held = dataset.split(photos, 4)
    assert sorted(photo.source for photo in held) == ["a", "a", "b", "b"]
    assert {photo.id for photo in kept} | {photo.id for photo in held} == {photo.id for photo in photos}
    assert len(kept) == 8
    again = dataset.split(photos[::-1], 4)[1]
    assert {photo.id for photo in again} == {photo.id for photo in held}
    with pytest.raises(InputError, match="all 12 photos are held out"):
        dataset.split(photos, 12)


def test_sources_are_drawn_by_their_shares(tmp_path):
    training_data.make(tmp_path)
    photos = read_annotations(tmp_path / "annotations.json")
    cache = ImageCache(ImageStore(tmp_path), max_side=64, max_bytes=1 << 20)
    with pytest.raises(InputError, match=r"shares are .*expected positive weights of the sources a, b"):
        dataset.Batches(photos, cache, batch_size=1, crop=32, seed=0, shares={"c": 1})
    read = []
    cache.read = lambda name: read.append(name) or np.zeros((48, 64, 3), np.uint8)  # type: ignore[assignment, func-returns-value]
    dataset.Batches(photos, cache, batch_size=300, crop=32, seed=0, shares={"a": 3}).at(0)
    share = np.mean([int(name[:3]) % 2 for name in read])
    assert 0.68 < share < 0.82
