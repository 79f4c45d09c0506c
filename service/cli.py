"""The command line `campaign-analytics`: exit 0 done, 1 failed, 2 misused, 130 interrupted; data goes to stdout."""

import argparse
import getpass
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from secrets import token_urlsafe
from threading import Event
from typing import Any

import psycopg
from tqdm import tqdm

from domain.access import SCOPES, Access, AccessError, Key
from domain.events import MAX_ID
from domain.instants import format_instant
from domain.recorder import Pool
from projections import access, replay, status
from projections.fold import FoldError
from projections.projector import Projector
from service import database, demo, embedded, lifeline, logs, settings, supervisor
from service.clock import clock
from service.settings import Settings

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
STOPPED_SECONDS = 5.0  # the embedded PostgreSQL has gone by then, unless somebody else is attached to it
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Command = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    chosen = _parser().parse_args(arguments)
    command: Command = chosen.command
    try:
        environment = dict(os.environ)
        for name in ("host", "port"):
            if getattr(chosen, name, None) is not None:
                environment[name.upper()] = getattr(chosen, name)
        return command(chosen, settings.from_environment(environment))
    except settings.BadSettingError as error:
        return _say(error, MISUSED)
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        return _say("the database can't be used: " + str(error).partition("\n")[0], FAILED)
    except psycopg.errors.UndefinedTable:
        return _say("the database has no tables of ours: run campaign-analytics migrate", FAILED)
    except (AccessError, replay.SupersededError, supervisor.PortInUseError, embedded.EmbeddedUnavailable) as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="campaign-analytics", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    for name, command, text in (
        ("demo", _demo, "show the whole system working, with demo data in it"),
        ("serve", _serve, "run the API and the projector"),
    ):
        added = add(name, command, text)
        added.add_argument("--host", help="address to listen at (HOST, 127.0.0.1)")
        added.add_argument("--port", help="port to listen at (PORT, 8000)")
    add("migrate", _migrate, "bring the database to this version")
    add("project", _project, "run the projector alone")
    added = add("replay", _replay, "rebuild the read models from the log while everything goes on")
    added.add_argument("--workspace", metavar="ID", type=_id, action="append", help="only this one; may be repeated")
    added.add_argument("--verify", action="store_true", help="change nothing, compare, print the differences")
    added = add("status", _status, "show how far each workspace is projected, and what is stuck")
    added.add_argument("--json", action="store_true", help="as JSON")
    _add_access(add("access", _status, "say who may see what"))
    return parser


