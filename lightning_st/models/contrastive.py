"""The loss of SimCLR: of all views in a batch, find the one that is of the same image."""

import torch
from torch import Tensor, nn

from lightning_st.models.processes import gather_rows


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the normalised temperature-scaled cross entropy of each image (arXiv 2002.05709, equation 1).

    Each view is compared with all other views of the global batch, those of other processes too. An image's loss is the
    mean of its two views' losses, so the mean over the images of all processes is the paper's loss. All processes have
    to call this together.

    Args:
        first: float32 [B, D], projections of one view of each image, of length 1.
        second: float32 [B, D], those of the other view.
        temperature: What similarities, -1 to 1, are divided by.

    Returns:
        The losses, float32 [B], and for each image the part of its views, 0, 1/2 or 1, whose most similar view is that
        of the same image, float32 [B].

    Example:
        >>> views = torch.eye(2)
        >>> nt_xent(views, views, temperature=1.0)  # log(e + 1 + 1) - 1
        (tensor([0.5514, 0.5514]), tensor([1., 1.]))
    """
    everyone, start = gather_rows(torch.stack([first, second], dim=1))  # [N, 2, D]
    total = len(everyone)
    similarities = torch.cat([first, second]) @ everyone.transpose(0, 1).flatten(0, 1).T / temperature  # [2B, 2N]
    own = start + torch.arange(len(first), device=first.device)
    itself, partner = torch.cat([own, own + total]), torch.cat([own + total, own])
    similarities = similarities.scatter(1, itself[:, None], float("-inf"))
    losses = nn.functional.cross_entropy(similarities, partner, reduction="none")
    is_found = (similarities.argmax(dim=1) == partner).float()
    return losses.view(2, -1).mean(dim=0), is_found.view(2, -1).mean(dim=0)
