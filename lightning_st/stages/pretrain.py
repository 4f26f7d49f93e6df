"""Pre-training as a stage: the arms that self-training is compared with (paper.md, sections 3.2 to 3.5).

Each leaves a checkpoint that ``pretrained`` of a detector or segmenter takes: a classifier's on images in folders by
class (``ImageClassifier``), SimCLR's on images without labels (``SimCLR``), and that of joint training
(``JointDetector``), which is a detector already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.modules import TeacherModule
from lightning_st.stages.building import require_arguments
from lightning_st.stages.loggers import ending_wandb_run
from lightning_st.stages.owned import owned_in, refuse_owned
from lightning_st.stages.recipe import TRAIN_KEYS, TrackingSettings, TrainSettings, refuse_seed
from lightning_st.stages.train import JOINT_LOSS, Training, run_training

_ALPHA = "alpha"


@dataclass
class PretrainRecipe:
    """A pre-training as plain data.

    Attributes:
        data: Arguments of ``SelfTrainingDataModule``: ``labeled`` for a classifier, ``unlabeled`` for SimCLR,
            ``labeled`` and ``joint`` for joint training.
        model: The task model by ``class_path`` and ``init_args``, without its classes: those come from the data.
        training: ``TrainSettings`` and arguments of ``TeacherModule``; in joint training ``alpha`` too, the weight of
            the classes of whole images, which is 1 where it is missing: the losses are added.
        trainer: Arguments of Lightning's ``Trainer``.
        seed: Of every random draw.
        tracking: ``TrackingSettings``.
    """

    data: dict[str, Any]
    model: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    tracking: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be refused before anything is read."""
        refuse_seed(self.seed)
        for name in ("data", "training", "trainer"):
            refuse_owned(name, getattr(self, name))
        refuse_owned("model", self.model.get("init_args") or {})
        require_arguments("data", SelfTrainingDataModule, self.data, owned=owned_in("data"))
        module = TrainSettings.read(self.training, "training").module
        others = (*TRAIN_KEYS, _ALPHA)
        given = {key: value for key, value in module.items() if key != _ALPHA}
        require_arguments("training", TeacherModule, given, others=others, owned=owned_in("training"))
        require_arguments("trainer", Trainer, self.trainer, owned=owned_in("trainer"))
        TrackingSettings.read(self.tracking)

    def settings(self, is_joint: bool) -> TrainSettings:
        """Return the settings of the training, with those of the joint loss in joint training.

        Raises:
            ConfigError: If a weight is given for a second loss that there is not.
        """
        section = dict(self.training)
        alpha = section.pop(_ALPHA, None)
        if is_joint:
            section |= JOINT_LOSS if alpha is None else {**JOINT_LOSS, _ALPHA: alpha}
        elif alpha is not None:
            advice = "It weighs the images of data.joint, and there are none."
            raise ConfigError.expected("training.alpha", "left out", alpha, advice)
        return TrainSettings.read(section, "training")


def pretrain(recipe: PretrainRecipe | Mapping[str, Any], output: Path | str, restart: bool = False) -> Path:
    """Train one model whose backbone others start from, or go on with a training that was cut.

    Args:
        recipe: The recipe, or its fields as a dict.
        output: The stage's folder: it will hold ``checkpoints/last.ckpt``, and ``best.ckpt`` where there is a val set
            and something to judge; ``metrics.csv``, ``evaluation.json``, ``manifest.json``.
        restart: Train anew where the inputs have changed, instead of refusing.

    Returns:
        The checkpoint to give as ``pretrained``: the best on val, or else the last.

    Raises:
        StageError: If what is in ``output`` was made from other inputs.
        ConfigError: If something in the recipe is wrong, or the images that the model learns from are not given.
        DataError: If something in the data is wrong.

    Example:
        ::

            pretrain(
                {
                    "data": {"labeled": {"images": "imagenet/train"}, "val": {"images": "imagenet/val"}},
                    "model": {"class_path": "lightning_st.ImageClassifier"},
                    "training": {"max_steps": 100_000},
                },
                output="runs/classification",
            )
    """
    recipe = recipe if isinstance(recipe, PretrainRecipe) else PretrainRecipe(**recipe)
    with ending_wandb_run(of_sweep=True):
        return run_training(pretraining(recipe, Path(output)), restart)


def pretraining(recipe: PretrainRecipe, folder: Path) -> Training:
    """Return the training that a recipe asks for, to be done in ``folder``."""
    is_joint = any((recipe.data.get("joint") or {}).values())
    return Training(recipe, folder, "pretrain", recipe.settings(is_joint))
