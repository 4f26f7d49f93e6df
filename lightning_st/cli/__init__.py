"""The command line: ``lightning_st COMMAND ...``, also ``python -m lightning_st COMMAND ...``.

Nothing heavy is imported before the command is known: ``--help``, ``report`` and ``export`` of labels load no torch.
"""

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

from lightning_st.cli.console import say, show_log
from lightning_st.cli.endings import ending_of
from lightning_st.cli.shipped_configs import find_shipped
from lightning_st.errors import LightningSTError, did_you_mean, visible

__all__ = ["main"]

# A command to its line in --help, and the function that runs it: "module:function", called with the arguments after it.
COMMANDS = {
    "quickstart": ("the command to begin with, and the configs that come along", "quickstart_command:quickstart"),
    "self_train": ("teacher, pseudo-labels, student (again with --rounds), report", "stage_commands:self_train"),
    "pseudo_label": ("a checkpoint's predictions on the unlabelled images", "stage_commands:pseudo_label"),
    "experiment": ("every combination of factors and seeds, and their tables", "experiment_command:experiment"),
    "pretrain": ("a backbone: by classes of images, by SimCLR, or beside a detector", "pretrain_command:pretrain"),
    "check": ("what is wrong with a config's data: images, labels, copies of val in the pool", "check_command:check"),
    "report": ("tables, plots and the page of one run, or a table of several", "report_command:report"),
    "show": ("contact sheets of labels, pseudo-labels, disagreement and augmentations", "show_command:show"),
    "export": ("a model as ONNX or torch.export; pseudo-labels as COCO JSON, YOLO or masks", "export_command:export"),
    "inspect": ("parameters, multiply-adds, shapes and memory of a config's model", "inspect_command:inspect"),
    "fit": ("train one model: a teacher, or a student on a store of pseudo-labels", "lightning_commands:run"),
    "validate": ("evaluate a checkpoint on val", "lightning_commands:run"),
    "test": ("evaluate a checkpoint on test", "lightning_commands:run"),
    "predict": ("a checkpoint on a folder of images: COCO JSON or masks, and pictures", "predict_command:predict"),
}
_LIGHTNING = ("fit", "validate", "test")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    It is 0; 2 for what the user can mend; 1 for errors that `check` found, and where another process of a run was lost;
    128 and its number for a signal that stopped it.
    A refusal is one sentence on standard error; with ``--debug`` or ``LIGHTNING_ST_DEBUG=1`` the traceback comes too.

    Args:
        arguments: The words after ``lightning_st``; None for those of the process.
    """
    # A file may be called what the terminal cannot write.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("LIGHTNING_ST_DEBUG") == "1"
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        say(_usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        say(import_module("lightning_st").__version__)
        return 0
    show_log(logging.WARNING)
    try:
        return _run(words[0], words[1:])
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        ending = None if debug else ending_of(error, words[0])
        if ending is None:
            raise
        sentence, status = ending
        if sentence:
            say(f"lightning_st: {visible(sentence)}", to_errors=True)
        return status


def _run(command: str, words: list[str]) -> int:
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS)
        raise LightningSTError(f"Unknown command {command!r}.{hint} `lightning_st --help` lists them.")
    # So that a config can name a class in a file of the user's; last, so that no such file hides a library's.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    words = find_shipped(words)
    module, _, function = COMMANDS[command][1].partition(":")
    run = getattr(import_module(f"lightning_st.cli.{module}"), function)
    return run([command, *words] if command in _LIGHTNING else words) or 0


def _usage() -> str:
    lines = [f"  {name:<14}{line}" for name, (line, _) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: lightning_st COMMAND [--config FILE ...] [--KEY VALUE ...]",
            "",
            "Self-training for detection and segmentation: a better model from images that nobody has labelled.",
            "",
            *lines,
            "",
            "`lightning_st COMMAND --help` lists a command's keys; --print_config prints its whole config.",
            "Start with: lightning_st self_train --config configs/quickstart.yaml",
        ]
    )
