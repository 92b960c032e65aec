"""Files that are whole, or not there: atomic writes, and JSON lists that can be read at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from edgepose.errors import OutputError
from edgepose.media.files import JsonList, to_json, write_file

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["c.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "c.txt"
    write_file(path, b"old")
    with (
        small_disk(1000),
        pytest.raises(
            OutputError, match=r"c\.txt: cannot be written: File too large; check the folder, its rights and free space$"
        ),
    ):
        write_file(path, bytes(2000))
    with small_disk(1000), pytest.raises(OutputError):
        write_file(tmp_path / "new" / "folder" / "d.txt", bytes(2000))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["c.txt"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "c.txt", b"new")
    assert not os.listdir(tmp_path)


def test_a_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_file(tmp_path, b"")


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written: (Not a directory|File exists)"):
        write_file(tmp_path / "file" / "a.txt", b"")


@needs_full
def test_a_device_is_written_and_not_replaced() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot be written: No space left on device"):
        write_file(FULL, b"data")
    write_file(Path(os.devnull), b"data")
    assert FULL.is_char_device()
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    "name", ["a" * 235, "a" * 255, "ß" * 127, "a.b" * 80, "a." + "b" * 250], ids=lambda name: str(len(name))
)
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"
    file = JsonList(tmp_path / name)
    file.append(1)
    file.close()
    assert (tmp_path / name).read_bytes() == b"[1]\n"
    assert os.listdir(tmp_path) == [name]


def test_the_rights_of_an_older_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    path.touch(0o600)
    write_file(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    JsonList(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is write-protected from root")
def test_a_write_protected_file_is_no_place(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o400)
    with pytest.raises(OutputError, match="Permission denied"):
        write_file(path, b"new")
    assert path.read_text() == "old"


def test_a_list_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.json").write_text("old")
    for name, target in (("link", "there/a.json"), ("dangling", "there/b.json")):
        (tmp_path / name).symlink_to(target)
        JsonList(tmp_path / name).close()
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_text() == "[]\n"


def test_a_picture_does_not_go_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("somebody's")
    (tmp_path / "out.jpg").symlink_to("photo.jpg")
    write_file(tmp_path / "out.jpg", b"new")
    assert (tmp_path / "photo.jpg").read_text() == "somebody's"
    assert (tmp_path / "out.jpg").read_text() == "new"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_a_file_that_is_open_is_not_replaced(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        name = f"/dev/fd/{file.fileno()}"
        there = JsonList(name, lines=True)
        there.append(1)
        there.close()
        write_file(Path(name), b"2\n")
        assert os.fstat(file.fileno()).st_ino == (tmp_path / "a").stat().st_ino
    assert (tmp_path / "a").read_bytes() == b"2\n"
    assert os.listdir(tmp_path) == ["a"]


def test_names_that_are_not_unicode_survive() -> None:
    assert json.loads(to_json({"path": "Gr\udcfc\u00dfe"})) == {"path": "Gr\udcfc\u00dfe"}


def part_of(path: Path) -> Path:
    """The file beside `path` that becomes it."""
    (part,) = path.parent.glob(f".{path.stem}.*.part")
    return part


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("lone", [False, True])
def test_a_list_is_valid_json_after_every_value(tmp_path: Path, count: int, lone: bool) -> None:
    path = tmp_path / "new" / "a.json"
    values = [{"number": i, "text": "x" * (10 - 2 * i)} for i in range(count)]
    file = JsonList(path, lone=lone)
    assert not path.parent.exists()
    file.start()
    assert json.loads(part_of(path).read_bytes()) == []
    for i, value in enumerate(values):
        file.append(value)
        assert json.loads(part_of(path).read_bytes()) == (value if lone and i == 0 else values[: i + 1])
    file.close()
    file.close()
    assert path.read_bytes().endswith(b"\n")
    assert os.listdir(path.parent) == ["a.json"]


def test_lines_are_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = JsonList(path, lines=True)
    for i in range(3):
        file.append({"number": i})
        lines = part_of(path).read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"number": j} for j in range(i + 1)]
    file.close()


def test_an_older_file_stays_until_the_new_one_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    file = JsonList(path)
    assert os.listdir(tmp_path) == ["a.json"]
    file.append(1)
    assert path.read_text() == "old"
    file.close()
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("started", [False, True])
def test_what_is_not_to_be_kept_leaves_the_older_file_and_nothing_else(tmp_path: Path, started: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    file = JsonList(path)
    if started:
        file.append(1)
    file.close(keep=False)
    file.close()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_cannot_be_moved_is_kept_beside_and_the_error_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    file = JsonList(path)
    file.append(1)
    part = part_of(path)
    path.mkdir()  # Somebody makes a folder of that name, meanwhile.
    with pytest.raises(OutputError, match=rf"a\.json: cannot be written: .*; it is kept as .*{part.name}$"):
        file.close()
    assert part.read_text() == "[1]\n"


def test_closed_standard_output_is_an_error_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="-: cannot be written: standard output is closed"):
        JsonList("-")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
def test_standard_output_loses_nothing_by_its_other_name(tmp_path: Path) -> None:
    script = """
