"""``lightning_st report DIR [DIR ...]``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lightning_st.errors import ConfigError
from lightning_st.reports import compare_runs, write_report


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence, as every command does."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print below its usage.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"report takes the folders of runs: {message}.")


def report(words: Sequence[str]) -> None:
    """Write the report of each run folder again, and print a table where there are several."""
    parser = _Parser(
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
