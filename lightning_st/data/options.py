"""The arguments of the DataModule: what is accepted."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from lightning_st.data.sampling import pseudo_count
from lightning_st.errors import ConfigError
from lightning_st.types import TargetName

EXAMPLES = ("trees",)
"""Example data that can be fetched."""

TARGETS = get_args(TargetName)
"""What can be learnt of the images."""

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (lambda value: value >= 1, "at least 1"),
    "eval_batch_size": (lambda value: value >= 1, "at least 1"),
    "epoch_batches": (lambda value: value is None or value >= 1, "at least 1"),
    "num_workers": (lambda value: value >= 0, "at least 0"),
    "max_bad_fraction": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "score_threshold": (lambda value: value is None or 0 < value <= 1, "above 0 and at most 1"),
    "seed": (lambda value: 0 <= value < 2**32, "from 0 to 2**32 - 1"),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse values out of range.

    Args:
        options: Argument to value; others than those of ``SelfTrainingDataModule`` do not matter.

    Raises:
        ConfigError: Naming the argument.
    """
    for name, (is_allowed, allowed) in _RULES.items():
        if not is_allowed(options[name]):
            raise ConfigError.expected(f"data.{name}", allowed, options[name])
    if options["example"] not in (None, *EXAMPLES):
        raise ConfigError.unknown_choice("data.example", str(options["example"]), EXAMPLES)
    if options["target"] not in TARGETS:
        raise ConfigError.unknown_choice("data.target", str(options["target"]), TARGETS)
    _refuse_unfit(options, options["target"])
    pseudo_count(options["batch_size"], options["pseudo_ratio"])


def _refuse_unfit(options: Mapping[str, Any], target: TargetName) -> None:
    """Refuse what has no place beside the target.

    Raises:
        ConfigError: Naming the argument.
    """
    sources = {name for name, source in options["sources"].items() if source is not None}
    if target == "views":
        advice = "What learns from two views of an image needs no label: give data.unlabeled.images alone."
        others = [name for name in sorted(sources) if name != "unlabeled"]
        if others:
            raise ConfigError.expected(f"data.{others[0]}", "left out", options["sources"][others[0]].images, advice)
    if target != "boxes":
        advice = f"It goes with a model of boxes; here {target} are learnt."
        if "joint" in sources:
            raise ConfigError.expected("data.joint", "left out", options["sources"]["joint"].images, advice)
        if options["example"] is not None:
            raise ConfigError.expected("data.example", "left out", options["example"], advice)
    if target in ("classes", "views") and options["pseudo_labels"] is not None:
        advice = "Pseudo-labels are boxes or masks."
        raise ConfigError.expected("data.pseudo_labels", "left out", options["pseudo_labels"], advice)


def read_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width).

    Raises:
        ConfigError: If it is neither one number nor two.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ConfigError.expected("data.image_size", "one or two whole numbers of pixels, [height, width]", image_size)
    return sides[0], sides[1]
