"""The inputs of a run over many files: what folders and patterns hold, and names for the results of each.

A folder or a pattern is listed in natural order. The results of each file are named like it, in the same tree of folders, with
the suffix of what they are; where two would have one name, the suffix of the input becomes part of both.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edgepose.errors import SourceError
from edgepose.media.animations import is_animation
from edgepose.media.cameras import MAX_CAMERAS, is_camera
from edgepose.media.images import READ_SUFFIXES

# Videos that are looked for in folders. A file that is named on the command line may have any suffix, or none.
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One file, camera or address of a run.

    Attributes:
        source: What to open.
        place: Where its results stand below a folder of results: its own name and the folders that it was found in.
    """

    source: str
    place: Path

    @cached_property
    def is_picture(self) -> bool:
        """Whether it is a single picture, by the suffix of its name; its first bytes tell an animation."""
        if Path(self.source).suffix.lower() not in READ_SUFFIXES or "://" in self.source:
            return False
        with suppress(OSError, ValueError), open(self.source, "rb") as file:
            return not is_animation(file.read(64))
        return True


@dataclass
class Listing:
    """What was found.

    Attributes:
        inputs: In the order of the sources, and in natural order within each.
        passed_over: Files in folders that are neither pictures nor videos.
        missing: Sources that cannot be listed, each with the reason.
        is_collection: Whether there may be several inputs: for several sources, a folder or a pattern.
    """

    inputs: list[Input] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    is_collection: bool = False


def list_inputs(sources: Sequence[str], *, recursive: bool = False, without: Iterable[Path] = ()) -> Listing:
    """The inputs that `sources` stand for: files, folders, patterns, cameras and addresses.

    Args:
        sources: As users write them: a "~" is their home, and a folder called 2024 is no camera.
        recursive: Look into the folders of folders, too, into each of them once, whatever links lead to it.
        without: Folders that are not looked into: those that results go to.
    """
    listing = Listing(is_collection=len(sources) > 1)
    avoided = {status for status in map(_identity, without) if status is not None}
    for source in sources:
        text = local_name(source)
        if os.path.isdir(text):
            listing.is_collection = True
            root = _identity(text)
            found = list(_files_below(text, recursive, avoided - {root}))
            if not _add_found(listing, found, Path(text)):
                listing.missing.append((source, _nothing_in(found, "this folder", recursive)))
        elif glob.has_magic(text) and "://" not in text and not os.path.lexists(text):
            listing.is_collection = True
            found = _matches(text, recursive, avoided)
            if not _add_found(listing, found, _fixed_part(text)):
                listing.missing.append((source, _nothing_in(found, "this pattern", recursive)))
        else:
            listing.inputs.append(Input(text, Path(_place_name(text))))
    # A file that is named twice, or in a folder that is named as well, is one input.
    listing.inputs = list({_spelling(each.source): each for each in reversed(listing.inputs)}.values())[::-1]
    return listing


def local_name(source: str) -> str:
    """`source` with a "~" at its beginning replaced by the home that it stands for; and "./2024" for a folder called 2024."""
    if source.startswith("~"):
        return os.path.expanduser(source)
    if re.fullmatch(r"[0-9]+", source) and int(source) >= MAX_CAMERAS and os.path.exists(source):
        return os.path.join(".", source)
    return source


def natural_order(path: str | Path) -> list[tuple[str, int]]:
    """A key to sort paths by: 2.jpg before 10.jpg, whatever the case."""
    pieces = re.findall(r"([^0-9]*)([0-9]*)", os.fspath(path))
    return [(text.casefold(), int(number or 0)) for text, number in pieces]


def result_paths(inputs: Sequence[Input], folder: Path, suffix: Callable[[Input], str]) -> dict[str, Path]:
    """Where the results of each input go below `folder`, by its source: no two to one place.

    Args:
        inputs: From `list_inputs`.
        folder: Of the results.
        suffix: What follows the name of an input without its own suffix, such as ".mp4".
    """
    plain = {each.source: each.place.with_name(each.place.stem + suffix(each)) for each in inputs}
    users = Counter(str(place).casefold() for place in plain.values())
    taken: set[str] = set()
    paths = {}
    for each in inputs:
        place = plain[each.source]
        if users[str(place).casefold()] > 1 and each.place.suffix:
            place = each.place.with_name(each.place.name + suffix(each))
        paths[each.source] = folder / _unused(place, taken)
    return paths


