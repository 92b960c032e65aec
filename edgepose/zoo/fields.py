"""The fields of a model's description, each with its check, and with the words for what it takes."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from edgepose.errors import ModelError
from edgepose.skeleton import SKELETONS
from edgepose.zoo.decoders import DECODERS, Task

Colour = Literal["BGR", "RGB"]
Layout = Literal["NCHW", "NHWC"]
Boxes = Literal["corners", "centre"]

_Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _whole(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 40


def _list(item: _Check, length: int | None = None) -> _Check:
    return lambda value: isinstance(value, list | tuple) and length in (None, len(value)) and all(map(item, value))


def _matching(pattern: str) -> _Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _one_of(literal: Any) -> tuple[str, _Check]:
    choices = get_args(literal)
    return " or ".join(choices), lambda value: value in choices


MODEL_FIELDS: dict[str, tuple[str, _Check]] = {
    "task": _one_of(Task),
    "decoder": (" or ".join(DECODERS), lambda value: isinstance(value, str) and value in DECODERS),
    "skeleton": (
        f"{' or '.join(SKELETONS)}, or a description of your own",
        lambda value: value in SKELETONS if isinstance(value, str) else isinstance(value, dict),
    ),
    "colour": _one_of(Colour),
    "layout": _one_of(Layout),
    "mean": ("three numbers", _list(_number, 3)),
    "scale": ("three positive numbers", _list(lambda value: _number(value) and value > 0, 3)),
    "size": ("height and width, two positive whole numbers", _list(_whole, 2)),
    "stride": ("a positive whole number", _whole),
    "multiple": ("a positive whole number", _whole),
    "padding": ("a grey level, a whole number from 0 to 255", lambda value: _whole(value, least=0) and value <= 255),
    "boxes": _one_of(Boxes),
    "person_label": ("a whole number of 0 or more", lambda value: _whole(value, least=0)),
    "min_score": ("a number from 0 to 1", _share),
    "min_confidence": ("a number from 0 to 1", _share),
    "detector": ("text", _text),
    "outputs": ("a list of channel counts, such as [19, 38]", _list(_whole)),
    "files": ("a list of files, each with its fields", _list(lambda value: isinstance(value, dict))),
    "gflops": ("a number", _number),
    "ap": ("a number, in percent", _number),
    "ap_protocol": ("text", _text),
    "licence": ("text", _text),
    "source": ("text", _text),
    "conversion": ("text", _text),
    "notes": ("text", _text),
}
REQUIRED = ("task", "decoder", "colour", "layout", "mean", "scale", "size", "stride")
FILE_FIELDS: dict[str, tuple[str, _Check]] = {
    "name": ("a plain file name", _matching(r"\w[\w.-]*")),
    "url": ("an http or https address", _matching(r"https?://\S+")),
    "size": ("bytes, a positive whole number", _whole),
    "checksum": (
        "sha256:, sha384: or sha256-prefix: and then 64, 96 or 8 lower-case hex digits",
        _matching(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha256-prefix:[0-9a-f]{8}"),
    ),
}


def checked(
    given: Mapping[str, object], expectations: dict[str, tuple[str, _Check]], required: tuple[str, ...], where: str
) -> dict[str, Any]:
    """The values of `given` that are not None, lists as tuples.

    Raises:
        ModelError: A field is unknown, missing or not as expected.
    """
    values = {field: value for field, value in given.items() if value is not None}
    for field, value in values.items():
        if field not in expectations:
            raise ModelError(f"{where}: unknown field {shown(field)}, expected one of {', '.join(expectations)}")
        expected, check = expectations[field]
        if not check(value):
            raise ModelError(f"{where}: {field} is {shown(value)}, expected {expected}")
    for field in required:
        if field not in values:
            raise ModelError(f"{where}: field {field} is missing, expected {expectations[field][0]}")
    return {field: tuple(value) if isinstance(value, list) else value for field, value in values.items()}


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def shown(value: object) -> str:
    """The value as an error quotes it: on one line, and short however large it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to print a whole number of more than 4,300 digits
        return "a number of thousands of digits"
