"""What goes with any confidence rule: labels that weigh less, and classes that are no negatives.

Each is a rule around another one, and changes its answer; so they combine, and a manifest holds the whole.
"""

from dataclasses import dataclass, replace

from lightning_st.errors import ConfigError
from lightning_st.selftrain.confidence import ConfidenceRule
from lightning_st.selftrain.evidence import Evidence, Need
from lightning_st.selftrain.matching import precision_recall_by_threshold
from lightning_st.types import ScoreThresholds


@dataclass(frozen=True)
class ScoreWeights:
    """Let the loss of a label that is kept weigh its score, instead of all that is kept alike.

    The loss of a box is that of its anchors, of class and of place; labels of people weigh 1.

    Attributes:
        rule: Decides what is kept.
        power: Of the score, above 0.
    """

    rule: ConfidenceRule
    power: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a power that would turn the weights round."""
        if self.power <= 0:
            raise ConfigError.expected("power", "above 0", self.power)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the inner rule needs."""
        return self.rule.needs

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return the inner rule's answer, weighed."""
        return replace(self.rule(evidence), weight_power=self.power)


@dataclass(frozen=True)
class KnownNegatives:
    """Leave a class that the teacher hardly knows out of the negatives of the images that it labelled.

    A class of which it misses most objects is learnt as background where they are. So in images with its labels the
    class counts where it is labelled and nowhere else; what it is not, the labels of people teach alone.

    Attributes:
        rule: Decides what is kept.
        min_recall: A class is known if the teacher finds at least this share of its objects, or pixels, on val with the
            scores from which they are kept; above 0 and at most 1. One of which nothing is kept, or which val does not
            show, is not known.
    """

    rule: ConfidenceRule
    min_recall: float = 0.2

    def __post_init__(self) -> None:
        """Refuse a share that is no share."""
        if not 0 < self.min_recall <= 1:
            raise ConfigError.expected("min_recall", "above 0 and at most 1", self.min_recall)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the inner rule needs, and val."""
        return (*self.rule.needs, "val")

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return the inner rule's answer with the classes that are not known.

        Raises:
            ConfigError: If there is no val.
        """
        thresholds = self.rule(evidence)
        recall = precision_recall_by_threshold(evidence.of_val(), thresholds.keep[:, None]).recall[:, 0]
        unknown = ~(recall >= self.min_recall)  # not known where it is NaN
        return replace(thresholds, unknown=unknown if unknown.any() else None)
