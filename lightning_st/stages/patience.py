"""When rounds stop: after several in a row that did not help.

Nothing is remembered but what the stages left in their folders, so a run that is cut decides as one that is not.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_st.stages.evaluate import is_better


@dataclass
class RoundsSoFar:
    """What the rounds brought: one helped if its student's score on val is above all before it, the teacher's too.

    Attributes:
        patience: Rounds in a row that may not help.
        metric: What the score is called.
        best: The highest score so far, 0-1; at first that of the teacher, NaN where it is undefined.
        best_round: Whose student has it; None while it is the teacher's.
        done: How many rounds there were.
    """

    patience: int
    metric: str
    best: float
    best_round: int | None = None
    done: int = 0

    def add(self, score: float) -> None:
        """Count a round, by its student's score on val."""
        if is_better(score, None if math.isnan(self.best) else self.best):
            self.best, self.best_round = score, self.done
        self.done += 1

    @property
    def vain(self) -> int:
        """How many rounds in a row did not help, up to now."""
        return self.done if self.best_round is None else self.done - 1 - self.best_round

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self.vain >= self.patience

    def stopped(self, wanted: int) -> str | None:
        """Return a sentence on why fewer rounds than ``wanted`` were run; None where they were not."""
        if self.done >= wanted or not self.is_over:
            return None
        owner = "its first teacher" if self.best_round is None else f"the student of round {self.best_round}"
        rounds = "the last round" if self.vain == 1 else f"the last {self.vain} rounds"
        value = "undefined one" if math.isnan(self.best) else f"{self.best:.3f}"
        return (
            f"{self.done} of {wanted} rounds were run: {rounds} did not raise {self.metric} on val above the "
            f"{value} of {owner} (patience {self.patience})."
        )


def val_score(training: Path) -> tuple[str, float]:
    """Return the primary metric's name and its value on val, NaN where undefined, as a trained stage left them."""
    evaluation: dict[str, Any] = json.loads((training / "evaluation.json").read_text(encoding="utf-8"))
    name: str = evaluation["primary"]
    value = evaluation["splits"]["val"][name]
    return name, math.nan if value is None else float(value)
