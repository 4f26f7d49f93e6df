"""Names of files, classes and folders do nothing to a terminal, a page, Markdown or a file that they are written to."""

import ast
import csv
import io
import json
import logging
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import recipes
import yaml
from markdown_it import MarkdownIt

import lightning_st
from lightning_st.cli import main
from lightning_st.cli.console import prepare_console, say
from lightning_st.errors import AnnotationError, visible
from lightning_st.index import IndexWriter

FILES = [
    b"caf\xe9.jpg",  # no UTF-8
    b"<img src=x onerror=alert(1)>.jpg",
    b'"><script>alert(1)<script>.jpg',
    b"\x1b]0;owned\x07\x1b[31m.jpg",
    b"new\nline\r.jpg",
    "\u202egpj.exe.jpg".encode(),
    b"[red]a[bold]b.jpg",
    b"| a | b.jpg",
    b"[x](javascript:alert(1)).jpg",
    "日本語é.jpg".encode(),
]
CLASSES = ('<script>alert("c")</script>[x](javascript:alert(2))', "\x1b[31m=red| a |\u202e\n# head", "日本語é")
RUN = "run \x1b[31m<b>|x|"
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def rename(folder: Path) -> None:
    """Give a COCO set hostile names."""
    annotations = folder / "annotations.json"
    content = json.loads(annotations.read_text())
    for name, image in zip(FILES, content["images"], strict=False):
        whole = folder.name.encode() + name
        os.rename(folder / "images" / image["file_name"], os.path.join(os.fsencode(folder / "images"), whole))
        image["file_name"] = os.fsdecode(whole)
    for name, category in zip(CLASSES, content["categories"], strict=True):
        category["name"] = name
    annotations.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory) -> tuple[Path, str, str]:
    """A recipe of such names, whose run has two images that cannot be read; and what was said while it ran."""
    folder = tmp_path_factory.mktemp("names")
    recipe = recipes.tiny_recipe(folder / "data", max_bad_fraction=0.5, cache_folder=str(folder / "cache"))
    for name in ("labeled", "unlabeled", "val", "test"):
        path = folder / "data" / name / "annotations.json"
        content = json.loads(path.read_text())
        content["categories"] = [*content["categories"][:2], {"id": 8, "name": "third"}]
        path.write_text(json.dumps(content))
        rename(path.parent)
    for number in (0, 3):
        path = os.path.join(os.fsencode(folder / "data/unlabeled/images"), b"unlabeled" + FILES[number])
        Path(os.fsdecode(path)).write_bytes(b"no image")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    outputs = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", outputs[0])
        patch.setattr(sys, "stderr", outputs[1])
        patch.setattr(sys, "argv", ["lightning_st"])
        words = ["self_train", "--config", str(folder / "recipe.yaml"), "--output", str(folder / RUN)]
        assert main(words) == 0
    for output in outputs:
        output.seek(0)
    return folder, outputs[0].read(), outputs[1].read()


def test_nothing_reaches_the_terminal_that_could_move_it(hostile_run):
    said, logged = hostile_run[1:]
    assert not CONTROLS.search(said + logged)
    assert r"run \x1b[31m<b>|x|" in said
    assert r"caf\xe9.jpg" in logged or r"\x1b]0;owned\x07" in logged  # such as one that cannot be read


