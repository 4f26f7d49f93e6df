"""The site: every page has its place, the reference shows every public name, and the links lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest
from guide_commands import DOCS

ROOT = DOCS.parent
ROOMS = ("checks", "data", "index", "models", "modules", "reports", "selftrain", "stages", "transforms")


def test_every_page_has_a_place():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    missing = [page for page in pages if not re.search(rf"- (.*: )?{re.escape(page)}$", nav, re.MULTILINE)]
    assert missing == [], "add a line for each to the nav of mkdocs.yml"


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_shows_a_room(room):
    """A function that is called as the module it lies in hides behind it, and needs a line of its own."""
    page = (DOCS / "api" / ("index_room.md" if room == "index" else f"{room}.md")).read_text()
    assert f"::: lightning_st.{room}\n" in page
    public = importlib.import_module(f"lightning_st.{room}").__all__
    hidden = [name for name in public if (ROOT / "lightning_st" / room / f"{name}.py").is_file()]
    assert [name for name in hidden if f"::: lightning_st.{room}.{name}.{name}\n" not in page] == []


@pytest.mark.parametrize("path", [*DOCS.rglob("*.md"), ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
