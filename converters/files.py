"""Files of a model, which appear together or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import openvino as ov

from edgepose.errors import OutputError
from edgepose.media.files import unwritable
from edgepose.media.outputs import check_file, check_folder


def check_outputs(folder: Path, name: str, inputs: Sequence[Path]) -> None:
    """Make sure that NAME.xml, NAME.bin and so on can be written in `folder`, and that none of them is one of `inputs`.

    Raises:
        OutputError: One is an input, or cannot be written.
    """
    for suffix in (".xml", ".bin", ".onnx", ".yaml", ".md"):
        check_file(folder / f"{name}{suffix}", inputs, "what is read here")


@contextmanager
def arriving(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` at the end; after an exception, none of them does.

    `folder` is made if need be, and removed again if it stays empty.

    Raises:
        OutputError: A file or folder cannot be written.
    """
    check_folder(folder)
    made = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".arriving-") as room:
            yield Path(room)
            # The .xml comes last, because the files are a model only from then on.
            for file in sorted(Path(room).iterdir(), key=lambda path: path.suffix == ".xml"):
                file.replace(folder / file.name)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        with suppress(OSError):  # A folder that is not empty cannot be removed.
            for path in made:
                path.rmdir()


@cache
def core() -> ov.Core:
    """OpenVINO, loaded once and kept, for the reason that `edgepose.engines.openvino_core` gives."""
    return ov.Core()


def save_network(network: ov.Model, path: Path, *, fp16: bool) -> None:
    """Write a network as `path` (.xml) and .bin beside it, with its float weights in FP16 or FP32.

    Raises:
        OutputError: They cannot be written.
    """
    try:
        ov.save_model(network, path, compress_to_fp16=fp16)
    except RuntimeError as error:  # OpenVINO's, for a full disk and everything else
        raise OutputError(f"{path}: cannot be written; check the folder, its rights and free space") from error


def as_written(network: ov.Model, *, fp16: bool) -> tuple[ov.Model, int]:
    """The network as it comes back from a file, its weights rounded to FP16 or FP32, and the size of its files in bytes."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "network.xml"
        save_network(network, path, fp16=fp16)
        return read_whole(path), sum(file.stat().st_size for file in Path(room).iterdir())


def read_whole(path: Path) -> ov.Model:
    """Read a network into memory, so that its files may be deleted."""
    return core().read_model(path, config={"ENABLE_MMAP": False})
