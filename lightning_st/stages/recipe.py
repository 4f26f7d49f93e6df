"""A recipe: all that a stage needs to know, as plain data, so that a manifest can hold it and a diff can show it.

The command line parses a YAML file into a recipe; in Python a dict does. Classes are named by ``{"class_path": ...,
"init_args": {...}}`` and built by `building.build` when a stage begins, afresh for each stage.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from lightning.pytorch import Trainer

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.modules import StudentModule, TeacherModule
from lightning_st.selftrain import CalibratedThresholds, HardThreshold, MatchedCounts
from lightning_st.stages.building import import_name, require_arguments
from lightning_st.stages.owned import owned_in, refuse_owned

RULES: dict[str, type[Any]] = {
    "hard": HardThreshold,
    "calibrated": CalibratedThresholds,
    "matched": MatchedCounts,
}
"""The confidence rules that a recipe may name; any other by its class path."""


def rule_named(name: str) -> type[Any]:
    """Return the confidence rule of a name in ``RULES``, or of an import path.

    Raises:
        ConfigError: If there is none.
    """
    if name not in RULES and "." not in name:
        raise ConfigError.unknown_choice("pseudo_label.rule", name, RULES)
    rule: type[Any] = RULES[name] if name in RULES else import_name(name)
    return rule


@dataclass
class PseudoLabelSettings:
    """How the teacher labels, and which of its labels the student is shown.

    Attributes:
        score_threshold: Keep every box, or pixel, with at least this score (0-1), instead of ``rule``. The paper's is
            0.5.
        rule: A confidence rule: "hard" (the paper's), "calibrated" (a threshold for each class that reaches
            ``precision`` on val, with an ignore band below), "matched" (as many labels of each class an image as people
            made), or an own one: its import path, or ``class_path`` and ``init_args``.
        precision: Of rule "calibrated": the wanted share (0-1) of right boxes among those kept; None for 0.85.
        rule_options: Further arguments of the rule, such as ignore_from of "calibrated" and "matched", ratio of
            "matched".
        weight_power: The loss of a label that is kept weighs its score to this power; 0 lets all weigh alike.
        min_recall: A class of which the teacher finds less than this share (0-1) of val's objects, or pixels, with the
            scores that are kept, is no negative in the images that it labelled; 0 for no such class.
        flip: Average the teacher's predictions with those on the mirrored images.
        scales: Join the teacher's predictions on the images at these sizes; 1 is that of the batches.
        soft_nms: Of boxes that overlap a better one of their class the scores fall, by "gaussian" or "linear", instead
            of all being dropped: for objects that stand close together. It wants higher thresholds than without.
        shard_size: Images in one shard; a run that is cut goes on after the last finished shard.
        at_collapse: What to do when the labels look as if the teacher had collapsed, or the images showed other things:
            "warn" and go on, or "stop" before a student learns from them.
    """

    score_threshold: float | None = None
    rule: str | dict[str, Any] = "hard"
    precision: float | None = None
    rule_options: dict[str, Any] | None = None
    weight_power: float = 0.0
    min_recall: float = 0.0
    flip: bool = False
    scales: list[float] = field(default_factory=lambda: [1.0])
    soft_nms: Literal["gaussian", "linear"] | None = None
    shard_size: int = 1024
    at_collapse: Literal["warn", "stop"] = "warn"

    def __post_init__(self) -> None:
        """Refuse values that can't be meant."""
        for name in ("score_threshold", "precision"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ConfigError.expected(f"pseudo_label.{name}", "above 0 and at most 1", value)
        if not self.weight_power >= 0:  # so that NaN is refused, too
            raise ConfigError.expected("pseudo_label.weight_power", "at least 0", self.weight_power)
        if not 0 <= self.min_recall <= 1:
            raise ConfigError.expected("pseudo_label.min_recall", "from 0 to 1", self.min_recall)
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise ConfigError.expected("pseudo_label.scales", "one or several, each above 0", self.scales)
        if self.soft_nms not in (None, "gaussian", "linear"):
            raise ConfigError.unknown_choice("pseudo_label.soft_nms", str(self.soft_nms), ("gaussian", "linear"))
        if self.at_collapse not in ("warn", "stop"):
            raise ConfigError.unknown_choice("pseudo_label.at_collapse", str(self.at_collapse), ("warn", "stop"))
        if self.shard_size < 1:
            raise ConfigError.expected("pseudo_label.shard_size", "at least 1", self.shard_size)
        self._refuse_rule()

    @property
    def prediction(self) -> dict[str, Any]:
        """How images are predicted: all that the teacher's boxes follow from besides the teacher and the images."""
        soft = {} if self.soft_nms is None else {"soft_nms": self.soft_nms}
        return {"flip": self.flip, "scales": self.scales, **soft}

    def _refuse_rule(self) -> None:
        """Refuse a rule that is not there, and options that are not its."""
        if self.precision is not None and self.rule != "calibrated":
            advice = "pseudo_label.precision belongs to that rule; with another one set it to null."
            raise ConfigError.expected("pseudo_label.rule", "calibrated", self.rule, advice)
        if isinstance(self.rule, str):
            require_arguments("pseudo_label.rule_options", rule_named(self.rule), self.rule_options or {})
        elif "class_path" not in self.rule or not self.rule.keys() <= {"class_path", "init_args"}:
            advice = "The arguments of a rule may stand in pseudo_label.rule_options."
            allowed = "a name, an import path, or class_path and init_args"
            raise ConfigError.expected("pseudo_label.rule", allowed, self.rule, advice)
        elif self.rule_options:
            advice = "A rule given by class_path has its arguments in init_args."
            raise ConfigError.expected("pseudo_label.rule_options", "left out", self.rule_options, advice)


@dataclass
class TrainSettings:
    """How long one model trains, beside the arguments of its LightningModule.

    Attributes:
        max_steps: Optimiser steps.
        validate_every: Steps between two validations; None for a tenth of ``max_steps``.
        ema_decay: Decay of the moving average of the weights, which is then what a checkpoint holds and what is
            evaluated; None for the weights as trained.
        init: Student only: "random", "teacher" (its teacher's weights), or a checkpoint file.
        model: Student only: another model than the teacher's, by ``class_path`` and ``init_args``.
        module: All other keys: arguments of ``TeacherModule`` or ``StudentModule``.
    """

    max_steps: int = 1000
    validate_every: int | None = None
    ema_decay: float | None = None
    init: str = "random"
    model: dict[str, Any] | None = None
    module: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, section: Mapping[str, Any], name: str) -> "TrainSettings":
        """Split a config section into the settings of a stage and the arguments of its module."""
        settings = cls(
            **{key: value for key, value in section.items() if key in TRAIN_KEYS},
            module={key: value for key, value in section.items() if key not in TRAIN_KEYS},
        )
        if settings.max_steps < 1:
            raise ConfigError.expected(f"{name}.max_steps", "at least 1", settings.max_steps)
        if settings.ema_decay is not None and not 0 <= settings.ema_decay < 1:
            raise ConfigError.expected(f"{name}.ema_decay", "at least 0 and below 1", settings.ema_decay)
        if settings.validate_every is not None and settings.validate_every < 1:
            raise ConfigError.expected(f"{name}.validate_every", "at least 1", settings.validate_every)
        return settings

    @property
    def validation_interval(self) -> int:
        """Steps between two validations."""
        return min(self.validate_every or max(1, self.max_steps // 10), self.max_steps)


Artifact = Literal["checkpoints", "pseudo_labels"]
"""What ``tracking.artifacts`` may name."""


@dataclass
class TrackingSettings:
    """What the loggers of ``trainer.logger`` get besides numbers.

    Attributes:
        pictures: How many images with their pseudo-labels, and how many of val with predictions, W&B and TensorBoard
            get of each stage; 0 for none.
        artifacts: What W&B keeps: "checkpoints", the one that was chosen of each stage; "pseudo_labels", the student's.
    """

    pictures: int = 16
    artifacts: list[Artifact] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse values that can't be meant."""
        if self.pictures < 0:
            raise ConfigError.expected("tracking.pictures", "at least 0", self.pictures)
        unknown = [name for name in self.artifacts if name not in get_args(Artifact)]
        if unknown:
            raise ConfigError.unknown_choice("tracking.artifacts", unknown[0], get_args(Artifact))

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> "TrackingSettings":
        """Return the settings of a config section."""
        refuse_unknown("tracking", section, cls)
        return cls(**section)


TRAIN_KEYS = tuple(f.name for f in fields(TrainSettings) if f.name != "module")
"""Keys of the sections ``teacher`` and ``student`` that are no arguments of a LightningModule."""


PRETRAIN_SECTIONS = ("data", "model", "training", "trainer")
"""What the section ``pretrain`` of a run's recipe may hold."""


def refuse_unknown(section: str, given: Mapping[str, Any], settings: Any) -> None:
    """Refuse keys of a section that its dataclass has no field for.

    Raises:
        ConfigError: Naming the first, and the nearest that there is.
    """
    known = [f.name for f in fields(settings)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError.unknown_choice(f"key of {section}", unknown[0], known)


def refuse_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        ConfigError: If it is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError.expected("seed_everything", "from 0 to 2**32 - 1", seed)


@dataclass
class Recipe:
    """A whole self-training run as plain data.

    Attributes:
        data: Arguments of ``SelfTrainingDataModule``.
        model: The task model by ``class_path`` and ``init_args``, without ``classes``: those come from the data.
        teacher: ``TrainSettings`` and arguments of ``TeacherModule``.
        student: ``TrainSettings`` and arguments of ``StudentModule``.
        pseudo_label: ``PseudoLabelSettings``.
        trainer: Arguments of Lightning's ``Trainer``, the same for every stage.
        seed: Of every random draw of the run.
        rounds: Times that labels are made and a student is trained.
        patience: Stop before ``rounds`` are done, after so many in a row whose student did not raise the score on val
            above all before; and take the best round's student for the run's. None for all rounds, and the last one's.
        control: Also train a teacher longer, for comparison: "epochs" (or True) for as many steps, so labelled images,
            as teacher and students take together; "compute" for as many images, pseudo-labelled ones included.
        pretrain: A pre-training that the run begins with, whose backbone teacher, control, and students of ``model``
            that start from random weights then have: "model" by class path, "data", "training" and "trainer" as in
            ``PretrainRecipe``. What it leaves out is the run's; None for none.
        tracking: ``TrackingSettings``.
    """

    data: dict[str, Any]
    model: dict[str, Any]
    teacher: dict[str, Any] = field(default_factory=dict)
    student: dict[str, Any] = field(default_factory=dict)
    pseudo_label: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    rounds: int = 1
    patience: int | None = None
    control: bool | Literal["epochs", "compute"] = False
    pretrain: dict[str, dict[str, Any]] | None = None
    tracking: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be refused before anything is read."""
        self.pretrain = _pretrain_section(self.pretrain)
        if self.rounds < 1:
            raise ConfigError.expected("rounds", "at least 1", self.rounds)
        if self.patience is not None and self.patience < 1:
            raise ConfigError.expected("patience", "at least 1", self.patience)
        if self.patience is not None and self.rounds == 1:
            advice = "patience says after how many of them in vain to stop."
            raise ConfigError.expected("rounds", "above 1, the most that may be run", self.rounds, advice)
        if self.control not in (False, True, "epochs", "compute"):
            raise ConfigError.expected("control", "true, false, epochs or compute", self.control)
        refuse_seed(self.seed)
        for name in ("data", "teacher", "student", "trainer"):
            refuse_owned(name, getattr(self, name))
        refuse_owned("model", self.model.get("init_args") or {})
        require_arguments("data", SelfTrainingDataModule, self.data, owned=owned_in("data"))
        for name, kind, section in (("teacher", TeacherModule, self.teacher), ("student", StudentModule, self.student)):
            module = TrainSettings.read(section, name).module
            require_arguments(name, kind, module, others=TRAIN_KEYS, owned=owned_in(name))
        require_arguments("trainer", Trainer, self.trainer, owned=owned_in("trainer"))
        self.labelling()
        TrackingSettings.read(self.tracking)

    def labelling(self) -> PseudoLabelSettings:
        """Return the settings of the pseudo-label stage."""
        refuse_unknown("pseudo_label", self.pseudo_label, PseudoLabelSettings)
        return PseudoLabelSettings(**self.pseudo_label)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain data, for a manifest."""
        return asdict(self)


def _pretrain_section(given: Mapping[str, Any] | None) -> dict[str, dict[str, Any]] | None:
    """Return the section without its empty parts; None where nothing is left.

    Raises:
        ConfigError: If there is another part in it, or it says what to train on and not which model.
    """
    unknown = sorted(set(given or {}) - set(PRETRAIN_SECTIONS))
    if unknown:
        raise ConfigError.unknown_choice("section of pretrain", unknown[0], PRETRAIN_SECTIONS)
    section = {name: dict(part) for name, part in (given or {}).items() if part}
    if not section:
        return None
    model = section.get("model", {})
    if "class_path" not in model:
        raise ConfigError.expected("pretrain.model.class_path", "given, such as lightning_st.SimCLR", None)
    unknown = sorted(set(model) - {"class_path", "init_args"})
    if unknown:
        raise ConfigError.unknown_choice("key of pretrain.model", unknown[0], ("class_path", "init_args"))
    return section
