"""The command `mcp`: tools for an assistant."""

import argparse
import os

from service import mcp
from service.commands.terminal import DONE, Add
from service.settings import Settings


def add_commands(add: Add) -> None:
    """Teach the parser this command."""
    add("mcp", _mcp, "offer read-only tools to assistants, on standard input and output (extra mcp)")


def _mcp(_: argparse.Namespace, __: Settings) -> int:
    mcp.serve(os.environ)
    return DONE
