"""A warning where the precision that a user asks for makes a run slower instead of faster."""

import torch
from lightning.pytorch.utilities import rank_zero_warn


def warn_of_slow_bfloat16(device: torch.device, precision: str) -> None:
    """Warn where a CPU has to imitate bfloat16.

    Args:
        device: Where the model is.
        precision: The Trainer's; Lightning has made "16-mixed" on a CPU "bf16-mixed".
    """
    if device.type == "cpu" and precision.startswith("bf16") and not has_fast_bfloat16():
        rank_zero_warn(
            f"trainer.precision={precision} makes this CPU many times slower: it lacks the instructions for bfloat16 "
            "(AVX-512 or AMX). Take trainer.precision=32-true."
        )


def has_fast_bfloat16() -> bool:
    """Return whether convolutions in bfloat16 are fast on this CPU, as oneDNN judges it; True where nobody judges.

    Without it a convolution takes 45 times as long as in float32 (measured on a Zen 2 with AVX2).
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
