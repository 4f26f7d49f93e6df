"""A parser of plain arguments that refuses as every command does; argparse alone, so that nothing heavy is imported."""

import argparse
from typing import NoReturn

from lightning_st.errors import ConfigError


class OneSentenceParser(argparse.ArgumentParser):
    """Refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print below its usage.

        Raises:
            ConfigError: Always.
        """
        command = self.prog.rpartition(" ")[2]
        raise ConfigError(f"{command}: {message}. See `{self.prog} --help`.")
