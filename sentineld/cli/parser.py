"""Parser: ``argparse`` with our errors, for the commands that run before click is imported."""

import argparse
from typing import NoReturn

from sentineld.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours."""

    def options(self) -> list[argparse.Action]:
        """Return all options and arguments."""
        return list(self._actions)

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` in place of printing and leaving."""
        raise UsageError(message, hint=f"{self.prog} --help")