import sys
from edgepose.media.files import JsonList
print("before", flush=True)
file = JsonList("/dev/stdout", lines=True)
file.append(1)
file.close()
print("after")
"""
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", script], check=True, stdout=out)
    assert (tmp_path / "out").read_text() == "before\n1\nafter\n"


def test_an_older_longer_file_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("x" * 1000)
    JsonList(path).close()
    assert path.read_text() == "[]\n"


@pytest.mark.parametrize(
    ("options", "size", "room"),
    [
        ({}, 100, 8),
        ({}, 333, 2),
        ({}, 1500, 0),
        ({"lone": True}, 100, 8),
        ({"lone": True}, 600, 1),
        ({"lone": True}, 1500, 0),
        ({"lines": True}, 100, 8),
        ({"lines": True}, 1500, 0),
    ],
)
def test_a_full_disk_keeps_the_values_before(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]], options: dict[str, bool], size: int, room: int
) -> None:
    path = tmp_path / "a.json"
    value = {"text": "x" * size}
    with small_disk(1000), closing(JsonList(path, **options)) as file:
        for _ in range(room):
            file.append(value)
        with pytest.raises(OutputError, match=r"a\.json: cannot be written: File too large"):
            file.append(value)
    if options.get("lines"):
        assert [json.loads(line) for line in path.read_text().splitlines()] == [value] * room
    else:
        assert json.loads(path.read_bytes()) == (value if options.get("lone") and room == 1 else [value] * room)


@needs_full
def test_a_full_device_is_found_when_a_list_is_opened() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot be written: No space left on device"):
        JsonList(FULL)


@needs_full
def test_a_full_device_is_found_by_the_first_line() -> None:
    with (
        closing(JsonList(FULL, lines=True)) as file,
        pytest.raises(OutputError, match="/dev/full: cannot be written: No space left on device"),
    ):
        file.append({})


def test_a_list_on_standard_output_comes_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    file = JsonList("-")
    file.append(1)
    file.append(2)
    assert capfd.readouterr().out == ""
    file.close()
    file.close()
    assert json.loads(capfd.readouterr().out) == [1, 2]
    assert not sys.stdout.closed


def test_lines_on_standard_output_come_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    file = JsonList("-", lines=True)
    file.append({"number": 1})
    assert capfd.readouterr().out == '{"number":1}\n'
    file.close()
    print("still open")
    assert capfd.readouterr().out == "still open\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_takes_lists_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for lines, expected in ((False, b"[1,\n2]\n"), (True, b"1\n2\n")):
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        file = JsonList(path, lines=lines)
        file.append(1)
        file.append(2)
        file.close()
        assert os.read(reader, 100) == expected
        os.close(reader)


def test_a_reader_that_leaves_is_no_error_of_the_file(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = JsonList(path, lines=True)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        file.append(1)
    file.close()
