"""The commands `forget` and `workspace …`: a person and a tenant, as the operator of the service deals with them."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.sql import SQL
from tqdm import tqdm

from api.tools import KNOWN
from domain import instants
from domain.access import Access
from domain.hooks import Hooks
from domain.recorder import Pool
from projections import access
from projections.building import ending, forgetting, generations
from service import database
from service.clock import clock
from service.commands.terminal import (
    DONE,
    FAILED,
    MISUSED,
    Add,
    adder,
    by_operator,
    identifier,
    print_json,
    print_table,
    say,
    words,
)
from service.connect import chosen_pool
from service.settings import Settings

_LISTS = (  # each by workspace
    SQL("SELECT workspace_id, name FROM workspace"),
    SQL("SELECT workspace_id, head FROM log_head WHERE workspace_id > 0"),
    SQL("SELECT workspace_id, count(*) FROM workspace_link GROUP BY workspace_id"),
    SQL("SELECT workspace_id, deleted_at FROM deleted_workspace"),
)
_COLUMNS = ("workspace_id", "name", "head", "users", "deleted_at")


def add_commands(add: Add) -> None:
    """Teach the parser `forget`, and the commands of `workspace`."""
    added = add("forget", _forget, "put a random token in the place of a prospect's id, in all that is stored")
    added.add_argument("--workspace", metavar="ID", type=identifier, required=True, help="whose prospect")
    added.add_argument("--prospect", metavar="ID", type=words, required=True, help="who is forgotten; - reads the id")
    added.add_argument("--json", action="store_true", help="as JSON")
    add = adder(add("workspace", None, "list, name, delete workspaces"))
    add("list", _list, "show all workspaces, deleted ones too").add_argument(
        "--json", action="store_true", help="as JSON"
    )
    add("rename", _rename, "give a workspace a name", ID=identifier, NAME=words)
    added = add("delete", _delete, "delete a workspace and all that is stored of it, for good", ID=identifier)
    added.add_argument("--yes", metavar="ID", type=identifier, help="the id again, in place of a question")


def _forget(arguments: argparse.Namespace, chosen: Settings) -> int:
    prospect_id = arguments.prospect
    if prospect_id == "-":  # an argument is seen in the list of processes, and kept by shells
        prospect_id = sys.stdin.readline().rstrip("\n")
    if not prospect_id:
        return say("--prospect: is empty", MISUSED)
    with _users(chosen) as (users, pool):
        with pool.connection() as connection:
            token, events = forgetting.forget(connection, users, arguments.workspace, prospect_id, by_operator())
        generations.sweep(pool)  # what a replay under way has written already
    if token is None:
        say("nothing is stored of this prospect", DONE)
    else:
        say(f"the prospect is {token} now, in {events} events", DONE)
    return print_json({"token": token, "events": events}) if arguments.json else DONE


def _list(arguments: argparse.Namespace, chosen: Settings) -> int:
    with chosen_pool(chosen) as pool, pool.connection() as connection:
        names, heads, users, deleted = (dict[int, Any](connection.execute(each).fetchall()) for each in _LISTS)
    rows = [
        (
            each,
            names.get(each),
            heads.get(each, 0),
            users.get(each, 0),
            instants.format_instant(deleted[each]) if each in deleted else None,
        )
        for each in sorted({*names, *heads, *users, *deleted})
    ]
    if arguments.json:
        return print_json({"workspaces": [dict(zip(_COLUMNS, row, strict=True)) for row in rows]})
    return print_table(("workspace", "name", "head", "users", "deleted"), rows)


def _rename(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _):
        users.rename_workspace(arguments.ID, arguments.NAME, by_operator())
    return say(f"workspace {arguments.ID} is called {arguments.NAME}", DONE)


def _delete(arguments: argparse.Namespace, chosen: Settings) -> int:
    with chosen_pool(chosen) as pool, pool.connection() as connection:
        known = access.known_workspaces(connection).union(*(dict(connection.execute(each)) for each in _LISTS))
    if arguments.ID not in known:  # else a slip would take an id away for good
        return say(f"nothing was deleted: there is no workspace {arguments.ID}", FAILED)
    again = arguments.yes
    if again is None:
        say(f"everything in workspace {arguments.ID} is lost for good; its id again:", DONE)
        answer = sys.stdin.readline().strip()
        again = int(answer) if answer.isascii() and answer.isdecimal() else None
    if again != arguments.ID:
        return say("nothing was deleted: that is another id", FAILED)
    with (
        _users(chosen) as (users, pool),
        pool.connection() as connection,
        tqdm(unit=" rows", unit_scale=True, disable=None) as bar,
    ):
        hooks = Hooks(pool, access.project_hooks, clock, KNOWN)
        ending.delete(connection, users, hooks, arguments.ID, by_operator(), bar.update)
    return say(f"workspace {arguments.ID} is deleted", DONE)


@contextmanager
def _users(chosen: Settings) -> Iterator[tuple[Access, Pool]]:
    with chosen_pool(chosen, database.BATCH_TIMEOUT) as pool:
        yield Access(pool, access.project, clock), pool
