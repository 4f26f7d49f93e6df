"""The LightningModules: teacher and student, their optimisation, and their checkpoints."""

from lightning_st.modules.base import TaskModule
from lightning_st.modules.checkpoints import checkpoint_fingerprint, load_weights, read_checkpoint
from lightning_st.modules.ema import WeightEMA
from lightning_st.modules.optimization import make_optimizer, parameter_groups
from lightning_st.modules.schedules import Schedule
from lightning_st.modules.student import StudentModule
from lightning_st.modules.task_spec import portable_spec, rebuildable_spec
from lightning_st.modules.tasks import TaskFactory, refuse_unread
from lightning_st.modules.teacher import TeacherModule

__all__ = [
    "Schedule",
    "StudentModule",
    "TaskFactory",
    "TaskModule",
    "TeacherModule",
    "WeightEMA",
    "checkpoint_fingerprint",
    "load_weights",
    "make_optimizer",
    "parameter_groups",
    "portable_spec",
    "read_checkpoint",
    "rebuildable_spec",
    "refuse_unread",
]
