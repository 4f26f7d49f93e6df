"""A backbone's weights from a file: of timm or torchvision, of self-supervised training, or a checkpoint of ours."""

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_st.errors import CheckpointError
from lightning_st.models.plain_file import UnreadableError, read_plain

logger = logging.getLogger(__name__)

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
"""What a file of weights is called; any other value of ``pretrained`` is a tag of timm."""

LEAST_SHARE = 0.5
"""A file with a smaller share of a module's parameters is taken for one of another architecture."""

COUNTER = "num_batches_tracked"
"""How many batches a normalisation has seen: of no use where the momentum is fixed, and often not stored."""

SHOWN = 5
"""How many names a message shows."""


def is_weights_file(name: str) -> bool:
    """Return whether ``name`` is that of a file of weights rather than a tag of timm."""
    return Path(name).suffix in SUFFIXES


def load_weights(module: nn.Module, path: Path | str) -> int:
    """Load those tensors of ``path`` that ``module`` has, and log what matched, what is missing and what is left.

    The names in the file may begin with a prefix that those of ``module`` lack ("module.encoder_q.", "backbone.",
    "task.backbone."), or number the children of a model that became an ``nn.Sequential`` ("backbone.0.weight"), as
    programs for self-supervised training do. Of several such sets of weights that match most, the first is taken. What
    the file has besides (a classifier, a projection) is left. Counts of batches (``num_batches_tracked``) may be
    missing.

    Args:
        module: Gets the weights.
        path: A ``state_dict``, plain or within other dictionaries ("state_dict", "model", "teacher" ...); pickled (read
            with ``weights_only=True``) or safetensors.

    Returns:
        How many tensors were loaded.

    Raises:
        CheckpointError: If the file cannot be read, less than half of the parameters match, or a tensor that stands for
            one of the others has another shape.
    """
    content = _read(Path(path))
    own = {_canonical(name): name for name in module.state_dict()}
    sizes = {_canonical(name): parameter.numel() for name, parameter in module.named_parameters()}
    shapes = {_canonical(name): value.shape for name, value in module.state_dict().items()}

    def share(names: Mapping[str, str]) -> float:
        """Return the share of the module's parameters, by elements, that have a tensor of their shape in the file."""
        fitting = sum(n for name, n in sizes.items() if name in names and content[names[name]].shape == shapes[name])
        return fitting / max(1, sum(sizes.values()))

    # From the module's names, without what only wraps them, to those in the file.
    candidates = [_without_prefix(content, own), *_without_numbers(content, own)]
    names = max(candidates, key=share)
    _require_fit(path, module, content, {own[name]: found for name, found in names.items()}, share(names))
    module.load_state_dict({own[name]: content[found] for name, found in names.items()}, strict=False)
    _report(path, own, names, content, share(names))
    return len(names)


def _require_fit(
    path: Path | str, module: nn.Module, content: Mapping[str, Tensor], names: Mapping[str, str], share: float
) -> None:
    """Refuse a file of which ``share`` of the parameters match, if that is too little or a shape differs."""
    kind, state = type(module).__name__, module.state_dict()
    if not names:
        raise CheckpointError(f"{path}: none of its tensors has a name that {kind} knows.")
    wrong = [name for name, found in names.items() if content[found].shape != state[name].shape]
    if share < LEAST_SHARE:
        wanted = next(name for name in state if name in wrong or name not in names)
        stored = names.get(wanted, next(iter(content)))
        raise CheckpointError(
            f"{path}: only {share:.0%} of the parameters of {kind} are in it, so it is of another architecture: such "
            f"as {wanted} of shape {tuple(state[wanted].shape)} are missing, there is {stored} of shape "
            f"{tuple(content[stored].shape)}."
        )
    for name in wrong:
        expected, found = tuple(state[name].shape), tuple(content[names[name]].shape)
        raise CheckpointError(f"{path}: expected {name} of shape {expected}, found {found}.")


def _report(
    path: Path | str, own: Mapping[str, str], names: Mapping[str, str], content: Mapping[str, Tensor], share: float
) -> None:
    """Log what was loaded, once a machine; as a warning where something is missing."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    counted = [name for name in own if not name.endswith(COUNTER)]
    missing = [own[name] for name in counted if name not in names]
    left = sorted(name for name in content.keys() - set(names.values()) if not name.endswith(COUNTER))
    level = logging.WARNING if missing else logging.INFO
    counts = (len(counted) - len(missing), len(counted), 100 * share)
    text = "%s: %d of %d tensors loaded, %.0f%% of the parameters; not in the file: %s; left in the file: %s."
    logger.log(level, text, path, *counts, _some(missing), _some(left))


def _some(names: Sequence[str]) -> str:
    """Return the first of ``names`` for a message, and how many there are besides."""
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown or "nothing"


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content: Any = read_plain(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file of weights.") from error
    except (OSError, SafetensorError, UnreadableError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a file of weights: {reason}") from error
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected tensors by name, found a {type(content).__name__}.")
    return dict(_tensors(content))


def _tensors(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested dictionaries, by their joined names."""
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{prefix}{key}.")


def _canonical(name: str) -> str:
    """Return a tensor's name without what is only the wrapper's: timm writes "blocks.0" as "blocks_0" for features."""
    return re.sub(r"_(\d+)(?=\.)", r".\1", name.removeprefix("model."))


def _without_prefix(content: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return, by ``known`` name, the names in a file that begin with the prefix that hides most of the known ones."""
    canonical = {_canonical(name): name for name in content}
    counts: dict[str, int] = {}
    for name in canonical:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in known:
                prefix = "".join(f"{part}." for part in parts[:cut])
                counts[prefix] = counts.get(prefix, 0) + 1
    best = max(counts, key=lambda prefix: counts[prefix], default="")
    return {name: canonical[best + name] for name in known if best + name in canonical}


def _without_numbers(content: Iterable[str], known: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield, for each prefix before numbers in a file, its names by the known names that the numbers stand for.

    The k-th number that has tensors stands for the k-th child that has some: the children between them (activations,
    pools) have none, and some programs leave them out.
    """
    children = list(dict.fromkeys(name.partition(".")[0] for name in known))
    numbered: dict[str, dict[int, list[str]]] = {}
    for name in content:
        found = re.match(r"(\D*?)(\d+)\.", name)
        if found and found[1][-1:] in ("", "."):
            numbered.setdefault(found[1], {}).setdefault(int(found[2]), []).append(name)
    for prefix, by_number in numbered.items():
        renamed = {
            f"{child}.{name.removeprefix(f'{prefix}{number}.')}": name
            for number, child in zip(sorted(by_number), children, strict=False)
            for name in by_number[number]
        }
        yield {name: renamed[name] for name in known if name in renamed}
