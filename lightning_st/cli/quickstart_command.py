"""``lightning_st quickstart [--output DIR]``: the command to begin with, and the configs that come with the package."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning_st.cli.console import say
from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.cli.shipped_configs import SHIPPED, shipped_names
from lightning_st.errors import ConfigError


def quickstart(words: Sequence[str]) -> None:
    """Say what to type first; list the configs, or copy them.

    Raises:
        ConfigError: If there is something in the folder to copy them to.
    """
    parser = OneSentenceParser(
        prog="lightning_st quickstart",
        description="The command to begin with, and the configs that come with lightning_st.",
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="copy the configs to this new folder")
    output: Path | None = parser.parse_args(words).output
    if output is None:
        say(_begin("configs/quickstart.yaml"))
        say("These configs come with lightning_st, under these names in any folder; --output DIR copies them:\n")
        say("\n".join(f"    {name}" for name in shipped_names()))
        return
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError.expected("--output", "a new folder, or an empty one", str(output))
    shutil.copytree(SHIPPED, output, dirs_exist_ok=True)
    say(_begin((output / "quickstart.yaml").as_posix()))
    say(f"{output / 'README.md'} tells of the {len(shipped_names())} configs that were copied.")


def _begin(config: str) -> str:
    return (
        "A first run takes minutes on two cores, and fetches its own images (20 MB):\n\n"
        f"    lightning_st self_train --config {config}\n"
    )