COMMANDS = {
    "check": lambda f: ["check", "--config", f / "recipe.yaml", "--output", f / "check.json"],
    "show labels": lambda f: ["show", "labels", "--config", f / "recipe.yaml", "--output", f / "sheet \x1b[31m"],
    "show pseudo_labels": lambda f: [
        "show", "pseudo_labels", f / RUN / "round_0/pseudo_labels", "--output", f / "sheet of \x1b[31m",
    ],
    "report": lambda f: ["report", f / RUN, f / RUN],
    "export": lambda f: ["export", f / RUN / "round_0/pseudo_labels", "--output", f / "out \x1b[31m.json"],
    "a missing folder": lambda f: ["report", f / "no \x1b[31m\nfolder\u202e"],
    "an unknown option": lambda f: ["check", "--config", f / "recipe.yaml", "--\x1b[31m\n", "x"],
    "a class that is not there": lambda f: [
        "show", "pseudo_labels", f / RUN / "round_0/pseudo_labels", "--output", f / "x", "--class", "\x1b[31m\n",
    ],
    "an unknown command": lambda f: ["\x1b[31m\n"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_what_a_name_holds(hostile_run, capsys, command):
    folder = hostile_run[0]
    status = main([str(word) for word in COMMANDS[command](folder)])
    printed = capsys.readouterr()
    assert not CONTROLS.search(printed.out + printed.err)
    assert "Traceback" not in printed.err
    if status == 2:
        assert printed.err.count("\n") == 1
    if command == "check":
        # A line for the head, one for each set: none of the names begins one.
        assert [line.split()[0] for line in printed.out.split("\n\n")[0].splitlines()] == [
            "set", "labeled", "unlabeled", "val", "test",
        ]  # fmt: skip
        assert "日本語é" in printed.out


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.policy = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"]


def pages(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.html") if "data" not in path.relative_to(folder).parts]


def test_pages_hold_no_script_and_forbid_it(hostile_run):
    folder = hostile_run[0]
    main(["show", "labels", "--config", str(folder / "recipe.yaml"), "--output", str(folder / "sheet")])
    assert len(pages(folder)) >= 2
    for path in pages(folder):
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        assert not {"script", "iframe", "object", "embed", "base", "form", "b"} & page.tags - {"b"}
        assert not [name for name in page.attributes if name.startswith("on")]
        assert not [link for link in page.links if ":" in link]
        assert page.policy.startswith("default-src 'none'; img-src 'self'")
        assert "script-src" not in page.policy
        assert not CONTROLS.search(text)
        assert "日本語é" in text


def test_every_template_forbids_scripts():
    templates = list((Path(lightning_st.__file__).parent / "reports").glob("*.html.jinja"))
    whole = [path for path in templates if "<html" in path.read_text()]
    assert len(whole) == 3
    for path in whole:
        text = path.read_text()
        assert text.index("Content-Security-Policy") < text.index("<title>")
        assert "<script" not in text
        assert "| safe" not in text


def test_markdown_shows_names_and_does_nothing(hostile_run):
    text = (hostile_run[0] / RUN / "report/report.md").read_text(encoding="utf-8")
    assert not CONTROLS.search(text)
    tokens = [token for block in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
              for token in [block, *(block.children or [])]]  # fmt: skip
    assert not [token for token in tokens if token.type in ("html_block", "html_inline")]
    links = [value for token in tokens for name, value in token.attrs.items() if name in ("href", "src")]
    assert links
    assert not [link for link in links if ":" in link]
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert "head" not in headings
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert cells <= {len(re.findall(r"(?<!\\)\|", row)) for row in rows if "---" in row}


def test_files_of_a_run_are_utf_8_and_keep_every_name(hostile_run):
    run = hostile_run[0] / RUN
    bad = json.loads((run / "round_0/pseudo_labels/manifest.json").read_text(encoding="utf-8"))["bad_images"]
    assert any(os.fsdecode(FILES[0]) in line for line in bad)  # the name itself, byte for byte
    assert any("\x1b]0;owned" in line for line in bad)
    assert json.loads((run / "check.json").read_text(encoding="utf-8"))["splits"]
    for path in run.rglob("metrics.csv"):
        text = path.read_text(encoding="utf-8")
        assert not CONTROLS.search(text.replace("\r", ""))
        with path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        # Nothing that a spreadsheet would compute: a column begins with where a number comes from.
        assert all(re.match(r"(step|epoch|lr|train/|val/|test/|student|seconds)", name) for name in header), header


def test_visible():
    assert visible("café 日本語 \U0001f600 \u200d") == "café 日本語 \U0001f600 \u200d"
    assert visible("\x1b[31m\n\r\t\x7f\x9b\u2028\u202e\u2066\udce9\ud800") == (
        r"\x1b[31m\n\r\t\x7f\x9b\u2028\u202e\u2066\xe9\ud800"
    )
    assert visible("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_terminal_without_the_letters_ends_no_program(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    say("café 日本語 \udce9")
    stream.flush()
    said = stream.buffer.getvalue().decode(encoding)
    assert (
        said
        == {
            "utf-8": "café 日本語 \\xe9\n",
            "ascii": "caf\\xe9 \\u65e5\\u672c\\u8a9e \\xe9\n",
            "latin-1": "café \\u65e5\\u672c\\u8a9e \\xe9\n",
        }[encoding]
    )


def test_log_lines_are_one_line(capsys):
    prepare_console()
    logging.getLogger("lightning_st.index").warning("%s: odd", "a\nb\x1b[2J")
    assert capsys.readouterr().err == "a\\nb\\x1b[2J: odd\n"


def test_the_title_of_a_bar_is_no_markup(monkeypatch, tmp_path):
    from rich.progress import Progress

    from lightning_st.index import build

    titles = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(Progress, "add_task", lambda self, title, total: titles.append(title) or 0)
    with build._bar("Indexing [red]\x1b[2J", is_shown=True):
        pass
    assert titles == [r"Indexing \[red]\x1b[2J"]


def test_a_class_whose_name_has_no_bytes_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"'\\ud800' is no name of a class"):
        IndexWriter(tmp_path / "x.index", classes=["\ud800"])


def test_the_command_line_prints_in_one_place():
    package = Path(lightning_st.__file__).parent
    prints = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in ("print", "sys.stdout.write", "sys.stderr.write", "warnings.warn"):
                prints.append(path.relative_to(package).as_posix())
    assert prints == ["cli/console.py"]
