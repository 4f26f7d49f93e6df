"""``lightning_st fit | validate | test | predict``: Lightning's own command line with the classes of this package."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_st.cli.config_files import check_config_files
from lightning_st.cli.console import prepare_console
from lightning_st.cli.hints import explain
from lightning_st.cli.vocabulary import lightning_vocabulary
from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import CheckpointError, ConfigError, LightningSTError
from lightning_st.modules import TaskModule, read_checkpoint
from lightning_st.stages.building import import_name
from lightning_st.stages.last_checkpoint import rest_after_validation, rest_before_step, rest_before_validation
from lightning_st.stages.stopping import StopAtSignal, StopTraining
from lightning_st.stages.trainers import refusals_of_the_trainer

_SHARED_KEYS = ("seed_everything", "trainer", "data", "model")
"""What ``fit``, ``validate``, ``test`` and ``predict`` all accept."""

STOPPED = "stopped.ckpt"
"""What ``fit`` leaves when a signal stops it."""

_FOUND_BY_LIGHTNING = ("last", "hpc")
"""What ``fit --ckpt_path`` takes besides files."""


def run(words: Sequence[str]) -> None:
    """Run one of Lightning's subcommands; ``words`` begins with its name.

    Raises:
        ConfigError: One sentence with the key, and the nearest that exists.
    """
    prepare_console()
    if words[0] != "fit":  # a checkpoint is evaluated without the callbacks that wrote it
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks")
    check_config_files(words, is_recipe=False)
    sys.argv[1:] = words  # LightningCLI reads them there, and so do the processes that DDP starts
    try:
        SelfTrainingCLI()
    except ArgumentError as error:
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(SelfTrainingDataModule, "data")
        parser.add_lightning_class_args(Trainer, "trainer")
        raise ConfigError(explain(str(error.message), lightning_vocabulary(parser))) from error
    except UnpicklingError as error:  # of a checkpoint that Lightning found by itself: --ckpt_path last
        raise CheckpointError("ckpt_path: the checkpoint found holds more than tensors and plain values.") from error
    except ValueError as error:
        # The parser wraps what a constructor raises.
        if isinstance(error.__cause__ or error.__context__, LightningSTError):
            raise LightningSTError(str(error.__cause__ or error.__context__)) from error
        raise


class SelfTrainingCLI(LightningCLI):
    """LightningCLI with the class names taken from the data, and two of its surprises taken out.

    A checkpoint's hyper-parameters never override the config or the command line, and the config that ``fit`` saves can
    be given to every other subcommand.
    """

    def __init__(self) -> None:
        """Parse the words of the process and run the subcommand that they name."""
        super().__init__(
            TaskModule,
            SelfTrainingDataModule,
            save_config_callback=SaveSharedConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False},
            subclass_mode_model=True,
            parser_kwargs={"exit_on_error": False} | {name: {"allow_abbrev": False} for name in self.subcommands()},
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the subcommands, each with the Trainer's arguments that are no options."""
        skip = {"model", "dataloaders", "datamodule", "weights_only"}
        return {
            "fit": skip | {"train_dataloaders", "val_dataloaders"},
            "validate": skip,
            "test": skip,
            "predict": skip,
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take the names of the classes from the data: nobody types them."""
        for name in ("classes", "image_classes"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Refuse a checkpoint that cannot be read before anything else is done, and an evaluation without one.

        What is learnt of the images, boxes or masks, the task's class says.
        """
        command = self.subcommand
        config = self.config[command]
        task = config.get("model.init_args.task.class_path")
        if config.data.target is None and task is not None:
            config.data.target = getattr(import_name(task), "target", None)
        path = config.ckpt_path
        if path is None and command != "fit":
            raise ConfigError(
                f"{command} needs --ckpt_path FILE, a checkpoint of fit or self_train: else the weights are random."
            )
        if path is not None and not (command == "fit" and path in _FOUND_BY_LIGHTNING):
            read_checkpoint(path)

    def before_validate(self) -> None:
        """Refuse to validate on nothing, where Lightning asks for a method to be implemented."""
        self.datamodule.split("val")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the Trainer; what it says of its arguments becomes one sentence."""
        with refusals_of_the_trainer():
            trainer: Trainer = super().instantiate_trainer(**kwargs)
        # Last, as checkpoints come: Lightning has put the others in order.
        cast("list[Callback]", cast("Any", trainer).callbacks).append(
            StopFit() if self.subcommand == "fit" else StopAtSignal()
        )
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Return the arguments of the Trainer's method, which is to load tensors and plain values only."""
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def _parse_ckpt_path(self) -> None:
        """Do nothing: Lightning's own lets the checkpoint's hyper-parameters override the user's."""


class StopFit(StopTraining):
    """Ends ``fit`` between two steps after a signal, and leaves a checkpoint to go on from beside the others."""

    def __init__(self) -> None:
        """Begin as for any training."""
        super().__init__(self._save_stopped)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say that the step, or the validation, which is about to begin is still to be done."""
        if not self.is_stopping:
            rest_after_validation(checkpoint)
        elif trainer.validating:
            rest_before_validation(checkpoint)
        else:
            rest_before_step(checkpoint)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Let a validation end: there is no checkpoint from before it."""

    def _save_stopped(self, trainer: Trainer) -> None:
        others = getattr(trainer.checkpoint_callback, "dirpath", None)
        path = Path(others or trainer.default_root_dir) / STOPPED
        trainer.save_checkpoint(path)
        self.advice = f"go on from here with --ckpt_path {path}"


class SaveSharedConfig(SaveConfigCallback):
    """Saves the part of the config that every subcommand accepts."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml`` to the first logger's folder when a fit begins; without a logger there is none."""
        if stage != "fit" or not trainer.loggers or not trainer.is_global_zero:
            return
        config: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_unset=False, skip_check=True))
        shared = {key: config[key] for key in _SHARED_KEYS if key in config}
        folder = _log_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(shared, sort_keys=False), encoding="utf-8")


def _log_folder(trainer: Trainer) -> Path:
    """Return the folder of this run alone, as for its checkpoints: never the working directory, where configs lie."""
    logger = trainer.loggers[0]
    if logger.log_dir is not None:
        return Path(logger.log_dir)
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), str(logger.version))
