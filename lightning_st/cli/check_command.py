"""``lightning_st check``: what is wrong with the data of a config, before a training."""

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_st.checks import Finding, Report, Settings, check_splits, open_splits
from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.parsing import add_not_read, make_parser, parse
from lightning_st.cli.vocabulary import check_vocabulary
from lightning_st.data import SelfTrainingDataModule, Split
from lightning_st.errors import ConfigError, visible
from lightning_st.index import write_exclusions
from lightning_st.stages.building import build, import_name
from lightning_st.stages.manifest import write_json

FOUND_ERRORS = 1
"""Exit status where a training would be wrong or refused; 2 says that the check itself could not be made."""

_WIDTH = 110
_MOST_CLASSES = 6


def check(words: Sequence[str]) -> int:
    """Print what is wrong with the data of a config, and write it where that is asked for.

    Returns:
        The exit status: 0, or ``FOUND_ERRORS``.

    Raises:
        ConfigError: If a key is wrong.
        DataError: If a set cannot be opened.
    """
    output, others = _take_output(words)
    config = _parse(others)
    prepare_console()
    data = SelfTrainingDataModule(**_arguments(config))
    splits = open_splits(data)
    settings = Settings(
        image_size=data.image_size,
        max_bad_fraction=data.max_bad_fraction,
        seed=data.seed,
        sample=config["sample"],
        workers=data.num_workers,
        cache_folder=data.cache_folder,
    )
    count = sum(min(len(split), settings.sample or len(split)) for split in splits.values())
    with _bar(count) as (advance, searching):
        report = check_splits(splits, settings, advance, searching)
    say(format_report(report))
    if output is not None:
        write_json(Path(output), report.to_json())
    if config["exclude"] is not None:
        say(f"\n{_write_exclusions(Path(config['exclude']), report, splits)}")
    return FOUND_ERRORS if report.count("error") else 0


def format_report(report: Report) -> str:
    """Return the counts of each set, and the findings, the most serious first."""
    lines = [*map(visible, _table(report)), ""]
    for found in report.findings:
        lines += [*map(visible, _lines_of(found)), ""]
    errors, warnings = report.count("error"), report.count("warning")
    if not errors and not warnings:
        return "\n".join([*lines, "Nothing that a training has to wait for."])
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((errors, "error"), (warnings, "warning"))
    ]
    return "\n".join([*lines, f"{counts[0]}, {counts[1]}."])


