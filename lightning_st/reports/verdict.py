"""Was it worth it: the first sentences of a report, and what to try where it was not."""

from dataclasses import dataclass, field
from typing import Literal

from lightning_st.reports.metrics import gain
from lightning_st.reports.run_folder import SPLITS, Run
from lightning_st.reports.text import compared_text, score_text

NOISE = 0.01
"""A smaller difference between runs of one seed is no fact: so far apart were small runs (facts: small_recipe.md)."""

Judgement = Literal["better", "worse", "unclear", "unknown"]

HEADLINES: dict[Judgement, str] = {
    "better": "Self-training helped",
    "worse": "Self-training did not help",
    "unclear": "No clear difference",
    "unknown": "No verdict yet",
}


@dataclass(frozen=True)
class Verdict:
    """A run's verdict.

    Attributes:
        judgement: "better" or "worse" where the difference exceeds the noise; "unknown" without the scores.
        sentence: The verdict in words; names no class.
        caveats: Sentences on how far to believe it.
        split: The split that it rests on; None where it is unknown.
    """

    judgement: Judgement
    sentence: str
    caveats: list[str] = field(default_factory=list)
    split: str | None = None

    @property
    def headline(self) -> str:
        """The judgement in two or three words."""
        return HEADLINES[self.judgement]


def judge(run: Run) -> Verdict:
    """Judge the run's student against the first teacher, and against the control arm where there is one."""
    key = run.primary
    for split in SPLITS:
        over_teacher = gain(run.student, run.teacher, split, key)
        if over_teacher is not None:
            over_control = gain(run.student, run.control, split, key)
            judgement = _judgement(over_teacher, over_control)
            sentence = _sentence(run, split, judgement, over_teacher, over_control)
            return Verdict(judgement, sentence, _caveats(run, split, over_teacher, over_control), split)
    return Verdict("unknown", _why_unknown(run))


def _judgement(over_teacher: float, over_control: float | None) -> Judgement:
    smallest = over_teacher if over_control is None else min(over_teacher, over_control)
    if abs(smallest) < NOISE:
        return "unclear"
    return "better" if smallest > 0 else "worse"


def _sentence(run: Run, split: str, judgement: Judgement, over_teacher: float, over_control: float | None) -> str:
    assert run.student is not None, "a gain was computed from it"
    number = run.judged_round.number
    who = "The student" if number == 0 else f"The student of round {number}"
    teacher = "its teacher" if number == 0 else "the first teacher"
    reached = f"{score_text(run.student.score(split, run.primary))} {run.primary} on {split}"
    against = f"{compared_text(over_teacher)} {teacher}"
    if over_control is not None:
        joint = "and" if (over_teacher < 0) == (over_control < 0) else "but"
        against += f" {joint} {compared_text(over_control)} a teacher trained as long as both together"
    if judgement != "worse":
        return f"{who} reaches {reached}, {against}."
    loser = teacher if over_teacher <= -NOISE else "a teacher that trained longer instead"
    return f"{who} is worse than {loser}: it reaches {reached}, {against}."


def _caveats(run: Run, split: str, over_teacher: float, over_control: float | None) -> list[str]:
    stopped = run.patience.get("stopped")
    caveats = [*([stopped] if stopped else []), f"One seed: differences below about {NOISE:g} are not facts."]
    if split == "val":
        caveats.append("There are no scores on test, and val also chose the checkpoints, so it flatters every model.")
    if over_control is None and over_teacher > 0:
        caveats.append(
            "There is no control arm: part of the gain may come from training longer, not from the pseudo-labels. "
            "--control true trains a teacher as long as both together."
        )
    return caveats


def _why_unknown(run: Run) -> str:
    if not any(split in run.data for split in SPLITS):
        return "No verdict: the run was given neither data.val nor data.test, so nothing was evaluated."
    if run.teacher is None or not run.teacher.scores:
        return "No verdict yet: the teacher has not been evaluated."
    known = [(split, run.teacher.score(split, run.primary)) for split in SPLITS]
    reached = [f"{score_text(value)} {run.primary} on {split}" for split, value in known if value is not None]
    teacher = f"its teacher reaches {reached[0]}" if reached else f"the {run.primary} of its teacher is undefined"
    if run.student is None or not run.student.scores:
        return f"No verdict yet: no student has been evaluated; {teacher}."
    return f"No verdict: on no split the {run.primary} of both teacher and student is defined; {teacher}."
