"""What all commands share: exit codes, and the output of data and messages."""

import argparse
import getpass
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from domain.events import MAX_ID
from service.printable import harmless
from service.settings import Settings

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

Command = Callable[[argparse.Namespace, Settings], int]
Add = Callable[..., argparse.ArgumentParser]


def adder(parser: argparse.ArgumentParser) -> Add:
    """Return what adds a command to a parser: by name, function, text, and its positional arguments with their types.

    Without a function it is a group of commands.
    """
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Command | None, text: str, **positional: Callable[[str], object]
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        if command is not None:
            added.set_defaults(command=command)
        for argument, kind in positional.items():
            added.add_argument(argument, type=kind)
        return added

    return add


def identifier(text: str) -> int:
    """Return the id, of a workspace or a campaign, that an argument gives; raise argparse's error where it is none."""
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > MAX_ID:
        msg = f"expected a number from 1 to {MAX_ID}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def position(text: str) -> int:
    """Return the position of a log that an argument names; raise argparse's error where it names none."""
    return 0 if text == "0" else identifier(text)


def workers(text: str) -> int:
    """Return how many processes an argument asks for; raise argparse's error where it is no such number."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        msg = "expected a number from 1 to 999"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def words(text: str) -> str:
    """Return an argument's text; raise argparse's error for bytes that are no UTF-8."""
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        raise argparse.ArgumentTypeError("expected UTF-8")
    return text


def by_operator() -> str:
    """Return how a change is signed that was made on the command line."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = str(os.getuid())
    return f"cli:{user}"


def say(text: object, code: int) -> int:
    """Print a line for people, and return the exit code."""
    print(harmless(text), file=sys.stderr)  # noqa: T201 (for people)
    return code


def show(text: object) -> int:
    """Print a line of data, and return that it is done."""
    print(harmless(text))  # noqa: T201 (data)
    return DONE


def print_json(data: object) -> int:
    """Print data as one line of JSON, unprintable characters escaped, and return the exit code DONE."""
    text = json.dumps(data, ensure_ascii=(sys.stdout.encoding or "").lower().replace("-", "") != "utf8")
    print("".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text))  # noqa: T201 (data)
    return DONE


def print_table(header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
    """Print data as columns under their names, and return that it is done."""
    cells = [header, *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())  # noqa: T201
    return DONE


def _cell(value: object) -> str:
    return harmless(", ".join(value) if isinstance(value, list) else "" if value is None else value)


def show_what_can_be() -> None:
    """Let what a stream's encoding can't express come out escaped, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
