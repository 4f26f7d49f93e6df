"""The configs that come with the package: ``--config configs/...`` finds them in any folder, of a wheel too.

They lie beside the package in a checkout (``configs/``), and within it in a wheel (``lightning_st/configs/``).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_st.cli.console import say
from lightning_st.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).parents[1]

SHIPPED = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
"""The folder that the names below ``configs/`` belong to."""


def shipped_names() -> list[str]:
    """Return what can be given to ``--config`` without a file there, such as ``configs/quickstart.yaml``."""
    return sorted(f"configs/{path.relative_to(SHIPPED).as_posix()}" for path in SHIPPED.rglob("*.yaml"))


def config_words(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the position and the value of each word that names a config: ``--config FILE`` or ``--config=FILE``."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config", "-c"):
            if equals:
                yield position, value
            elif position + 1 < len(words):
                yield position + 1, words[position + 1]


def find_shipped(words: Sequence[str]) -> list[str]:
    """Return ``words`` with the whole path of each config that comes with the package and is no file here.

    A file of the user's always comes first. Which configs are the package's is said on standard error: who copied and
    changed one, and stands in another folder, would otherwise run the original unawares.

    Raises:
        ConfigError: If a name under ``configs/`` is neither a file nor one of those.
    """
    found = list(words)
    for position, name in config_words(words):
        if Path(name).parts[:1] != ("configs",) or Path(name).exists():
            continue
        shipped = SHIPPED.parent / name
        if not shipped.is_file():
            hint = did_you_mean(name, shipped_names()) or " `lightning_st quickstart` lists those."
            raise ConfigError(f"{name}: there is no such file here, nor among the configs of lightning_st.{hint}")
        say(f"lightning_st: {name} is the one that comes with lightning_st.", to_errors=True)
        found[position] = words[position].replace(name, str(shipped))
    return found
