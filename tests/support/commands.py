"""What a command of the command line does, as a test sees it."""

from collections.abc import Callable
from typing import NamedTuple


class Said(NamedTuple):
    """What a command returned, printed as data, and said to people."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]
