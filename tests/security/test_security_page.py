"""The page of promises names the test of each, and there is none that it does not name."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_each_promise_names_its_test_and_each_test_its_promise():
    promised = re.findall(r"^\*\*.+?\*\* \(`(\w+\.py)`\)", PAGE, re.MULTILINE)
    assert len(promised) == len(set(promised)) == 7
    own = Path(__file__).name
    assert sorted(promised) == sorted(path.name for path in FOLDER.glob("test_*.py") if path.name != own)


def test_who_looks_for_it_finds_it():
    for file in ("README.md", "docs/index.md", "mkdocs.yml"):
        assert "security.md" in (ROOT / file).read_text(encoding="utf-8"), file
