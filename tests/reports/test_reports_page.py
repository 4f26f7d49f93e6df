"""The page and its Markdown: complete, escaped, the same every time, and there for runs that are not finished."""

import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import fake_runs
import helpers
import pytest
from markdown_it import MarkdownIt

from lightning_st.reports import write_report

EVIL = ("<b>x|y", "a\"b'&amp;`*_c_*", "../{{ 7 * 7 }}")
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser sees: texts, links, tags; complains where tags do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.links, self.tags, self.alts = "", [], [], []
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]
        self.alts += [value for key, value in attrs if key == "alt"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def report(run: Path) -> tuple[Page, str]:
    write_report(run)
    page = Page((run / "report" / "index.html").read_text(encoding="utf-8"))
    return page, (run / "report" / "report.md").read_text(encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each Markdown table."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block] for block in blocks]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A finished run with a control arm."""
    return fake_runs.make_run(tmp_path_factory.mktemp("whole") / "run", control={"val": 0.318, "test": 0.308})


def test_a_whole_run_has_every_section(whole_run):
    page, text = report(whole_run)
    headings = ["Scores", "Learning curves", "Pseudo-labels", "What the teacher believed", "How it was made"]
    assert [heading for heading in headings if heading not in page.text] == []
    assert "What is missing" not in page.text
    assert page.tags.count("svg") == 7  # two curves, two histograms, score and truth, two classes' precision and recall
    assert page.tags.count("img") == text.count("![") == 24
    assert all(page.alts)
    assert "resnet10t" in page.text
    assert "16 min 42 s" in page.text
    assert "| test | student - teacher | +0.021 | +0.021 | +0.021 | - |" in text
    assert "| test | student - control | +0.004 | +0.004 | +0.004 | - |" in text
    assert "| disc | 44 |" in text
    assert "| human labels | 22 | 22 | 188 | 8.5 |" in text
    assert "| control | complete | checkpoints/best.ckpt | ema | 3,200 | 8 min 10 s |" in text
    assert {len(row) for table in tables(text) for row in table if table[0][0].strip() == "split"} == {9}


def test_the_first_sentence_is_the_verdict(whole_run):
    sentence = (
        "The student reaches 0.312 AP on test, 0.021 above its teacher and 0.004 above a teacher trained as long "
        "as both together. One seed: differences below about 0.01 are not facts."
    )
    page, text = report(whole_run)
    assert text.split("\n\n")[1] == sentence
    assert sentence[:100] in page.text[: page.text.index("What to try")]


def test_all_that_the_page_links_to_is_there_and_relative(whole_run):
    page, _ = report(whole_run)
    assert len(page.links) > 30
    assert [link for link in page.links if not (whole_run / "report" / link).is_file()] == []
    assert not any(link.startswith(("/", "http", "file")) for link in page.links)


def test_the_page_is_self_contained_and_has_no_script(whole_run):
    page, _ = report(whole_run)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in (whole_run / "report" / "index.html").read_text()


def test_the_same_files_give_the_same_bytes(whole_run):
    write_report(whole_run)
    first = files(whole_run / "report")
    write_report(whole_run)
    assert files(whole_run / "report") == first
    assert len(first) == 3 + 24


def test_a_report_leaves_nothing_beside_it(whole_run):
    before = {path.name for path in whole_run.iterdir()} - {"report"}
    write_report(whole_run)
    assert {path.name for path in whole_run.iterdir()} == before | {"report"}


def test_an_earlier_report_stays_where_a_new_one_fails(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=2)
    write_report(run)
    before = files(run / "report")
    (run / "round_0" / "student" / "metrics.csv").write_text("step,train/loss\n1,x\n")
    with pytest.raises(Exception, match="not convert string to float"):
        write_report(run)
    assert files(run / "report") == before
    assert not (run / "report.new").exists()


def test_names_from_the_data_cannot_break_the_page(tmp_path):
    run = fake_runs.make_run(
        tmp_path / "a <i>run",
        student={"test": 0.01},
        teacher={"test": 0.02},
        classes=EVIL,
        bad_images={"unlabeled": ["<img src=x>.jpg: cut | short"]},
    )
    page, text = report(run)
    for name in (*EVIL, "a <i>run", "<img src=x>.jpg: cut | short"):
        assert name in page.text
    assert page.tags.count("b") == page.tags.count("img") == 24  # captions; none from a name
    # An independent reading of the Markdown: every table keeps its columns, every name is text.
    shown = Page(MarkdownIt("commonmark").enable("table").render(text))
    for name in (*EVIL, "a <i>run", "<img src=x>.jpg: cut | short"):
        assert name in shown.text
    assert not {"b", "i", "em", "code"} & set(shown.tags)
    assert shown.tags.count("img") == 24
    assert [table for table in tables(text) if len({len(row) for row in table}) != 1] == []


@pytest.mark.parametrize(
    ("teacher", "student", "words"),
    [
        (None, None, ["There is no teacher yet.", "Round 0 has no pseudo-labels yet.", "Round 0 has no student yet."]),
        ({"val": 0.3, "test": 0.29}, None, ["Round 0 has no student yet."]),
    ],
    ids=["nothing", "no student"],
)
def test_an_unfinished_run_gives_what_is_there(tmp_path, teacher, student, words):
    run = fake_runs.make_run(tmp_path / "run", teacher, student, state="running")
    page, text = report(run)
    assert [word for word in words if word not in page.text or word not in text] == []
    assert "No verdict yet" in text
    assert page.tags.count("img") == (0 if teacher is None else 24)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_that_was_not_given_is_named(tmp_path, split):
    other = {"val": "test", "test": "val"}[split]
    data = {"labeled": {"images": 22, "labels": 188}, other: {"images": 73, "labels": 900}}
    run = fake_runs.make_run(tmp_path / "run", {other: 0.3}, {other: 0.33}, image_count=2, data=data)
    page, text = report(run)
    assert f"There is no {split} split (data.{split})" in page.text
    assert f"0.330 AP on {other}" in text


def test_stages_that_were_cut_are_named(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    fake_runs.write_training(run / "round_0" / "student", None, state="running")
    page, _ = report(run)
    assert "round_0/student is not complete" in page.text


def test_a_labelling_that_was_cut_shows_no_counts(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", student=None)
    images, truth = helpers.write_coco(tmp_path / "other", 3)
    fake_runs.write_labels(run / "round_0" / "pseudo_labels", images, truth, state="running")
    page, _ = report(run)
    assert "round_0/pseudo_labels is not complete" in page.text
    assert page.tags.count("img") == 0


def test_a_store_without_its_index_costs_only_the_pictures(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=3)
    (run / "round_0" / "pseudo_labels" / "labels.index").unlink()
    page, text = report(run)
    assert "There are no pictures" in page.text
    assert "labels an image" in text


def test_images_that_are_gone_cost_only_the_pictures(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=3)
    shutil.rmtree(tmp_path / "run_photos" / "images")
    page, _ = report(run)
    assert "none of their images can be read" in page.text
    assert "pictures: 3 images could not be drawn" in page.text


def test_what_was_skipped_is_counted_once_and_listed(tmp_path):
    bad = [f"image_{number}.jpg: cut" for number in range(60)]
    run = fake_runs.make_run(tmp_path / "run", image_count=2, bad_images={"unlabeled": bad})
    student = run / "round_0" / "student" / "manifest.json"
    student.write_text(json.dumps(json.loads(student.read_text()) | {"bad_images": [bad[0], "own.jpg: cut"]}))
    page, text = report(run)
    assert "unlabeled: 60 images could not be read" in page.text
    assert "and 10 more" in page.text
    assert "round_0/student: 1 image could not be read" in text


def test_boxes_that_were_left_out_are_named(tmp_path):
    problems = {"no_area": {"count": 12, "examples": ["labels.json: annotations[3]: width 0"]}}
    data = {"labeled": {"images": 22, "labels": 188, "problems": problems}, "test": {"images": 73}}
    page, text = report(fake_runs.make_run(tmp_path / "run", image_count=2, data=data))
    assert "data.labeled, labels that are not as they should be: no area: 12" in page.text
    assert "and 11 more" in page.text
    assert "annotations\\[3\\]: width 0" in text


def test_a_run_without_any_pseudo_label_is_shown(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", student=None, image_count=2)
    path = run / "round_0" / "pseudo_labels" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["thresholds"] = {"keep": [2.0, 2.0], "ignore": [2.0, 2.0]}
    manifest["statistics"] |= {"images_with_labels": 0, "labels": 0, "unsure": 0, "mean_score": None}
    manifest["statistics"] |= {"labels_by_class": {"square": 0, "disc": 0}, "labels_per_image": [2] + [0] * 50}
    path.write_text(json.dumps(manifest))
    _, text = report(run)
    assert "| square | 144 | 77% | 0 | - | never | - | - | - |" in text
    assert "| pseudo-labels | 2 | 0 | 0 | 0.0 | 0 | - |" in text


def test_several_rounds_are_told_apart(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=2)
    fake_runs.write_training(run / "round_1" / "student", {"val": 0.33, "test": 0.318})
    page, text = report(run)
    assert "student of round 1" in page.text
    assert "Round 1 has no pseudo-labels yet." in text


def test_a_report_needs_no_torch_and_no_minutes(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from lightning_st.reports import write_report, compare_runs;"
        f"run = Path({str(run)!r}); write_report(run); compare_runs([run]);"
        "sys.exit(bool({'torch', 'lightning', 'matplotlib', 'cv2'} & set(sys.modules)))"
    )
    start = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert time.perf_counter() - start < 10  # about 0.7 s on one core; room for a busy machine
