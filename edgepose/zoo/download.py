"""Files of models: finds them on this machine, or fetches them.

A model is looked for among the models inside the package, then in the models folder. What neither has is fetched into
the models folder: from `EDGEPOSE_MIRROR` if that is set, else, or where that fails, from the file's public address.

A file arrives as `NAME.part` and gets its own name only once its size and checksum are right, so a file under its own
name is whole. Later runs compare its size alone: that takes no time, and sees a file that something else cut short.
Of several processes that want a model, one fetches it and the others wait (the lock lies in the models folder); what an
interrupted one left behind is overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import quote

from edgepose.addresses import showable, showable_text
from edgepose.caches import user_cache
from edgepose.errors import DownloadError
from edgepose.zoo.registry import Model, ModelFile

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""The longest wait between two pieces of a file: a slow line is no error, a silent one is."""

CHUNK_BYTES = 1 << 16
MAX_BYTES = 1 << 30
"""A download without a known size is cut off here; the largest network of the zoo takes a quarter of it."""

_EMBEDDED = Path(__file__).with_name("embedded")
_log = logging.getLogger(__name__)


def models_dir() -> Path:
    """The folder for fetched models: `EDGEPOSE_MODELS`, else `models` in the user's cache folder of edgepose.

    Raises:
        DownloadError: `EDGEPOSE_MODELS` begins with the home of a user who is not there; or there is neither it nor a home.
    """
    chosen = os.environ.get("EDGEPOSE_MODELS")
    if chosen:
        return _folder("EDGEPOSE_MODELS", chosen)
    folder = user_cache()
    if folder is None:
        raise DownloadError("the user has no home to keep models in; set EDGEPOSE_MODELS to a folder that can be written")
    return folder / "models"


def find(model: Model) -> Path | None:
    """The file to open of a model that is already here, inside the package or in the models folder; else None."""
    folders = [_EMBEDDED]
    if os.environ.get("EDGEPOSE_MODELS") or user_cache() is not None:
        folders.append(models_dir())
    for folder in folders:
        if model.files and all(_is_whole(folder / file.name, file) for file in model.files):
            return folder / model.files[0].name
    return None


def fetch(model: Model, *, progress: bool = False) -> Path:
    """The file to open of a model, after fetching what is not here; of a model that needs conversion, its checkpoint.

    Args:
        model: From the zoo, or anything that names its files.
        progress: Show a progress bar for each file, if stderr is a terminal.

    Raises:
        DownloadError: Nobody has a file, what came is not what the zoo expects, or the models folder cannot be written.
    """
    here = find(model)
    if here is not None:
        return here
    if not model.files:
        raise DownloadError(f"{model.name} has no files to fetch: its description names none")
    for file in model.files:
        if file.checksum is None:
            convert = f", convert it ({model.conversion}) and" if model.conversion else " and"
            raise DownloadError(
                f"{file.name} is not downloaded, because it has no official checksum to know it by; "
                f"fetch {file.url or 'it'} by hand{convert} give the model's path instead of its name"
            )

    # Imported here, as are requests and tqdm below: a model that is already here need not wait for them.
    from filelock import FileLock

    folder = models_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{model.name}.lock"):
            for file in model.files:
                if not _is_whole(folder / file.name, file):  # another process may just have brought it
                    _fetch_file(file, folder, progress)
    except OSError as error:
        raise DownloadError(
            f"cannot write to {folder} ({error.strerror or error}); "
            "make room or permission there, or set EDGEPOSE_MODELS to another folder"
        ) from error
    return folder / model.files[0].name


def _is_whole(path: Path, file: ModelFile) -> bool:
    # Unlike Path.is_file, this raises no error for a name too long, or a folder that may not be read.
    return os.path.isfile(path) and file.size in (None, path.stat().st_size)


