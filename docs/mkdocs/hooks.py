"""What mkdocs does besides: files of the repository that the guides link to become pages of the site.

On a code host, a link from a guide to ``../../examples/own_neck.py`` leads to the file. The site holds ``docs/`` alone,
so such files are added to it here, and the links follow.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
SHOWN = ("README.md", "CHANGELOG.md", "configs/README.md", "benchmarks/README.md", "examples/*.py", "configs/*/*.yaml")
FOLDER = "repository"
"""Where they lie in the site."""

_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that are shown; code becomes a page with one block."""
    for path in shown():
        name = f"{FOLDER}/{page_of(path)}"
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".md"):
            content = text
        else:
            language = "python" if path.endswith(".py") else "yaml"
            content = f"# {posixpath.basename(path)}\n\n```{language}\n{text}```\n"
        files.append(File.generated(config, name, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave ``docs/`` lead to the pages that `on_files` added, and those of these pages back."""
    source = page.file.src_uri
    is_added = source.startswith(f"{FOLDER}/")
    real = source.removeprefix(f"{FOLDER}/") if is_added else f"docs/{source}"
    known = set(shown())

    def replace(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(real), match[1]))
        if target in known:
            uri = f"{FOLDER}/{page_of(target)}"
        elif target.startswith("docs/"):
            uri = target.removeprefix("docs/")
        else:
            return match[0]
        return f"]({posixpath.relpath(uri, posixpath.dirname(source) or '.')}{match[2] or ''})"

    return _LINK.sub(replace, markdown)


def shown() -> list[str]:
    """Return the paths of the files that are shown, from the root of the repository."""
    return sorted(path.relative_to(ROOT).as_posix() for pattern in SHOWN for path in ROOT.glob(pattern))


def page_of(path: str) -> str:
    """Return the name of the page of a file."""
    return path if path.endswith(".md") else f"{path}.md"
