"""What every command shares: exit codes, and how data and words leave on a terminal."""

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from domain.events import MAX_ID
from service.settings import Settings

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

Command = Callable[[argparse.Namespace, Settings], int]


def workspace(text: str) -> int:
    """Return the workspace that an argument names; raise argparse's error where it names none."""
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > MAX_ID:
        msg = f"expected a number from 1 to {MAX_ID}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def position(text: str) -> int:
    """Return the position of a log that an argument names; raise argparse's error where it names none."""
    return 0 if text == "0" else workspace(text)


def workers(text: str) -> int:
    """Return how many processes an argument asks for; raise argparse's error where it is no such number."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        msg = "expected a number from 1 to 999"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def by_operator() -> str:
    """Return how a change is signed that was made on the command line."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = str(os.getuid())
    return f"cli:{user}"


def say(text: object, code: int) -> int:
    """Print something for people, and return the exit code given."""
    print(text, file=sys.stderr)  # noqa: T201 (for people)
    return code


def print_json(data: object) -> int:
    """Print data as one line of JSON, and return that it is done."""
    print(json.dumps(data, ensure_ascii=False))  # noqa: T201 (data)
    return DONE


def print_table(header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
    """Print data as columns under their names, and return that it is done."""
    cells = [
        header,
        *(
            [", ".join(cell) if isinstance(cell, list) else "" if cell is None else str(cell) for cell in row]
            for row in rows
        ),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())  # noqa: T201
    return DONE
