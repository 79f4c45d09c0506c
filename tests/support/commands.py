"""The result of a command of the command line, as a test sees it."""

from collections.abc import Callable
from typing import NamedTuple


class CommandResult(NamedTuple):
    """The exit code of a command, its standard output and its standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., CommandResult]