def _add_access(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str, *arguments: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        for argument in arguments:
            added.add_argument(argument, type=_id if argument == "WS" else str)
        return added

    add("link", _link, "link a workspace to a user", "USER", "WS")
    add("unlink", _unlink, "unlink a workspace from a user", "USER", "WS")
    add("select", _select, "make a linked workspace the user's current one", "USER", "WS")
    add("show", _show, "show what a user may see", "USER").add_argument("--json", action="store_true", help="as JSON")
    added = add("issue-key", _issue_key, "issue an API key and print it, this once", "USER")
    added.add_argument("--scope", choices=SCOPES, action="append", help="what the key may do (read)")
    added.add_argument("--expires", metavar="90d", type=_duration, help="how long it holds: a number of s, m, h or d")
    added.add_argument("--name", default="", help="what the key is for")
    add("revoke-key", _revoke_key, "revoke an API key", "PREFIX")
    add("keys", _keys, "show a user's API keys", "USER").add_argument("--json", action="store_true", help="as JSON")


def _demo(_: argparse.Namespace, chosen: Settings) -> int:
    secret = {} if chosen.session_key else {"JWT_SECRET": token_urlsafe(32)}
    return _run_tree(chosen, secret, demo.demonstrate)


def _serve(_: argparse.Namespace, chosen: Settings) -> int:
    if chosen.session_key is None:
        raise settings.BadSettingError("JWT_SECRET: expected one of JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL")

    def say_where(url: str, _: str, __: Event) -> None:
        sys.stderr.write(f"campaign-analytics listens at {url}\n")

    return _run_tree(chosen, {}, say_where)


def _run_tree(chosen: Settings, secret: dict[str, str], once_started: Callable[[str, str, Event], None]) -> int:
    logs.configure(chosen)
    with closing(supervisor.listen(chosen)) as listener, _database(chosen) as url:
        database.migrate(url)
        environment = {**os.environ, **secret, "DATABASE_URL": url}
        tree = supervisor.Supervisor(listener, environment)
        return tree.run(lambda stop: once_started(supervisor.url_of(listener), url, stop))


def _migrate(_: argparse.Namespace, chosen: Settings) -> int:
    with _database(chosen) as url:
        applied = database.migrate(url)
    return _say("\n".join(applied) or "nothing to do", DONE)


def _project(_: argparse.Namespace, chosen: Settings) -> int:
    logs.configure(chosen)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    lifeline.watch()
    with _database(chosen) as url:
        if chosen.database_url is None:
            database.migrate(url)  # nobody else takes care of an embedded one
        # No connection is tried first: the projector also waits for a database that is not there yet.
        with database.open_pool(url, size=2, statement_timeout=database.BATCH_TIMEOUT) as pool:
            Projector(pool).run(stop)
    return DONE


def _replay(arguments: argparse.Namespace, chosen: Settings) -> int:
    code = DONE
    with _pool(chosen, database.BATCH_TIMEOUT) as pool:
        heads = dict(replay.workspaces(pool))
        for unknown in sorted(set(arguments.workspace or ()) - heads.keys()):
            code = _say(f"workspace {unknown} has no log", FAILED)
        wanted = [each for each in heads if not arguments.workspace or each in arguments.workspace]
        replay.sweep(pool)
        with tqdm(total=sum(heads[each] for each in wanted), unit=" events", unit_scale=True) as bar:
            for workspace_id in wanted:
                try:
                    if arguments.verify:
                        differences = replay.verify(pool, workspace_id, bar.update)
                        for difference in differences:
                            print(difference)  # noqa: T201 (data)
                            code = FAILED
                    else:
                        replay.replay(pool, workspace_id, bar.update)
                except FoldError as error:
                    code = _say(f"workspace {workspace_id} keeps its old rows: {error}", FAILED)
        replay.sweep(pool)
    return code


def _status(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _pool(chosen) as pool, pool.connection() as connection:
        found = status.workspaces(connection)
    if arguments.json:
        workspaces = [
            {
                "workspace_id": each.workspace_id,
                "head": each.head,
                "position": each.position,
                "lag": each.lag,
                "stuck": {"position": each.stuck_position, "reason": each.stuck_reason}
                if each.stuck_position is not None
                else None,
            }
            for each in found
        ]
        return _print_json({"workspaces": workspaces})
    rows = [
        (each.workspace_id, each.head, each.position, each.lag, _stuck(each.stuck_position, each.stuck_reason))
        for each in found
    ]
    return _print_table(("workspace", "head", "position", "lag", "stuck"), rows)


def _stuck(position: int | None, reason: str | None) -> str:
    return "" if position is None else f"at {position}: {reason}"


def _link(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _, by):
        users.link(arguments.USER, arguments.WS, by)
    return DONE


def _unlink(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _, by):
        users.unlink(arguments.USER, arguments.WS, by)
    return DONE


def _select(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _, by):
        users.select(arguments.USER, arguments.WS, by)
    return DONE


def _show(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _, __):
        user = users.user(arguments.USER)
    linked, current = (user.linked_workspaces, user.current_workspace) if user else ([], None)
    if arguments.json:
        shown = {"user": arguments.USER, "linked_workspaces": linked, "current_workspace": current}
        return _print_json(shown)
    rows = [(workspace_id, "current" if workspace_id == current else "") for workspace_id in linked]
    return _print_table(("workspace", ""), rows)


def _issue_key(arguments: argparse.Namespace, chosen: Settings) -> int:
    expires_at = None if arguments.expires is None else clock() + arguments.expires
    with _users(chosen) as (users, _, by):
        scopes = arguments.scope or ["read"]
        issued = users.issue_key(arguments.USER, scopes=scopes, name=arguments.name, expires_at=expires_at, by=by)
    print(issued.key)  # noqa: T201 (data)
    return DONE


def _revoke_key(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, pool, by):
        with pool.connection() as connection:
            owner = access.owner_of_key(connection, arguments.PREFIX)
        if owner is None:
            return _say("no such key, or revoked already", FAILED)
        users.revoke_key(owner, arguments.PREFIX, by)
    return DONE


def _keys(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _users(chosen) as (users, _, __):
        user = users.user(arguments.USER)
    keys = list(user.keys.values()) if user else []
    if arguments.json:
        return _print_json({"keys": [_key(key) for key in keys]})
    return _print_table(
        ("prefix", "name", "scopes", "created_at", "expires_at"), [tuple(_key(k).values()) for k in keys]
    )


def _key(key: Key) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": format_instant(key.created_at),
        "expires_at": None if key.expires_at is None else format_instant(key.expires_at),
    }


@contextmanager
def _database(chosen: Settings) -> Iterator[str]:
    """Give the URL of the chosen database, or of the embedded one for as long as it is used."""
    if chosen.database_url is not None:
        yield chosen.database_url
        return
    try:
        attachment = embedded.attach(chosen.home)
    except OSError as error:
        msg = f"CAMPAIGN_ANALYTICS_HOME: {error.filename or chosen.home} can't be used: {error.strerror}"
        raise settings.BadSettingError(msg) from error
    with attachment:
        yield attachment.url
    until = time.monotonic() + STOPPED_SECONDS
    while embedded.running(chosen.home) and time.monotonic() < until:
        time.sleep(0.02)  # so that this command's end leaves no process


@contextmanager
def _pool(chosen: Settings, statement_timeout: str = database.REQUEST_TIMEOUT) -> Iterator[Pool]:
    with _database(chosen) as url:
        if chosen.database_url is None:
            database.migrate(url)  # nobody else takes care of an embedded one
        # A pool would only time out; this says why the database can't be reached.
        psycopg.connect(database.conninfo(url, statement_timeout)).close()
        with database.open_pool(url, size=2, statement_timeout=statement_timeout) as pool:
            yield pool


@contextmanager
def _users(chosen: Settings) -> Iterator[tuple[Access, Pool, str]]:
    with _pool(chosen) as pool:
        yield Access(pool, access.project, clock), pool, f"cli:{_os_user()}"


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


def _id(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > MAX_ID:
        msg = f"expected a number from 1 to {MAX_ID}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _duration(text: str) -> int:
    """Return a duration such as 90d in ms."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", text):
        raise argparse.ArgumentTypeError("expected a number of s, m, h or d, such as 90d")
    return int(text[:-1]) * _UNITS[text[-1]]


def _say(text: object, code: int) -> int:
    print(text, file=sys.stderr)  # noqa: T201 (for people)
    return code


def _print_json(data: object) -> int:
    print(json.dumps(data, ensure_ascii=False))  # noqa: T201 (data)
    return DONE


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
