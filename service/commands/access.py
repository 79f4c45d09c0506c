"""The commands `campaign-analytics access …`: an operator changes and shows who may see what."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.administration.shown import history_json, user_json
from domain.access import Access
from domain.api_keys import SCOPES
from domain.recorder import Pool
from projections import access
from service.clock import clock
from service.commands.terminal import (
    DONE,
    FAILED,
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

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def add_commands(add: Add) -> None:
    """Teach the parser `access` and its commands."""
    add = adder(add("access", None, "say who may see what"))

    for name, text, done in (
        ("link", "link a workspace to a user", "workspace {workspace} is linked to {user}"),
        ("unlink", "unlink a workspace from a user", "workspace {workspace} is not linked to {user}"),
        ("select", "make a linked workspace the user's current one", "workspace {workspace} is current for {user}"),
    ):
        add(name, _change, text, USER=words, WS=identifier).set_defaults(change=getattr(Access, name), done=done)
    add("show", _show, "show what a user may see", USER=words).add_argument(
        "--json", action="store_true", help="as JSON"
    )
    added = add("issue-key", _issue_key, "issue an API key and print it, this once", USER=words)
    added.add_argument("--scope", choices=SCOPES, action="append", help="what the key may do (read)")
    added.add_argument("--expires", metavar="90d", type=_duration, help="how long it holds: a number of s, m, h or d")
    added.add_argument("--name", type=words, default="", help="what the key is for")
    add("history", _history, "show who could see what, since when, by whose hand", USER=words).add_argument(
        "--json", action="store_true", help="as JSON"
    )
    add("revoke-key", _revoke_key, "revoke an API key", PREFIX=words)
    add("keys", _keys, "show a user's API keys", USER=words).add_argument("--json", action="store_true", help="as JSON")


def _change(arguments: argparse.Namespace, chosen: Settings) -> int:
    """Link, unlink or select: whichever the command is."""
    with _users(chosen) as (users, _, by):
        arguments.change(users, arguments.USER, arguments.WS, by)
    return say(arguments.done.format(user=arguments.USER, workspace=arguments.WS), DONE)


def _show(arguments: argparse.Namespace, chosen: Settings) -> int:
    shown = _shown(arguments.USER, chosen)
    if arguments.json:
        del shown["keys"]
        return print_json(shown)
    current = shown["current_workspace"]
    rows = [(workspace_id, "current" if workspace_id == current else "") for workspace_id in shown["linked_workspaces"]]
    return print_table(("workspace", ""), rows)


def _history(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _, __):
        events = history_json(users.history(arguments.USER))
    if arguments.json:
        return print_json({"user": arguments.USER, "history": events})
    rows = [(at, by, kind, _words(fields)) for at, by, kind, fields in map(_event, events)]
    return print_table(("at", "by", "what", ""), rows)


def _event(event: dict[str, Any]) -> tuple[str, str, str, dict[str, Any]]:
    fields = dict(event)
    return fields.pop("at"), fields.pop("by"), fields.pop("type"), fields


def _words(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={','.join(value) if isinstance(value, list) else value}" for name, value in fields.items())


def _issue_key(arguments: argparse.Namespace, chosen: Settings) -> int:
    expires_at = None if arguments.expires is None else clock() + arguments.expires
    with _users(chosen) as (users, _, by):
        scopes = arguments.scope or ["read"]
        issued = users.issue_key(arguments.USER, scopes=scopes, name=arguments.name, expires_at=expires_at, by=by)
    print(issued.key)  # noqa: T201 (data)
    return say(f"issued to {arguments.USER}, {', '.join(scopes)}; the key is shown this once", DONE)


def _revoke_key(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, pool, by):
        with pool.connection() as connection:
            owner = access.owner_of_key(connection, arguments.PREFIX)
        if owner is None:
            return say("no such key, or revoked already", FAILED)
        users.revoke_key(owner, arguments.PREFIX, by)
    return say(f"key {arguments.PREFIX} of {owner} is revoked", DONE)


def _keys(arguments: argparse.Namespace, chosen: Settings) -> int:
    keys = _shown(arguments.USER, chosen)["keys"]
    if arguments.json:
        return print_json({"keys": keys})
    columns = ("prefix", "name", "scopes", "created_at", "expires_at", "last_used_at")
    return print_table(columns, [tuple(key[column] for column in columns) for key in keys])


def _shown(user_id: str, chosen: Settings) -> dict[str, Any]:
    """Return a user as the HTTP interface shows them."""
    with _users(chosen) as (users, pool, _):
        user = users.user(user_id)
        with pool.connection() as connection:
            last_used = access.last_used(connection, user_id)
    return user_json(user_id, user, last_used)


@contextmanager
def _users(chosen: Settings) -> Iterator[tuple[Access, Pool, str]]:
    with chosen_pool(chosen) as pool:
        yield Access(pool, access.project, clock), pool, by_operator()


def _duration(text: str) -> int:
    """Return a duration such as 90d in ms."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", text):
        raise argparse.ArgumentTypeError("expected a number of s, m, h or d, such as 90d")
    return int(text[:-1]) * _UNITS[text[-1]]