def _fetch_file(file: ModelFile, folder: Path, progress: bool) -> None:
    """Fetch a file into the folder from the first source that has it; OSError means that the folder cannot be written."""
    failures = []
    for source in _sources(file):
        try:
            _fetch_from(source, file, folder, progress)
        except DownloadError as error:  # noqa: PERF203 (one turn takes seconds)
            failures.append(str(error))
        else:
            if failures:
                _log.warning("%s; took %s instead", failures[0], _label(source))
            return
    raise DownloadError(
        f"cannot fetch {file.name}: {'; '.join(failures) or 'it has no public address'}; without internet, put it into "
        f"{folder} (EDGEPOSE_MODELS) or set EDGEPOSE_MIRROR to a folder or base URL that has it"
    )


def _sources(file: ModelFile) -> Iterator[str | Path]:
    mirror = os.environ.get("EDGEPOSE_MIRROR")
    if mirror and mirror.startswith(("http://", "https://")):
        yield f"{mirror.rstrip('/')}/{quote(file.name)}"
    elif mirror and "://" in mirror:
        raise DownloadError(f"EDGEPOSE_MIRROR is {_label(mirror)}, expected a folder or an http or https address")
    elif mirror:
        yield _folder("EDGEPOSE_MIRROR", mirror) / file.name
    if file.url:
        yield file.url


def _folder(variable: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = text.partition("/")[0]
        raise DownloadError(f"{variable} is {text}, and there is no home folder {home}; give a folder's whole path") from None


def _fetch_from(source: str | Path, file: ModelFile, folder: Path, progress: bool) -> None:
    """Fetch a file from one source; DownloadError means that the source fails, OSError that the folder cannot be written."""
    from tqdm import tqdm

    label = _label(source)
    part = folder / f"{file.name}.part"
    algorithm, _, expected = (file.checksum or "").partition(":")
    digest = hashlib.new(algorithm.removesuffix("-prefix"))
    limit = file.size or MAX_BYTES
    size = 0
    chunks = _from_folder(source) if isinstance(source, Path) else _from_url(source)
    bar = tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, disable=None if progress else True)
    try:
        with contextlib.closing(chunks), bar, part.open("wb") as out:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise DownloadError(f"{label} has more than the {limit} bytes expected")
                out.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
            out.flush()
            os.fsync(out.fileno())  # a power cut must not leave a file of the right size and no content
        if file.size not in (None, size):
            raise DownloadError(f"{label} has {size} bytes, expected {file.size}")
        got = digest.hexdigest()[: len(expected)]
        if got != expected:
            raise DownloadError(f"{label} has {algorithm} {got}, expected {expected}: it is another file, or damaged")
        part.replace(folder / file.name)
    finally:
        part.unlink(missing_ok=True)


def _from_folder(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise DownloadError(f"cannot read {_label(path)} ({error.strerror or error})") from error


def _from_url(url: str) -> Generator[bytes, None, None]:
    import requests

    failure = f"cannot reach {_label(url)}"
    try:
        with requests.get(url, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as response:
            if not response.ok:
                raise DownloadError(f"{_label(url)} answers HTTP {response.status_code} {response.reason}")
            failure = f"{_label(url)} broke off"
            yield from response.iter_content(CHUNK_BYTES)
    except ValueError as error:  # Of requests, and of what is below it; it quotes what it got.
        raise DownloadError(f"{failure} (not an address that leads anywhere: {type(error).__name__})") from None
    except requests.RequestException as error:
        # Not `from error`, which may quote the address whole.
        raise DownloadError(f"{failure} ({_root(error)})") from None


def _label(source: str | Path) -> str:
    """The source as errors and logs name it: a mirror's address may hold a password, and be mistaken for a folder."""
    return showable(str(source))


def _root(error: BaseException) -> str:
    """The first cause of an exception that libraries wrapped several times, in one line."""
    while error.__context__ is not None:
        error = error.__context__
    return showable_text(" ".join(str(getattr(error, "strerror", None) or error).split())) or type(error).__name__
