from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

import requests
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from edgepose.server.uploads import MAX_PARTS, first_file

KIND = 'multipart/form-data; boundary="x y"'
FILE = b'Content-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'


def encoded(fields: dict[str, bytes], files: dict[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    request = requests.Request("POST", "http://localhost/", data=fields, files=files).prepare()
    assert isinstance(request.body, bytes)
    return request.body, str(request.headers["content-type"])


@given(st.binary(), st.binary(), st.text("ab\"\\;=ü'", min_size=1), st.booleans())
def test_the_first_file_of_a_form_as_programs_write_it(content, other, name, has_field):
    fields = {"field": b"1\r\n\r\n2"} if has_field else {}
    form, kind = encoded(fields, {"a": (name, content), "b": ("b", other)})
    assert first_file(form, kind) == content


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"\r\n--x", b"1--x y", b"\r\n -- x y", b"\n--x y--\n", b"\r\n--\r\n\0\xff", b"-" * 9]
)
def test_content_that_looks_like_a_delimiter(content):
    assert first_file(b"--x y\r\n" + FILE + content + b"\r\n--x y--\r\n", KIND) == content


def test_what_stands_around_the_parts_does_not_count():
    field = b'Content-Disposition: form-data; name="filename"\r\nX: filename=1\r\n\r\n1'
    form = b"before\r\n--x y \t\r\n" + field + b"\r\n--x y\r\ncontent-type: image/png\r\n" + FILE + b"data\r\n--x y--\r\nafter"
    assert first_file(form, KIND) == b"data"


REFUSED = [
    ("no boundary", b"--x\r\n" + FILE + b"1\r\n--x--", "multipart/form-data"),
    ("an empty boundary", b"--\r\n" + FILE + b"1\r\n----", "multipart/form-data; boundary="),
    ("nothing", b"", KIND),
    ("only an end", b"--x y--", KIND),
    ("a file that is cut short", b"--x y\r\n" + FILE + b"1\r\n--x", KIND),
    ("a head that is cut short", b"--x y\r\n" + FILE[:30], KIND),
    ("lines that end otherwise", (b"--x y\r\n" + FILE + b"1\r\n--x y--\r\n").replace(b"\r", b""), KIND),
    ("an endless head", b"--x y\r\nA: " + b"a" * 10_000 + b"\r\n" + FILE + b"1\r\n--x y--", KIND),
    ("too many parts", (b"--x y\r\n\r\n1\r\n" * MAX_PARTS) + b"--x y\r\n" + FILE + b"1\r\n--x y--", KIND),
]


@pytest.mark.parametrize(("form", "kind"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_form_without_a_whole_file_is_refused(form, kind):
    with pytest.raises(HTTPException) as refused:
        first_file(form, kind)
    assert refused.value.status_code == 400


def test_as_many_parts_as_are_allowed():
    form = (b"--x y\r\n\r\n1\r\n" * (MAX_PARTS - 1)) + b"--x y\r\n" + FILE + b"1\r\n--x y--"
    assert first_file(form, KIND) == b"1"
