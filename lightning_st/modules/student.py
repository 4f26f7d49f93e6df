"""The student: human labels and pseudo-labels in one batch, under the paper's joint loss; or joint training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_st.modules.base import TaskModule
from lightning_st.modules.checkpoints import load_weights
from lightning_st.modules.tasks import TaskFactory
from lightning_st.types import Batch


class StudentModule(TaskModule):
    """Learns from human labels and a teacher's labels together (facts: paper.md, section 1).

    Its task need not be of its teacher's class or size: teacher and student meet only in the pseudo-labels.

    Joint training (paper.md, section 3.5) is the same with images of which only the class is known as the second
    stream: ``alpha=1`` and ``normalize_loss=False`` add the two losses.
    """

    def __init__(
        self,
        task: TaskFactory,
        classes: Sequence[str],
        alpha: float = 1.0,
        normalize_loss: bool = True,
        average_decay: float = 0.9997,
        average_warmup: bool = True,
        init: str | None = None,
        **optimization: Any,
    ) -> None:
        """Make the task and keep the settings of the joint loss and of the optimisation.

        Args:
            task: See ``TaskModule``.
            classes: See ``TaskModule``.
            alpha: Weight of the pseudo-labels, at least 0.
            normalize_loss: Bring the loss on pseudo-labels to the size of the loss on human labels, by moving averages
                of both; False for the paper's plain ``human + alpha * pseudo``.
            average_decay: Decay of those averages a step, 0-1.
            average_warmup: Let the averages move faster in a run's first steps; False for the paper's constant decay.
            init: Checkpoint of a teacher or student whose weights to start from; None for random ones.
            **optimization: All other arguments of ``TaskModule``.
        """
        super().__init__(task, classes, **optimization)
        self.init = init
        from lightning_st.selftrain import LossBalance  # here, so that a teacher needs nothing but torch and Lightning

        self.balance = LossBalance(alpha, average_decay, normalize_loss, average_warmup)
        balance = {"alpha": alpha, "normalize_loss": normalize_loss}
        averages = {"average_decay": average_decay, "average_warmup": average_warmup}
        self.save_hyperparameters({**balance, **averages, "init": init})

    def on_fit_start(self) -> None:
        """Take the weights of ``init``, unless this run goes on from a checkpoint of its own."""
        # Not in setup(): there Lightning does not say yet whether a checkpoint is going to be restored.
        if self.init is not None and self.trainer.ckpt_path is None:
            load_weights(self, self.init)
        super().on_fit_start()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the joint loss, float32 []; without pseudo-labelled images that on the human labels."""
        means = self.stream_means(batch)
        self.balance.update(means.global_human, means.global_pseudo)
        values = {
            "loss": self._join(means.global_human, means.global_pseudo, means.has_pseudo),
            "human_loss": means.global_human,
            "pseudo_loss": means.global_pseudo,
            "loss_ratio": self.balance.ratio,
        }
        pseudo_parts = {f"pseudo_{name}": part for name, part in means.pseudo_parts.items()}
        self.log_training({**values, **means.human_parts, **pseudo_parts})
        return self._join(means.human, means.pseudo, means.has_pseudo)

    def _join(self, human: Tensor, pseudo: Tensor, has_pseudo: Tensor) -> Tensor:
        return torch.where(has_pseudo, self.balance(human, pseudo), human)
