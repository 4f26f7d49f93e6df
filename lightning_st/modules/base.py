"""What teacher and student share: optimisation, evaluation, prediction, and what a checkpoint says about itself."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_st.errors import CheckpointError, ConfigError, visible
from lightning_st.modules.checkpoints import (
    KEY,
    TASK_PREFIX,
    describe,
    description,
    read_checkpoint,
    require_classes,
    require_fit,
    task_weights,
)
from lightning_st.modules.optimization import OptimizerName, make_optimizer
from lightning_st.modules.precision import warn_of_slow_bfloat16
from lightning_st.modules.schedules import Schedule, ScheduleName
from lightning_st.modules.speed import Losses, compiled_losses, prepare
from lightning_st.modules.streams import FiniteCheck, StreamMeans, stream_means
from lightning_st.modules.task_spec import task_spec
from lightning_st.modules.tasks import TaskFactory, make_task, refuse_unread
from lightning_st.types import Batch, EvalBatch, Metric, Task

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_LR: dict[str, float] = {"sgd": 0.08, "adamw": 1e-3}
"""For batches of 64 (paper.md, section 4.5), and for the small recipe (small_recipe.md)."""

PAPER_WARMUP_LR = 0.0067
"""Where the warm-up starts (paper.md, section 4.5)."""


class TaskModule(LightningModule):
    """Trains, evaluates and applies a task; knows tasks only through ``types.Task``.

    Subclasses implement ``training_step``. Everything random in a training step (dropout, stochastic depth) follows
    from the run's seed, the number of the batch and the rank, so that a resumed run repeats an uninterrupted one bit
    for bit.

    Attributes:
        task: The model.
        classes: Class names, in the order of the labels.
        primary_metric: The number that decides which of two models is better, such as "AP"; None for a task that has no
            metric, which cannot be evaluated.
        evaluation: The numbers of the last evaluation, by name, equal on all ranks.
        weights_kind: Which weights a checkpoint holds, and which are evaluated: "ema" or "raw".
        flip_when_predicting: Average predictions with those on the mirrored images, for pseudo-labels.
        scales_when_predicting: Join predictions on the images at these sizes, likewise.
        soft_nms_when_predicting: Of boxes that overlap a better one the scores fall, likewise; None and they are gone.
    """

    task: Task

    def __init__(
        self,
        task: TaskFactory,
        classes: Sequence[str],
        image_classes: Sequence[str] = (),
        optimizer: OptimizerName = "sgd",
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        schedule: ScheduleName = "cosine",
        warmup_steps: int = 500,
        warmup_lr: float | None = None,
        milestones: Sequence[float] = (0.94, 0.98),
        step_gamma: float = 0.1,
        eval_flip: bool = False,
        eval_scales: Sequence[float] = (1.0,),
        compile_task: bool = False,
        channels_last: bool = False,
        fused_optimizer: bool = False,
    ) -> None:
        """Make the task and keep the settings of its optimisation.

        Args:
            task: Makes the task from class names. In a config: the ``class_path`` of a task model and its ``init_args``
                without ``classes``.
            classes: Class names, from the data.
            image_classes: The names of the classes of whole images that joint training learns beside, from the data; a
                task that learns such takes ``image_class_count``.
            optimizer: "sgd" (the paper's) or "adamw".
            lr: Peak learning rate; None for 0.08 with SGD (for a batch of 64) and 0.001 with AdamW.
            momentum: Of SGD.
            weight_decay: Of convolution and linear kernels; nothing else decays.
            schedule: "cosine" to zero, "step" (drops at ``milestones``) or "constant", each after the warm-up.
            warmup_steps: Optimiser steps of the linear warm-up, never more than half of the run.
            warmup_lr: Learning rate of the first step; None for 0.0067, or a tenth of ``lr`` where that is less.
            milestones: Fractions (0-1) of the run at which schedule "step" drops.
            step_gamma: Factor of each drop.
            eval_flip: Evaluate with predictions that are averaged with those on the mirrored images.
            eval_scales: Evaluate with predictions on the images at each of these sizes; 1 is that of the batches.
            compile_task: Compile the model with ``torch.compile``: its first step compiles, which takes long.
            channels_last: Keep kernels channels last, as GPUs convolve fastest in 16 bits.
            fused_optimizer: Let one kernel of the device move all weights.

        Raises:
            ConfigError: If there are no classes, ``task`` makes something that is no task, takes no ``image_classes``
                where there are some, or a value is out of range.
        """
        super().__init__()
        if not classes:
            raise ConfigError("There are no classes to learn: the labelled data name none.")
        if optimizer not in DEFAULT_LR:
            raise ConfigError.unknown_choice("optimizer", optimizer, DEFAULT_LR)
        self.classes = tuple(classes)
        self.optimizer = optimizer
        self.lr = DEFAULT_LR[optimizer] if lr is None else lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.warmup_lr = min(PAPER_WARMUP_LR, self.lr / 10) if warmup_lr is None else warmup_lr
        self.milestones = tuple(milestones)
        self.step_gamma = step_gamma
        self.eval_flip, self.eval_scales = eval_flip, tuple(eval_scales)
        self.make_schedule(total_steps=1)  # refuses wrong values now, not when the data are read

        self.task = make_task(task, self.classes, len(image_classes))
        self.compile_task, self.fused_optimizer = compile_task, fused_optimizer
        prepare(self.task, compile_task, channels_last)
        metric = self.task.metric()
        self.primary_metric = None if metric is None else metric.primary
        self.evaluation: dict[str, float] = {}
        self.weights_kind = "raw"
        self.flip_when_predicting = False
        self.scales_when_predicting: Sequence[float] = (1.0,)
        self.soft_nms_when_predicting: str | None = None
        self._spec = task_spec(task, self.task, len(image_classes))
        self._image_size: list[int] | None = None
        self._metric: Metric | None = None
        self._finite_check: FiniteCheck | None = None
        self._compiled_losses: Losses | None = None
        names = ("optimizer", "lr", "momentum", "weight_decay", "schedule", "warmup_steps", "warmup_lr", "step_gamma")
        self.save_hyperparameters({name: getattr(self, name) for name in names} | {"milestones": list(self.milestones)})

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Path | str, *args: Any, **kwargs: Any) -> "Self":  # type: ignore[override]
        """Return a module with the weights of a checkpoint as Lightning does, but load nothing except plain data.

        Args:
            checkpoint_path: A file.
            *args: As Lightning takes them.
            **kwargs: Likewise; ``task`` and ``classes`` are not in a checkpoint.

        Raises:
            CheckpointError: If the file cannot be read, or names code that is to make the module.
        """
        named = read_checkpoint(checkpoint_path).get("hyper_parameters") or {}
        if "_instantiator" in named or "_class_path" in named:  # Lightning before 2.6.6 imports them
            raise CheckpointError(
                f"{checkpoint_path}: its hyper_parameters name code, which is not run on a file's word."
            )
        loaded: Self = super().load_from_checkpoint(checkpoint_path, *args, **{**kwargs, "weights_only": True})
        return loaded

    # Training

    def on_fit_start(self) -> None:
        """Note which weights the checkpoints of this training will hold; warn of a precision that slows it down."""
        is_averaged = any(isinstance(callback, WeightAveraging) for callback in cast("Any", self.trainer).callbacks)
        self.weights_kind = "ema" if is_averaged else "raw"
        warn_of_slow_bfloat16(self.device, str(self.trainer.precision))

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and its schedule over the steps of this Trainer's run."""
        optimizer = make_optimizer(
            self.optimizer, self.parameters(), self.momentum, self.weight_decay, self.fused_optimizer
        )
        schedule = self.make_schedule(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, lambda step: schedule.learning_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def make_schedule(self, total_steps: float) -> Schedule:
        """Return the learning rate over a run of ``total_steps`` optimiser steps."""
        warmup_steps = int(min(self.warmup_steps, total_steps // 2))
        return Schedule(
            self.lr, total_steps, self.schedule, warmup_steps, self.warmup_lr, self.milestones, self.step_gamma
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what is random in the step that follows; note the size of the images, for the checkpoint."""
        self._image_size = list(batch["images"].shape[-2:])
        position = self.trainer.fit_loop.epoch_loop.total_batch_idx
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        mixed = int(np.random.SeedSequence((seed, position, self.global_rank)).generate_state(1, np.uint64)[0])
        # torch.manual_seed would format a stack trace for each device library that is not in use: a millisecond a step.
        torch.default_generator.manual_seed(mixed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(mixed)

    def stream_means(self, batch: Batch) -> StreamMeans:
        """Return the mean losses of both streams, after one forward pass over all images.

        The statistics of batch normalisation are those of the joint batch (paper.md, section 7).

        Raises:
            ConfigError: If the batch says how far its labels are believed and the task would not read it.
        """
        refuse_unread(self.task, batch)
        losses, parts = self._losses(batch)
        means = stream_means(losses, parts, batch["pseudo"], self._sum_over_ranks, self.trainer.world_size)
        self._finite_check = FiniteCheck(means, losses, batch)
        return means

    def log_training(self, values: Mapping[str, Tensor]) -> None:
        """Log values that are equal on all ranks as "train/<name>", and the learning rate."""
        for name, value in values.items():
            self.log(f"train/{name}", value, prog_bar=name == "loss")
        self.log("train/lr", self._learning_rate())

    def on_after_backward(self) -> None:
        """Stop before a loss that is not finite reaches the weights.

        Raises:
            StageError: Naming the step and the images.
        """
        if self._finite_check is not None:
            self._finite_check.require(self.trainer.global_step, self._learning_rate(), self._newest_checkpoint())
            self._finite_check = None

    # Evaluation and prediction

    def on_validation_epoch_start(self) -> None:
        """Begin with an empty metric."""
        self._metric = self._new_metric()

    def on_test_epoch_start(self) -> None:
        """Begin with an empty metric."""
        self._metric = self._new_metric()

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Add the images of a batch to the metric."""
        self._judge(batch)

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:
        """Add the images of a batch to the metric."""
        self._judge(batch)

    def on_validation_epoch_end(self) -> None:
        """Compute and log "val/<name>"."""
        self._conclude("val")

    def on_test_epoch_end(self) -> None:
        """Compute and log "test/<name>"."""
        self._conclude("test")

    def on_predict_start(self) -> None:
        """Warn of a precision that slows the labelling down."""
        warn_of_slow_bfloat16(self.device, str(self.trainer.precision))

    def predict_step(self, batch: EvalBatch, batch_idx: int) -> list[Any]:
        """Return a prediction for each image, in pixels of the original image; None where it is unreadable."""
        options = self.flip_when_predicting, self.scales_when_predicting, self.soft_nms_when_predicting
        predictions = self._predict(batch, *options)
        return [None if row < 0 else found for row, found in zip(batch["rows"].tolist(), predictions, strict=True)]

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what it holds."""
        checkpoint[KEY] = describe(self.classes, self.primary_metric, self.weights_kind, self._spec, self._image_size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other classes or of another model; to evaluate, a teacher's and a student's are alike.

        Raises:
            CheckpointError: With what differs, or where a student is to go on with a teacher's training.
        """
        about = description(checkpoint)
        path = str(self._trainer.ckpt_path) if self._trainer is not None else "the checkpoint"
        require_classes(about["classes"], self.classes, path)
        require_fit(task_weights(checkpoint), cast("nn.Module", self.task).state_dict(), path)
        # What a module holds besides its task: the moving averages of a student's loss.
        own = {name: value for name, value in self.state_dict().items() if not name.startswith(TASK_PREFIX)}
        found = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith(TASK_PREFIX)}
        if own.keys() != checkpoint["state_dict"].keys() - found.keys():
            if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
                raise CheckpointError(
                    f"{path}: not of a {type(self).__name__}, so this training cannot go on with it. A student "
                    "starts from its weights with model.init_args.init."
                )
            checkpoint["state_dict"] = {**own, **found}
        self.weights_kind, self._image_size = about["weights"], about.get("image_size")

    # Helpers

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.compile_task:
            return self.task.losses(batch)
        if self._compiled_losses is None:  # not before: a moving average copies the module, which would share the graph
            self._compiled_losses = compiled_losses(self.task)
        return self._compiled_losses(batch)

    def _new_metric(self) -> Metric:
        metric = self.task.metric()
        if metric is None:
            raise ConfigError(f"{type(self.task).__name__} has no metric: leave data.val and data.test out.")
        return metric

    def _judge(self, batch: EvalBatch) -> None:
        assert self._metric is not None
        predictions = self._predict(batch, self.eval_flip, self.eval_scales)
        rows = batch["rows"].tolist()
        readable = [i for i, row in enumerate(rows) if row >= 0]
        targets = batch["targets"]
        self._metric.update(
            [rows[i] for i in readable], [predictions[i] for i in readable], [targets[i] for i in readable]
        )

    def _predict(self, batch: EvalBatch, flip: bool, scales: Sequence[float], soft_nms: str | None = None) -> list[Any]:
        # A task of the user's own need not know of scales, nor of soft NMS.
        more: dict[str, Any] = {} if tuple(scales) == (1.0,) else {"scales": tuple(scales)}
        if soft_nms is not None:
            more["soft_nms"] = soft_nms
        predictions = self.task.predict(batch["images"], flip=flip, **more)
        return self.task.restore(predictions, batch["scales"], batch["sizes"])

    def _conclude(self, split: str) -> None:
        """Compute the metric over the images of all ranks.

        Ranks may hold different numbers of images: they exchange what they saw as objects, keyed by image.
        """
        assert self._metric is not None
        if self.trainer.world_size > 1:
            states: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(states, self._metric.state())
            self._metric.merge(states)
        self.evaluation = self._metric.compute()
        self._metric = None
        for name, value in self.evaluation.items():
            # Equal on all ranks, so averaging them changes nothing; Lightning warns of numbers that are not.
            self.log(f"{split}/{visible(name)}", value, prog_bar=name == self.primary_metric, sync_dist=True)

    def _sum_over_ranks(self, value: Tensor) -> Tensor:
        return cast("Tensor", self.trainer.strategy.reduce(value, reduce_op="sum"))

    def _newest_checkpoint(self) -> str:
        """Return the file that a callback of this training wrote last; empty where there is none."""
        paths = [getattr(callback, "last_model_path", "") for callback in self.trainer.checkpoint_callbacks]
        paths += [getattr(callback, "best_model_path", "") for callback in self.trainer.checkpoint_callbacks]
        return next((str(path) for path in paths if path), "")

    def _learning_rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])
