"""``lightning_st show WHAT ...``: contact sheets; of pseudo-labels without torch."""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from lightning_st.cli.console import say
from lightning_st.cli.named_labels import open_labels, thresholds_of
from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.cli.store_pictures import require_count, sentences_on_stores, store_tiles
from lightning_st.errors import ConfigError
from lightning_st.reports.choice import STORE_ORDERS, choose
from lightning_st.reports.sheet import PAGE, Sheet, Unreadable, write_sheet
from lightning_st.types import BoxKind, ScoreThresholds

# What can be shown to its line in --help, and the function that shows it: see ``COMMANDS``.
SHEETS = {
    "labels": ("human labels of a config's data", "show_data:labels"),
    "pseudo_labels": ("what a teacher believed: a store that pseudo_label or self_train left", "show_command:stored"),
    "disagreement": (
        "the val images on which a run's teacher and student differ most",
        "show_disagreement:disagreement",
    ),
    "augmentations": ("what S1 to S4 and the config's own augmentation do to its images", "show_data:augmentations"),
}


def show(words: Sequence[str]) -> None:
    """Write a contact sheet of what the first word names.

    Raises:
        ConfigError: If it names nothing that can be shown.
    """
    if not words or words[0] in ("-h", "--help"):
        say(_usage())
        return
    if words[0] not in SHEETS:
        raise ConfigError.unknown_choice("thing to show", words[0], SHEETS)
    module, _, function = SHEETS[words[0]][1].partition(":")
    getattr(import_module(f"lightning_st.cli.{module}"), function)(words[1:])


def stored(words: Sequence[str]) -> None:
    """Write a contact sheet of a store of pseudo-labels."""
    parser = OneSentenceParser(
        prog="lightning_st show pseudo_labels",
        description="A contact sheet of pseudo-labels: index.html, sheet.png and pictures/.",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="bands: spread over the scores, as in the report. class: the classes in turn, rare ones too.",
    )
    parser.add_argument("labels", metavar="DIR", type=Path, help="what pseudo_label left, or a file *.index")
    parser.add_argument("--output", type=Path, required=True, help="the folder for the sheet")
    parser.add_argument("--count", type=int, default=24, help="pictures at most; 24 where missing")
    parser.add_argument("--order", choices=STORE_ORDERS, default="bands")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="only images with labels of this class")
    parser.add_argument("--score_threshold", type=float, help="from this score (0-1) on, instead of the store's own")
    given = parser.parse_args(words)
    require_count(given.count)
    index = open_labels(given.labels)
    class_count = len(index.classes)
    found = thresholds_of(given.labels, class_count, given.score_threshold)
    thresholds = ScoreThresholds.uniform(class_count, 0.0) if found is None else found
    is_kept = thresholds.kinds(index.labels, index.scores) == BoxKind.OBJECT
    chosen = choose(index, np.arange(len(index)), is_kept, given.order, given.count, given.class_name)
    unreadable = Unreadable()
    parts = given.labels.resolve().parts
    # A run's own stores are all called alike.
    name = "/".join(parts[-3:]) if len(parts) > 2 and parts[-2].startswith("round_") else parts[-1]
    sheet = Sheet("Pseudo-labels", name, sentences_on_stores(index, given.order == "bands"), index.classes)
    count = write_sheet(sheet, store_tiles(index, thresholds, chosen, unreadable), given.output, unreadable)
    say(f"{given.output / PAGE}: {count} pictures")


def _usage() -> str:
    lines = [f"  {name:<15}{line}" for name, (line, _) in SHEETS.items()]
    return "\n".join(
        [
            "usage: lightning_st show WHAT ... --output DIR",
            "",
            "Contact sheets: a page that needs nothing else, its pictures, and all of them on one PNG.",
            "",
            *lines,
            "",
            "`lightning_st show WHAT --help` lists the keys.",
        ]
    )
