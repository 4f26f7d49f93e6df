"""The paper's claims, held against an experiment: reproduced, not reproduced, or not decided at this size.

A claim is about signs of differences. One is believed where its 95 % interval over seeds excludes zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_st.reports.estimates import estimate
from lightning_st.reports.experiment_folder import Cell, Experiment

Standing = Literal["reproduced", "not reproduced", "not decided at this size"]

INITIALISATIONS = ("init", "initialisation", "initialization", "pretrained", "pretraining")
"""What the factor is called whose levels are where the backbone's weights come from."""

JOINT = ("joint", "joint training", "joint_training")
"""What the factor is called whose levels are training without and with the classes of whole images beside."""

ALONE = ("alone", "none", "false", "without")
"""What its level without them is called."""

RANDOM = ("random", "none", "false", "rand")
"""What its level without pre-training is called."""


@dataclass(frozen=True)
class Claim:
    """A claim and where it stands.

    Attributes:
        text: The claim, a whole sentence.
        standing: Whether the experiment shows it.
        evidence: The differences that it rests on, in words.
    """

    text: str
    standing: Standing
    evidence: str


def claims(experiment: Experiment) -> list[Claim]:
    """Return the claims of the paper that the factors of an experiment say something about."""
    return [
        *_self_training_helps(experiment),
        *_pretraining_by_augmentation(experiment),
        *_self_training_adds(experiment),
        *_joint_training(experiment),
    ]


def _self_training_helps(experiment: Experiment) -> Iterator[Claim]:
    gains = [(_named(cell.levels), cell.gain) for cell in experiment.cells if cell.gain is not None]
    if not gains:
        return
    varied = [name for name, levels in experiment.factors.items() if len(levels) > 1]
    where = f", at every level of {', '.join(varied)}" if varied else ""
    standing = _standing([gain.sign for _, gain in gains])
    text = f"Self-training beats the supervised model at its best length{where}."
    yield Claim(text, standing, "; ".join(f"{name}: {gain.difference()}" for name, gain in gains))


def _pretraining_by_augmentation(experiment: Experiment) -> Iterator[Claim]:
    """Pre-training helps with the weakest augmentation, and with the strongest no more (paper: table 2)."""
    strengths = experiment.factors.get("augment", [])
    if len(strengths) < 2:
        return
    for level, effects in _pretraining_effects(experiment, "augment"):
        at_weak, at_strong = effects.get(strengths[0], {}), effects.get(strengths[-1], {})
        weak, strong = estimate([*at_weak.values()]), estimate([*at_strong.values()])
        less = estimate([at_weak[seed] - at_strong[seed] for seed in at_weak.keys() & at_strong.keys()])
        if weak is None or strong is None or less is None:
            continue
        # No effect found with strong augmentation is none shown: it has to be less than with weak.
        standing = "not reproduced" if strong.sign > 0 else _standing([weak.sign, less.sign])
        yield Claim(
            f"Pre-training ({level}) helps with weak augmentation ({strengths[0]}) and not with strong "
            f"({strengths[-1]}).",
            standing,
            f"{strengths[0]}: {weak.difference()}; {strengths[-1]}: {strong.difference()}; less: {less.difference()}",
        )


def _self_training_adds(experiment: Experiment) -> Iterator[Claim]:
    """Self-training helps on top of pre-training too (paper: tables 3 and 7)."""
    factor = _initialisation(experiment)
    if factor is None:
        return
    for level in (level for level in experiment.factors[factor] if level.lower() not in RANDOM):
        gains = [c.gain for c in experiment.cells if dict(c.levels)[factor] == level and c.gain is not None]
        if gains:
            evidence = "; ".join(gain.difference() for gain in gains)
            text = f"Self-training adds to pre-training ({level})."
            yield Claim(text, _standing([gain.sign for gain in gains]), evidence)


def _joint_training(experiment: Experiment) -> Iterator[Claim]:
    """Joint training helps, self-training adds to it, and alone does more than it (paper: table 7)."""
    pairs = joint_pairs(experiment)
    if not pairs:
        return
    helps = [(name, both.minus(alone, "supervised")) for name, alone, both in pairs]
    adds = [(name, both.gain) for name, _, both in pairs]
    more = [(name, alone.minus(both, "self-training", "supervised")) for name, alone, both in pairs]
    for text, found in (
        ("Joint training beats training on the labels alone.", helps),
        ("Self-training adds to joint training.", adds),
        ("Self-training does more than joint training.", more),
    ):
        known = [(name, difference) for name, difference in found if difference is not None]
        if known:
            evidence = "; ".join(f"{name}: {difference.difference()}" for name, difference in known)
            yield Claim(text, _standing([difference.sign for _, difference in known]), evidence)


def joint_pairs(experiment: Experiment) -> list[tuple[str, Cell, Cell]]:
    """Return the cells without and with joint training, others alike, and what the others are; none without such."""
    factor = _factor(experiment, JOINT, ALONE)
    if factor is None or len(experiment.factors[factor]) != 2:
        return []
    alone, joint = sorted(experiment.factors[factor], key=lambda level: level.lower() not in ALONE)
    pairs = []
    for cell in experiment.cells:
        levels = dict(cell.levels)
        other = experiment.cell({**levels, factor: joint})
        if levels[factor] == alone and other is not None:
            pairs.append((_named([pair for pair in cell.levels if pair[0] != factor]), cell, other))
    return pairs


def _pretraining_effects(experiment: Experiment, along: str) -> Iterator[tuple[str, dict[str, dict[int, float]]]]:
    """Yield for each pre-trained level its supervised difference to random weights, by the level of ``along`` and seed.

    Other factors stay at their first level.
    """
    factor = _initialisation(experiment)
    if factor is None:
        return
    random = next(level for level in experiment.factors[factor] if level.lower() in RANDOM)
    first = {name: levels[0] for name, levels in experiment.factors.items()}
    for level in (level for level in experiment.factors[factor] if level != random):
        effects = {}
        for strength in experiment.factors[along]:
            here = experiment.cell({**first, along: strength, factor: level})
            there = experiment.cell({**first, along: strength, factor: random})
            if here is not None and there is not None:
                effects[strength] = here.by_seed_minus(there, "supervised")
        yield level, effects


def _initialisation(experiment: Experiment) -> str | None:
    """Return the factor that says where weights come from, if one of its levels is random."""
    return _factor(experiment, INITIALISATIONS, RANDOM)


def _factor(experiment: Experiment, names: Sequence[str], levels: Sequence[str]) -> str | None:
    """Return the factor that has one of these names, if one of its levels has one of those."""
    found = (name for name in experiment.factors if name.lower() in names)
    return next((n for n in found if any(level.lower() in levels for level in experiment.factors[n])), None)


def _standing(signs: Sequence[int]) -> Standing:
    if all(sign > 0 for sign in signs):
        return "reproduced"
    return "not reproduced" if any(sign < 0 for sign in signs) else "not decided at this size"


def _named(levels: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{factor} {level}" for factor, level in levels) or "all"
