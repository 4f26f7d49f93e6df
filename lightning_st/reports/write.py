"""Writing a report: everything beside its place first, then swapped in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_st.errors import IndexFileError
from lightning_st.index import AnnotationIndex
from lightning_st.reports.contents import gather
from lightning_st.reports.metrics import run_metrics
from lightning_st.reports.pictures import Gallery, draw_gallery
from lightning_st.reports.render import render_html, render_markdown
from lightning_st.reports.run_folder import Run, read_run
from lightning_st.reports.text import write_record, write_text


def write_report(run_folder: Path) -> dict[str, Any]:
    """Write ``report/`` in a run's folder from the files that the run left, finished or not; replace an earlier one.

    It holds ``metrics.json``, ``report.md``, ``index.html`` and ``pictures/``. The same files give the same bytes.

    Args:
        run_folder: The ``--output`` of ``lightning_st self_train``.

    Returns:
        What ``metrics.json`` holds: see `run_metrics`.

    Raises:
        StageError: If the folder holds no run, or a file of it cannot be read.
    """
    run = read_run(Path(run_folder))
    metrics = run_metrics(run)
    with swapped_in(run.folder / "report") as report:
        gallery, notes = _draw(run, report)
        contents = gather(run, gallery, notes)
        write_record(report / "metrics.json", metrics)
        write_text(report / "report.md", render_markdown(contents))
        write_text(report / "index.html", render_html(contents))
    return metrics


def _draw(run: Run, report: Path) -> tuple[Gallery, list[str]]:
    """Draw the pictures; where that cannot be done, say why."""
    if run.labels is None or run.labels.thresholds is None:
        return Gallery(), []
    try:
        index = AnnotationIndex.open(run.labels.folder / "labels.index")
    except IndexFileError as error:
        return Gallery(), [f"There are no pictures: {error}"]
    gallery = draw_gallery(index, run.labels.thresholds, report)
    if not gallery.pictures:
        why = "none of their images can be read" if gallery.unreadable else "the store holds no object"
        return gallery, [f"There are no pictures of pseudo-labels: {why}."]
    return gallery, []


@contextmanager
def swapped_in(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to write to, and put it in its place when all is written."""
    new, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
