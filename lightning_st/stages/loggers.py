"""The user's loggers, made anew for each stage: how they are named, and when a W&B run begins and ends.

Each stage is a W&B run of its own, in the group of its run. Where one is open already, or the process belongs to a
sweep, whose agent has chosen the one run that it looks at, all stages log to that, each below its own place:
"round_0/student/val/AP".
"""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from lightning_st.stages.building import build, build_factory, import_name
from lightning_st.stages.manifest import Action, read_manifest
from lightning_st.stages.titles import Title

SWEEP = "WANDB_SWEEP_ID"
"""The environment variable by which W&B's agent says that a process belongs to a sweep."""

_PROJECT = "lightning_st"
_VARIABLES = {
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
    "project": "WANDB_PROJECT",
    "id": "WANDB_RUN_ID",
}
"""Arguments of a W&B run that a user may also give by the environment."""


def make_loggers(given: Any, title: Title, run_id: str) -> list[Logger]:
    """Return the loggers of a stage.

    What the user gave stands; what is missing is taken from ``title``.

    Args:
        given: What the recipe says of them: one or several, each by class path or as an object; none for None or a
            truth value.
        title: The stage's.
        run_id: Of its W&B run, so that a training that was cut goes on in the run that it began.
    """
    specs = [] if given is None or isinstance(given, bool) else given if isinstance(given, list | tuple) else [given]
    return [_make_logger(spec, title, run_id) for spec in specs]


def wandb_run_id(folder: Path, action: Action) -> str:
    """Return the id of the W&B run of a stage: that of its manifest where it goes on, else a new one."""
    manifest = read_manifest(folder) if action is Action.RESUME else None
    return (manifest or {}).get("wandb_run") or secrets.token_hex(4)


@contextmanager
def ending_wandb_run(of_sweep: bool) -> Iterator[None]:
    """End the W&B run that is begun inside, as failed where an exception leaves; one that was open before stays open.

    Args:
        of_sweep: Whether what is inside is a whole command, which is one run in a sweep, or one stage, which is one
            anywhere else. Nothing happens where it is the other case.
    """
    if (SWEEP in os.environ) != of_sweep:
        yield
        return
    before = _open_run()
    try:
        yield
    except BaseException:
        _end_run(before, exit_code=1)
        raise
    _end_run(before, exit_code=0)


def is_one_run() -> bool:
    """Say whether all stages log to one W&B run: that of a sweep, or one that is open already."""
    return SWEEP in os.environ or _open_run() is not None


def _make_logger(spec: Any, title: Title, run_id: str) -> Logger:
    if not isinstance(spec, Mapping) or "class_path" not in spec:
        made: Logger = build(spec)
        return made
    kind = import_name(spec["class_path"])
    arguments = dict(spec.get("init_args") or {})
    if isinstance(kind, type) and issubclass(kind, WandbLogger):
        return _make_wandb_logger(spec, arguments, title, run_id)
    parameter = signature(kind).parameters.get("name")
    if parameter is not None and arguments.get("name", parameter.default) == parameter.default:
        arguments["name"] = title.name
    logger: Logger = build({**spec, "init_args": arguments})
    return logger


def _make_wandb_logger(spec: Mapping[str, Any], arguments: dict[str, Any], title: Title, run_id: str) -> WandbLogger:
    # A command line gives every argument, and one of None would take Lightning's own "resume" away.
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if not is_one_run():
        own = {"name": title.name, "group": title.group, "job_type": title.kind, "tags": title.tags}
        own |= {"project": _PROJECT, "id": run_id}
        own = {key: value for key, value in own.items() if _VARIABLES[key] not in os.environ}
        if "version" in arguments:
            del own["id"]
        logger: WandbLogger = build({**spec, "init_args": {**own, **arguments}})
        return logger
    prefix = "/".join(part for part in (arguments.get("prefix"), title.place) if part)
    logger = build_factory({**spec, "init_args": {**arguments, "prefix": prefix}})(experiment=_open_run())
    logger.LOGGER_JOIN_CHAR = "/"
    return logger


def _open_run() -> Any:
    """Return the W&B run that this process has open, without importing W&B where nobody else has."""
    return getattr(sys.modules.get("wandb"), "run", None)


def _end_run(before: Any, exit_code: int) -> None:
    run = _open_run()
    if run is not None and before is None:
        run.finish(exit_code=exit_code)
