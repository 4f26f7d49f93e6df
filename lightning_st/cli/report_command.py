"""``lightning_st report DIR [DIR ...]``: of runs, or of experiments."""

from collections.abc import Sequence
from pathlib import Path

from lightning_st.cli.console import say
from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.reports import compare_runs, write_experiment_report, write_report


def report(words: Sequence[str]) -> None:
    """Write the report of each run folder again, and print a table where there are several."""
    parser = OneSentenceParser(
        prog="lightning_st report",
        description="Write tables, plots, pictures and the HTML page of a run again, from what is there.",
    )
    parser.add_argument("runs", metavar="DIR", nargs="+", type=Path, help="the --output of self_train or experiment")
    folders: list[Path] = parser.parse_args(words).runs
    runs = [folder for folder in folders if not (folder / "experiment.json").is_file()]
    for folder in folders:
        write = write_report if folder in runs else write_experiment_report
        write(folder)
        say(folder / "report" / "index.html")
    if len(runs) > 1:
        say(compare_runs(runs))
