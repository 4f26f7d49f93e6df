"""The teacher: supervised learning on human labels."""

from torch import Tensor

from lightning_st.modules.base import TaskModule
from lightning_st.types import Batch


class TeacherModule(TaskModule):
    """Learns from the human-labelled images of a batch alone; also the supervised control of a student."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of the human-labelled images, float32 []."""
        means = self.stream_means(batch)
        self.log_training({"loss": means.global_human, **means.human_parts})
        return means.human
