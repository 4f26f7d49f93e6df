"""A moving average of the weights: Lightning's callback, without its surprises."""

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lightning_st.errors import ConfigError

AVERAGED_BUFFERS = ("running_mean", "running_var")
"""Buffers that follow the weights: the statistics of batch normalisation."""


class WeightEMA(WeightAveraging):
    """Keeps an exponential moving average of the weights, which is what a checkpoint holds and what is evaluated.

    ``checkpoint["state_dict"]`` are the averaged weights, ``checkpoint["current_model_state"]`` those that training
    goes on from. Beyond ``lightning.pytorch.callbacks.EMAWeightAveraging``

    - the decay grows with the steps taken, so that short runs are not held back by their first weights;
    - of the buffers only batch statistics are averaged; counters, and the moving averages of the joint loss, are
      copied;
    - the average ends with the training: evaluating another checkpoint with the same Trainer evaluates that checkpoint;
    - an error in the middle of a validation leaves a checkpoint with the right weights in the right places.
    """

    def __init__(self, decay: float = 0.9998, warmup: bool = True) -> None:
        """Prepare an average.

        Args:
            decay: Share of the old average that an optimiser step leaves, at least 0 and below 1.
            warmup: Let the decay after t steps be at most ``(1 + t) / (10 + t)``.

        Raises:
            ConfigError: If ``decay`` is outside its range.
        """
        if not 0 <= decay < 1:
            raise ConfigError.expected("decay", "at least 0 and below 1", decay)
        super().__init__(use_buffers=True, multi_avg_fn=self._move)
        self.decay = decay
        self.warmup = warmup
        self._is_swapped = False

    def decay_after(self, step_count: int) -> float:
        """Return the decay that is used after ``step_count`` steps.

        Example:
            >>> [round(WeightEMA(0.99).decay_after(steps), 3) for steps in (1, 10, 10_000)]
            [0.182, 0.55, 0.99]
        """
        return min(self.decay, (1 + step_count) / (10 + step_count)) if self.warmup else self.decay

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average after an optimiser step."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        assert self._average_model is not None
        averages, currents = _copied_buffers(self._average_model.module), _copied_buffers(pl_module)
        if averages:
            torch._foreach_copy_(averages, currents)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the average when training has ended: the module now holds it."""
        self._average_model = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up the average when training resumes; to evaluate, the module has loaded it already."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Undo the exchange of weights that a failed or interrupted validation left."""
        if self._is_swapped:
            self._swap_models(pl_module)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._is_swapped = not self._is_swapped

    def _move(self, averages: Any, currents: Any, step_count: Tensor | int) -> None:
        move = cast("Callable[..., Any]", get_ema_multi_avg_fn)(self.decay_after(int(step_count)))
        move(averages, currents, step_count)


def _copied_buffers(module: nn.Module) -> list[Tensor]:
    """Return the buffers that are copied instead of averaged."""
    return [buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] not in AVERAGED_BUFFERS]
