"""A confidence rule of your own: which of a teacher's labels a student learns.

    python toy_data.py toy
    lightning_st self_train --config toy/toy.yaml --output runs/own_confidence_rule \
        --pseudo_label.rule own_confidence_rule.SurestShare --pseudo_label.rule_options.share 0.1

Other rules are in `docs/confidence.md`. Weights and left-out negatives go around any rule, yours too:
`--pseudo_label.weight_power 1`.
"""

from dataclasses import dataclass

import numpy as np

from lightning_st.selftrain import Evidence
from lightning_st.types import ScoreThresholds

NEVER = 2.0  # a threshold that no score reaches


@dataclass(frozen=True)
class SurestShare:
    """Keep the surest part of all that the teacher found of a class, and ignore the rest.

    A rule is told everything once, when the teacher has labelled, and answers with the thresholds of each class. Its
    attributes stand in the manifest of the labels.

    Args:
        share: How much of each class is kept, 0-1.
    """

    share: float = 0.2
    needs = ()  # "val" for evidence.matched, "labeled" for evidence.labeled_rates

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return from which score (0-1) on a label is kept, and from which on it is ignored, float32 [classes] each."""
        found = evidence.found.from_level_up()  # [classes, levels]: how many have at least the score of a level
        few = found <= self.share * found[:, :1]
        level = np.where(few.any(axis=1), few.argmax(axis=1), -1)
        keep = np.append(evidence.found.levels, NEVER).astype(np.float32)[level]
        return ScoreThresholds(keep, np.minimum(keep, np.float32(0.01)))
