"""The README and the pages of docs/: short, whole, with links that lead somewhere, and true of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgepose
from edgepose.zoo.decoders import DECODERS
from edgepose.zoo.registry import from_yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "images" / "astronaut.jpg").stat().st_size < 120_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith("https://github.com/edgepose/edgepose/blob/main/"):
            path = str(ROOT / path.removeprefix("https://github.com/edgepose/edgepose/blob/main/"))
        elif "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f": {page.name}\n" in navigation for page in (ROOT / "docs").glob("*.md"))


def test_the_reference_has_every_public_name() -> None:
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert "::: edgepose.errors\n" in reference
    for name in edgepose.__all__:
        if not name.endswith("Error"):
            assert re.search(rf"edgepose\.{name}\b", reference), name


def rooms_imported(file: Path) -> Iterator[str]:
    """The rooms of the package that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgepose"):
            path = (node.module or "").split(".")[1:]
            yield from path[:1] or (alias.name for alias in node.names)


def test_no_room_imports_upwards() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    floors = {
        room: int(floor)
        for floor, rooms in re.findall(r"^\| ([0-9]) \| (.+) \|$", page, re.MULTILINE)
        for room in re.findall(r"`(\w+)`", rooms)
    }
    assert len(floors) > 20
    for file in (ROOT / "edgepose").glob("**/*.py"):
        room = file.relative_to(ROOT / "edgepose").parts[0].removesuffix(".py")
        upwards = [other for other in rooms_imported(file) if other != room and floors.get(other, -1) >= floors.get(room, 10)]
        assert not upwards, file


def test_descriptions_of_models_are_right() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert {from_yaml("mine", block, "models.md").decoder for block in blocks} == set(DECODERS)


def test_tests_import_nothing_from_benchmarks() -> None:
    modules = {"benchmarks", *(file.stem for file in (ROOT / "benchmarks").glob("*.py"))}
    for file in (ROOT / "tests").glob("**/*.py"):
        imported = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
        assert not imported & modules, file


@pytest.mark.parametrize("skeleton", [edgepose.OPENPOSE18, edgepose.COCO17], ids=lambda skeleton: skeleton.name)
def test_the_table_of_keypoints_is_that_of_the_code(skeleton: edgepose.Skeleton) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    column = 1 if skeleton is edgepose.OPENPOSE18 else 2
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| [0-9].*$", page, re.MULTILINE)]
    names = [row[column].strip("`") for row in rows]
    assert [name for name in names if name] == list(skeleton.keypoints)
