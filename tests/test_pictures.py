"""Pictures that move, pictures of phones, and pictures that lack their end, each against another reader."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encode, quadrants

from edgepose.errors import SourceError
from edgepose.media import heif, images, pictures
from edgepose.media.images import read_image
from edgepose.media.sources import Frame, open_source

Image = pytest.importorskip("PIL.Image")
DURATIONS_MS = [100, 250, 50, 400, 100, 100]


def scene(index: int, height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A transparent picture (H, W, 4) RGBA with a square that moves and becomes fainter."""
    picture = np.zeros((height, width, 4), np.uint8)
    picture[4 : height - 4 - index, 6 * index : 6 * index + 20] = (40 * index, 200 - 30 * index, 90, 255 - 40 * index)
    return picture


def animation(form: str, *, disposal: int = 0, lossless: bool = True) -> bytes:
    frames = [Image.fromarray(scene(index)) for index in range(len(DURATIONS_MS))]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": DURATIONS_MS, "loop": 0}
    if form == "WEBP":
        options |= {"lossless": lossless, "minimize_size": True, "kmax": 0}
    else:
        options["disposal"] = disposal
    file = io.BytesIO()
    frames[0].save(file, form, **options)
    return file.getvalue()


def shown(data: bytes) -> list[NDArray[np.uint8]]:
    """The frames of an animation as Pillow has them, on white: (H, W, 3) BGR."""
    frames = []
    with Image.open(io.BytesIO(data)) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            white = Image.new("RGBA", picture.size, "white")
            frames.append(np.asarray(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))[..., ::-1])
    return frames


def read(path: Path, **options: Any) -> list[Frame]:
    with open_source(path, **options) as source:
        assert (source.kind, source.is_live) == ("video", False)
        return list(source)


@pytest.mark.parametrize(("form", "disposal"), [("WEBP", 0), ("PNG", 0), ("PNG", 1), ("PNG", 2), ("GIF", 1), ("GIF", 2)])
def test_each_frame_of_an_animation_as_it_is_shown(tmp_path: Path, form: str, disposal: int) -> None:
    data = animation(form, disposal=disposal)
    path = tmp_path / f"animation.{form.lower()}"
    path.write_bytes(data)
    frames, expected = read(path), shown(data)
    assert len(frames) == len(expected) == len(DURATIONS_MS)
    starts = np.cumsum([0, *DURATIONS_MS[:-1]]) / 1000
    assert [frame.timestamp for frame in frames] == pytest.approx(list(starts), abs=0.006)
    for frame, picture in zip(frames, expected, strict=True):
        assert np.abs(frame.image.astype(int) - picture).max() <= 2
    part = read(path, start=0.1, end=0.8, every=2)
    assert [frame.index for frame in part] == [1, 3]
    assert (part[1].image == frames[3].image).all()


def test_an_animation_with_losses_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "animation.webp"
    path.write_bytes(data := animation("WEBP", lossless=False))
    for frame, picture in zip(read(path), shown(data), strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 3


def test_of_an_animation_among_pictures_there_is_one_frame(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(animation("WEBP"))
    (tmp_path / "b.png").write_bytes(animation("PNG"))
    with open_source(tmp_path) as source:
        assert [Path(frame.path).name for frame in source] == ["a.webp", "b.png"]


def test_a_damaged_frame_of_an_animation_is_passed_over(tmp_path: Path) -> None:
    data = bytearray(animation("WEBP"))
    second = data.index(b"ANMF", data.index(b"ANMF") + 4)
    data[second + 32 : second + 40] = bytes(8)  # Its lossless picture begins with a signature.
    path = tmp_path / "a.webp"
    path.write_bytes(data)
    with open_source(path) as source:
        assert len(list(source)) == len(DURATIONS_MS) - 1
    assert source.skipped == [(f"{path}, before frame 1", "damaged; frames that could not be decoded: 1")]


def chunk_place(data: bytes, name: bytes) -> int:
    return data.index(name) + 8


@pytest.mark.parametrize("place", ["canvas", "offset", "size"])
def test_an_animation_that_means_harm(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(animation("WEBP"))
    if place == "canvas":
        data[24:30] = b"\xff\xff\xff" * 2
    elif place == "offset":
        at = chunk_place(bytes(data), b"ANMF")
        data[at : at + 3] = b"\xff\xff\x00"
    else:
        at = chunk_place(bytes(data), b"ANMF") + 6
        data[at : at + 6] = b"\xff\xff\xff" * 2
    path = tmp_path / "a.webp"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.webp: (16777216 x 16777216 pixels a frame|damaged animation)"):
        list(open_source(path))


@pytest.mark.parametrize("kept", [40, 150, 300])
def test_an_animation_cut_short_gives_what_there_is(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(animation("WEBP")[:kept])
    try:
        frames = read(path)
    except SourceError as error:
        assert "cut short" in str(error)  # noqa: PT017 (either is right)
    else:
        assert 0 < len(frames) < len(DURATIONS_MS)


@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]], ids=str)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_is_read_with_a_warning(
    tmp_path: Path, options: list[int], missing: int, caplog: pytest.LogCaptureFixture
) -> None:
    noise = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8), (136, 96))
    data = cv2.imencode(".jpg", noise, options)[1].tobytes()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[:-missing])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_image(path), read_image(data))
    assert caplog.messages == [f"{path}: the file lacks its last bytes, the mark of its end; the picture itself is whole"]
    for more in (3, 4, 7, 20, 100):
        path.write_bytes(data[:-more])
        with pytest.raises(SourceError, match=r"photo\.jpg: truncated image"):
            read_image(path)


