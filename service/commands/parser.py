"""The command line `campaign-analytics`: exit 0 done, 1 failed, 2 misused, 130 interrupted; data goes to stdout."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from secrets import token_urlsafe
from threading import Event

import psycopg

from domain.access import AccessError, BadFieldError
from projections.building.generations import SupersededError
from projections.building.replay_by_parts import NoRoomError
from projections.journeys.explanation import EXPLAINED
from service import database, embedded, logs, mcp, settings
from service.commands import access, explain, hooks, read_models, tool_export, transfer, workspaces
from service.commands.terminal import (
    DONE,
    FAILED,
    INTERRUPTED,
    MISUSED,
    Command,
    adder,
    position,
    say,
    show_what_can_be,
    words,
    workspace,
)
from service.connect import chosen_database, wait_for_the_end
from service.connection import EncodingError
from service.demo import seeding
from service.processes import supervisor
from service.processes.replay_workers import WorkerEndedError
from service.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    show_what_can_be()
    chosen = _parser().parse_args(arguments)
    command: Command = chosen.command
    try:
        environment = dict(os.environ)
        for name in ("host", "port"):
            if getattr(chosen, name, None) is not None:
                environment[name.upper()] = getattr(chosen, name)
        return command(chosen, settings.from_environment(environment))
    except (settings.BadSettingError, EncodingError, BadFieldError) as error:
        return say(error, MISUSED)
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        return say("the database can't be used: " + str(error).partition("\n")[0], FAILED)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return say("the database has no tables of ours, or older ones: run campaign-analytics migrate", FAILED)
    except (
        AccessError,
        NoRoomError,
        OSError,
        SupersededError,
        WorkerEndedError,
        supervisor.PortInUseError,
        embedded.EmbeddedUnavailable,
        mcp.UnusableError,
    ) as error:
        for line in str(error).splitlines() or [type(error).__name__]:  # the embedded PostgreSQL's log has several
            say(line, FAILED)
        return FAILED
    except KeyboardInterrupt:
        return say("interrupted", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="campaign-analytics", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('campaign-analytics')}")
    add = adder(parser)

    for name, command, text in (
        ("demo", _demo, "show the whole system working, with demo data in it"),
        ("serve", _serve, "run the API and the projector"),
    ):
        added = add(name, command, text)
        added.add_argument("--host", help="address to listen at (HOST, 127.0.0.1)")
        added.add_argument("--port", help="port to listen at (PORT, 8000)")
    add("migrate", _migrate, "bring the database to this version")
    read_models.add_commands(add)
    added = add("explain", explain.run, "tell why a campaign's numbers are what they are, from the log")
    added.add_argument("--workspace", metavar="ID", type=workspace, required=True, help="whose log")
    added.add_argument("--campaign", metavar="ID", type=workspace, required=True, help="which campaign")
    added.add_argument("--metric", metavar="NAME", choices=list(EXPLAINED), help="only this one: %(choices)s")
    added.add_argument("--prospect", metavar="ID", type=words, help="only what this one contributes")
    added.add_argument("--json", action="store_true", help="as JSON")
    added = add("import", transfer.import_, "load events from a file into a workspace's log")
    added.add_argument("file", metavar="FILE.ndjson", help="one event a line; - reads standard input")
    added.add_argument("--workspace", metavar="ID", type=workspace, required=True, help="whose log")
    added.add_argument("--create", action="store_true", help="begin a log that is not known yet, nor linked to anybody")
    added.add_argument(
        "--from",
        metavar="PROVIDER[/ACCOUNT]",
        dest="provider",
        type=tool_export.provider,
        help="the file is what this tool's API lists, saved as it is; its events are those of the tool's hook",
    )
    added.add_argument("--hook", metavar="ID", help="with --from: as this hook understands the tool")
    added.add_argument("--rejects", metavar="FILE", help="where rejected events go (FILE.ndjson.rejected.ndjson)")
    added.add_argument("--json", action="store_true", help="the counts as JSON")
    added = add("export", transfer.export, "print a workspace's log, as import takes it")
    added.add_argument("--workspace", metavar="ID", type=workspace, required=True, help="whose log")
    added.add_argument("--after", metavar="POSITION", type=position, default=0, help="only what comes behind (0)")
    workspaces.add_forget(add)
    add("mcp", _mcp, "offer read-only tools to assistants, on standard input and output (extra mcp)")
    access.add_commands(add("access", None, "say who may see what"))
    workspaces.add_commands(add("workspace", None, "list, name, delete workspaces"))
    hooks.add_commands(add("hooks", None, "connect the tools that teams use"))
    return parser


def _demo(_: argparse.Namespace, chosen: Settings) -> int:
    secret = {} if chosen.sessions else {"JWT_SECRET": token_urlsafe(32)}

    def demonstrate(url: str, database_url: str, stop: Event) -> None:
        seeding.demonstrate(url, database_url, stop, chosen)

    return _run_tree(chosen, secret, demonstrate)


def _serve(_: argparse.Namespace, chosen: Settings) -> int:
    if chosen.sessions is None:
        raise settings.BadSettingError("JWT_SECRET: expected one of JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL")

    def say_where(url: str, _: str, __: Event) -> None:
        sys.stderr.write(f"campaign-analytics listens at {url}\n")

    return _run_tree(chosen, {}, say_where)


def _run_tree(chosen: Settings, secret: dict[str, str], once_started: Callable[[str, str, Event], None]) -> int:
    logs.configure(chosen)
    with closing(supervisor.listen(chosen.host, chosen.port)) as listener, chosen_database(chosen) as url:
        database.migrate(url)
        environment = {**os.environ, **secret, "DATABASE_URL": url}
        tree = supervisor.Supervisor(listener, environment)
        code = tree.run(lambda stop: once_started(supervisor.url_of(listener), url, stop))
    wait_for_the_end(chosen)
    return code


def _mcp(_: argparse.Namespace, __: Settings) -> int:
    mcp.serve(os.environ)
    return DONE


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
