"""Images that the training reads: from folders and tar files, bounded before they are decoded, kept while memory allows."""

from __future__ import annotations

import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import training_data

from edgepose.errors import SourceError
from edgepose.training import images as images_module
from edgepose.training.images import ImageCache, ImageStore


def test_tar_files_are_read_as_they_are(tmp_path):
    training_data.make(tmp_path, images=4)
    packed = tmp_path / "packed"
    packed.mkdir()
    for shard in range(2):
        with tarfile.open(packed / f"{shard}.tar", "w") as archive:
            for i in (2 * shard, 2 * shard + 1):
                archive.add(tmp_path / f"{i:03}.png", f"./sub/{i:03}.png")
    plain = ImageCache(ImageStore(tmp_path), max_side=512, max_bytes=0)
    for path in (packed, packed / "1.tar"):
        store = ImageStore(path)
        tarred = ImageCache(store, max_side=512, max_bytes=1 << 20)
        np.testing.assert_array_equal(tarred.read("sub/003.png"), plain.read("003.png"))
        assert "003.png" not in store
    assert "sub/000.png" not in store


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    training_data.save(tmp_path, training_data.make(tmp_path, images=1))
    monkeypatch.setattr(images_module, "MAX_PIXELS", 64 * 48 - 1)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SourceError, match=r"000\.png in .* has 64 x 48 pixels; expected 1 to 3,071"):
        ImageCache(ImageStore(tmp_path), max_side=32, max_bytes=0).read("000.png")


def test_images_are_reduced_and_the_memory_is_bounded(tmp_path):
    training_data.make(tmp_path, images=3)
    cache = ImageCache(ImageStore(tmp_path), max_side=32, max_bytes=2 * 32 * 24 * 3)
    images = [cache.read(f"{i:03}.png") for i in range(3)]
    assert all(image.shape == (24, 32, 3) for image in images)
    assert [cache.read(f"{i:03}.png") is image for i, image in enumerate(images)] == [True, True, False]


def test_a_picture_that_several_threads_read_is_kept_and_counted_once(tmp_path):
    training_data.make(tmp_path, images=3)
    size = 24 * 32 * 3
    cache = ImageCache(ImageStore(tmp_path), max_side=32, max_bytes=2 * size)
    decode, together = cache._decode, threading.Barrier(4)

    def decode_together(name):
        image = decode(name)
        together.wait(20)
        return image

    with ThreadPoolExecutor(4) as pool:
        cache._decode = decode_together  # type: ignore[method-assign]
        images = list(pool.map(cache.read, ["000.png"] * 4))
        cache._decode = decode  # type: ignore[method-assign]
    assert len(set(map(id, images))) == 1
    assert cache._left == size
    assert cache.read("001.png") is cache.read("001.png")
    assert cache.read("002.png") is not cache.read("002.png")


def test_a_missing_folder_and_a_damaged_tar_file_are_refused(tmp_path):
    with pytest.raises(SourceError, match="nowhere is not there; expected a folder"):
        ImageStore(tmp_path / "nowhere")
    (tmp_path / "bad.tar").write_bytes(b"\x01" * 2048)
    with pytest.raises(SourceError, match=r"bad\.tar is no readable, uncompressed tar file"):
        ImageStore(tmp_path / "bad.tar")
