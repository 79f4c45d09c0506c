"""The command `migrate`: bring the database to this version."""

import argparse

from service import database
from service.commands.terminal import DONE, Add, say
from service.connect import chosen_database
from service.settings import Settings


def add_commands(add: Add) -> None:
    """Teach the parser this command."""
    add("migrate", _migrate, "bring the database to this version")


def _migrate(_: argparse.Namespace, chosen: Settings) -> int:
    with chosen_database(chosen) as url:
        applied = database.migrate(url)
        with database.connect(url) as connection:
            schema = database.schema_of(connection)
    for name in applied:
        say(name, DONE)
    if schema.newer:
        how = "and this program can't work with it" if schema.fault else "and this program goes on working with it"
        return say(f"nothing to do: the database is newer than this program, {how}", DONE)
    return DONE if applied else say("nothing to do", DONE)
