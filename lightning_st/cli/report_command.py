"""``lightning_st report DIR [DIR ...]``."""

from collections.abc import Sequence
from pathlib import Path

from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.reports import compare_runs, write_report


def report(words: Sequence[str]) -> None:
    """Write the report of each run folder again, and print a table where there are several."""
    parser = OneSentenceParser(
        prog="lightning_st report",
        description="Write tables, plots, pictures and the HTML page of a run again, from what is there.",
    )
    parser.add_argument("runs", metavar="DIR", nargs="+", type=Path, help="the --output of a self_train run")
    folders: list[Path] = parser.parse_args(words).runs
    for folder in folders:
        write_report(folder)
        print(folder / "report" / "index.html")
    if len(folders) > 1:
        print(compare_runs(folders))
