"""The look that a run takes at a teacher's labels before a student learns from them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import StageError
from lightning_st.selftrain import signs_of_collapse
from lightning_st.stages.announce import announce
from lightning_st.stages.patience import val_score
from lightning_st.stages.recipe import Recipe


def watch(recipe: Recipe, run: Path, number: int, labels: Mapping[str, Any], data: SelfTrainingDataModule) -> list[str]:
    """Say what looks like a collapse in the labels of a round, and return it.

    Args:
        recipe: The run's.
        run: Its folder; the stages before the round's student are complete.
        number: Of the round, from 0.
        labels: The manifest of its store.
        data: What the run is made from.

    Raises:
        StageError: If there is a sign and ``pseudo_label.at_collapse`` is "stop".
    """
    first = run / "round_0" / "teacher"
    teacher = first if number == 0 else run / f"round_{number - 1}" / "student"
    scores = [val_score(folder) if data.has("val") else ("", math.nan) for folder in (teacher, first)]
    signs = signs_of_collapse(
        labels["statistics"], data.split("labeled").statistics(), scores[0][0], scores[0][1], scores[1][1]
    )
    store = run / f"round_{number}" / "pseudo_labels"
    if signs and recipe.labelling().at_collapse == "stop":
        advice = "Look at them (lightning_st show pseudo_labels); --pseudo_label.at_collapse warn goes on with them."
        raise StageError(f"{store}: {' '.join(signs)} {advice}")
    for sign in signs:
        announce(f"{store}: {sign}")
    return signs