def _unused(place: Path, taken: set[str]) -> Path:
    """`place`, or where it is `taken`, the same with a number; notes it as taken."""
    number, path = 1, place
    while str(path).casefold() in taken:
        number += 1
        path = place.with_name(f"{place.stem}_{number}{place.suffix}")
    taken.add(str(path).casefold())
    return path


def _add_found(listing: Listing, found: Sequence[str], root: Path) -> bool:
    """Add what can be read of `found`; whether anything could."""
    count = len(listing.inputs)
    for path in found:
        if Path(path).suffix.lower() in READ_SUFFIXES or Path(path).suffix.lower() in VIDEO_SUFFIXES:
            listing.inputs.append(Input(path, Path(os.path.relpath(path, root))))
        else:
            listing.passed_over.append(path)
    return len(listing.inputs) > count


def _nothing_in(found: Sequence[str], where: str, recursive: bool) -> str:
    expected = f"expected files named {', '.join(READ_SUFFIXES)}, .mp4 or like another video"
    if where == "this pattern":
        return f"this pattern matches {f'{len(found)} files, none of them an image' if found else 'no files'}; {expected}"
    return f"no images in this folder, and no videos; {expected}{'' if recursive else ', or --recursive for the folders in it'}"


def _files_below(folder: str, recursive: bool, avoided: set[tuple[int, int]]) -> Iterator[str]:
    """The files of a folder that are not hidden, and those of its folders behind them, in natural order.

    Raises:
        SourceError: The folder itself cannot be read.
    """
    try:
        os.listdir(folder)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror or error}") from None
    for place in _folders_below(folder, avoided) if recursive else [folder]:
        yield from (path for path in _visible(place) if os.path.isfile(path))


def _folders_below(folder: str, avoided: set[tuple[int, int]]) -> Iterator[str]:
    """A folder and those in it that are not hidden, each once and at its own place rather than at a link's."""
    seen = set(avoided)
    linked = [folder]  # It grows on the way.

    def walk(place: str) -> Iterator[str]:
        identity = _identity(place)
        if identity is None or identity in seen:
            return
        seen.add(identity)
        yield place
        for path in _visible(place):
            if os.path.isdir(path) and os.path.islink(path):
                linked.append(path)
            elif os.path.isdir(path):
                yield from walk(path)

    for start in linked:
        yield from walk(start)


def _visible(folder: str) -> list[str]:
    try:
        names = sorted(sorted(os.listdir(folder)), key=natural_order)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if not name.startswith(".")]


def _matches(pattern: str, recursive: bool, avoided: set[tuple[int, int]]) -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(sorted(_glob(pattern)), key=natural_order):
        if os.path.isfile(path):
            found[path] = None
        elif "**" not in pattern and _identity(path) not in avoided:  # Of a "**", the files in the folders match as well.
            found.update(dict.fromkeys(_files_below(path, recursive, avoided)))
    return list(found)


def _glob(pattern: str) -> Iterator[str]:
    """What a pattern matches. Unlike Python's own, a "**" goes into each folder once, even where links make a circle."""
    before, stars, after = pattern.partition("**")
    if not stars:
        yield from glob.iglob(pattern)
        return
    for base in glob.glob(before or "."):
        for folder in _folders_below(base, set()):
            inside = os.path.join(glob.escape(folder), after.lstrip("/\\") or "*")
            yield from _glob(inside if before else os.path.relpath(inside, "."))


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _place_name(text: str) -> str:
    """The name of a file, or one made of an address or a camera's name."""
    if "://" not in text and not is_camera(text):
        return Path(text).name or "input"
    stem = text.partition("://")[2].rpartition("@")[2].partition("?")[0] if "://" in text else text
    return re.sub(r"[^0-9A-Za-z_.-]+", "_", stem).strip("_.")[:100] or "input"


def _spelling(source: str) -> str:
    return source if "://" in source or is_camera(source) else os.path.abspath(source)


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