HEIF_START = struct.pack(">I4s4sI", 24, b"ftyp", b"mif1", 0)


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ([b"heic", b"mif1"], "HEIC"),
        ([b"mif1", b"heic"], "HEIC"),
        ([b"mif1", b"miaf"], "HEIF"),
        ([b"avif", b"mif1"], "AVIF"),
        ([b"mif1", b"avif"], "AVIF"),
        ([b"isom", b"mp41"], None),
        ([b"qt  ", b"heic"], None),
    ],
)
def test_kinds_of_heif(brands: list[bytes], kind: str | None) -> None:
    box = struct.pack(">I4s4sI4s", 20, b"ftyp", brands[0], 0, brands[1])
    assert heif.heif_kind(box + bytes(64)) == kind


def test_what_is_not_installed_is_named_with_the_command_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "_READERS", ("no_such_reader",))
    data = HEIF_START + b"heic" + bytes(8) + struct.pack(">I4s3I", 20, b"ispe", 0, 64, 48)
    for name in ("photo.heic", "photo.HIF", "photo.jpg"):
        path = tmp_path / name
        path.write_bytes(data)
        with open_source(path) as source, pytest.raises(SourceError) as caught:
            list(source)
        command = 'python -m pip install "edgepose[heif]"'
        assert str(caught.value) == f"{path}: HEIC is read by a package that is not installed; install it with: {command}"
    with open_source(tmp_path) as folder:
        assert list(folder) == []
    assert [reason.partition(" is read")[0] for _, reason in folder.skipped] == ["HEIC"] * 3


def test_a_gigantic_heif_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "decode_heif", lambda *_: pytest.fail("decoded"))
    data = HEIF_START + b"heic" + bytes(8) + struct.pack(">I4s3I", 20, b"ispe", 0, 20_000, 20_000)
    with pytest.raises(SourceError, match="20000 x 20000 = 400,000,000 pixels; expected 1 to"):
        read_image(data)


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_heif_picture(tmp_path: Path, form: str, channels: int) -> None:
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif not pytest.importorskip("PIL.features").check("avif"):
        pytest.skip("Pillow without AVIF")
    colour = quadrants(64, 96)[..., ::-1]
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :32] = 0
    expected = quadrants(64, 96)
    if channels == 4:
        expected[:, :32] = 255
    file = io.BytesIO()
    Image.fromarray(colour if channels == 3 else np.dstack([colour, alpha])).save(file, form, quality=95)
    image = read_image(file.getvalue())
    assert image.shape == expected.shape
    assert np.percentile(np.abs(image.astype(int) - expected), 80) <= 6
    with pytest.raises(SourceError, match=rf"damaged or truncated {'HEIC' if form == 'HEIF' else form} image"):
        read_image(file.getvalue()[: len(file.getvalue()) // 2])
    if form == "HEIF":  # Its EXIF is not to be asked (ISO 23008-12), and the library turns pictures itself.
        return
    information = Image.Exif()
    information[0x0112] = 6
    Image.fromarray(colour).save(tmp_path / "turned.avif", form, quality=95, exif=information)
    upright = read_image(tmp_path / "turned.avif")
    assert upright.shape == (96, 64, 3)
    assert np.percentile(np.abs(upright.astype(int) - np.rot90(quadrants(64, 96), -1)), 80) <= 6


def test_bytes_as_a_source() -> None:
    for suffix in (".jpg", ".png", ".webp"):
        source = pictures.open_pictures(encode(suffix, quadrants()), "image", pictures.Part())
        assert [frame.image.shape for frame in source] == [(32, 48, 3)]