def _table(report: Report) -> Iterator[str]:
    rows = [("set", "images", "labels", "median size", "classes, by labels")]
    for name, counts in report.splits.items():
        images = f"{counts['images']:,}"
        if counts["looked_at"] < counts["images"]:
            images += f" ({counts['looked_at']:,} looked at)"
        size = " x ".join(map(str, counts["sizes"]["median"])) if "sizes" in counts else "-"
        labels = f"{counts['labels']:,}" if "labels" in counts else "-"
        rows.append((name, images, labels, size, _classes(counts)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{row[column]:>{widths[column]}}" for column in (1, 2, 3)), row[4]]
        yield "  ".join(cells).rstrip()


def _classes(counts: dict[str, Any]) -> str:
    by_class = sorted(counts.get("labels_by_class", {}).items(), key=lambda item: -item[1])
    shown = [f"{name} {count:,}" for name, count in by_class[:_MOST_CLASSES]]
    more = [f"{len(by_class) - _MOST_CLASSES} more"] if len(by_class) > _MOST_CLASSES else []
    ignored = counts.get("ignored_part")
    return ", ".join([*shown, *more]) + (f"; {ignored:.1%} of the pixels ignored" if ignored else "")


def _lines_of(found: Finding) -> Iterator[str]:
    yield from textwrap.wrap(
        f"{found.severity.upper():<9}{found.split}: {found.text}", _WIDTH, subsequent_indent=" " * 9
    )
    yield from (f"{'':11}{line}" for line in found.examples)
    if len(found.examples) < found.count and found.examples:
        yield f"{'':11}... {found.count - len(found.examples):,} more"
    yield from textwrap.wrap(found.advice, _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 9)


def _write_exclusions(path: Path, report: Report, splits: dict[str, Split]) -> str:
    """Write the list of ``--exclude`` and return what to do with it."""
    if not report.excluded:
        return f"{path} was not written: no image that is trained on is also in val or test."
    path.parent.mkdir(parents=True, exist_ok=True)
    count = write_exclusions(path, [(splits[name].index, rows) for name, rows in report.excluded.items()])
    keys = " ".join(f"--data.{name}.exclude {path}" for name in report.excluded)
    return f"{path}: {count:,} name{'' if count == 1 else 's'}. Leave them out with {keys}"


@contextmanager
def _bar(total: int) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """Show a bar on a terminal while images are looked at and copies are searched; it is gone afterwards."""
    if not sys.stderr.isatty():
        yield lambda count: None, lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Looking at images", total=total)
        yield (
            lambda count: bar.update(task, advance=count),
            lambda: bar.update(task, description="Searching copies", total=None),
        )


def _take_output(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the file of ``--output``, and the other words.

    In a config ``output`` is the folder of a run, which is not meant here, whichever of the two comes last.

    Raises:
        ConfigError: If the file is missing.
    """
    output, others, following = None, [], iter(words)
    for word in following:
        name, is_given, value = word.partition("=")
        if name != "--output":
            others.append(word)
            continue
        output = value if is_given else next(following, "")
        if not output or output.startswith("--"):
            raise ConfigError("--output needs a value: the JSON file to write the findings to.")
    return output, others


def _parse(words: Sequence[str]) -> dict[str, Any]:
    parser = make_parser(
        "check",
        "Say what is wrong with the data of a config of self_train or fit, before it is trained on: "
        "images, labels, class names, and copies between sets. The exit status is 1 where a training would be wrong "
        "or refused.",
    )
    parser.add_argument("--config", action="config", help="a config in YAML; several are merged in order")
    help_exclude = "a file to write the names of images to that are trained on and also in val or test"
    parser.add_argument("--exclude", type=str | None, default=None, help=help_exclude)
    help_sample = "look at this many images of each set only, drawn by seed_everything"
    parser.add_argument("--sample", type=int | None, default=None, help=help_sample)
    parser.add_argument("--seed_everything", type=int | bool | None, default=0, help="of samples and data.*.fraction")
    parser.add_class_arguments(SelfTrainingDataModule, "data", instantiate=False)
    help_model = "its class says whether boxes or masks are learnt"
    parser.add_argument("--model", type=dict[str, Any] | str | None, default=None, help=help_model)
    parser.add_argument("--output", type=Any, help="a JSON file to write the findings to")
    add_not_read(parser, read=("output", "seed_everything"))
    plain = parse(parser, words, check_vocabulary, is_recipe=None)
    if plain["sample"] is not None and plain["sample"] < 1:
        raise ConfigError.expected("sample", "at least 1", plain["sample"])
    return plain


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the DataModule; what is learnt the model's class says, and nothing is augmented."""
    seed = config["seed_everything"]
    arguments: dict[str, Any] = build(config["data"] | {"augment": "none", "augment_options": None})
    if arguments["seed"] is None and isinstance(seed, int) and not isinstance(seed, bool):
        arguments["seed"] = seed
    if arguments["target"] is None:
        arguments["target"] = _target_of(config["model"])
    return arguments


def _target_of(model: Any) -> str | None:
    """Return what a model learns, by its class path or that of its task; None where none is named."""
    if isinstance(model, dict):
        task = (model.get("init_args") or {}).get("task")
        return _target_of(task or model.get("class_path"))
    return getattr(import_name(model), "target", None) if isinstance(model, str) and "." in model else None
