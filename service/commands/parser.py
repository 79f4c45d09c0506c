"""The command line `campaign-analytics`: exit 0 done, 1 failed, 2 misused, 130 interrupted; data goes to stdout."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

import psycopg

from service import settings
from service.commands.terminal import FAILED, INTERRUPTED, MISUSED, Command, adder, say, show_what_can_be

_COMMANDS = {  # by the module that has them: only that of the command that is run is imported
    "tree": ("demo", "serve"),
    "migration": ("migrate",),
    "projecting": ("project",),
    "read_models": ("replay", "set-aside", "status"),
    "explain": ("explain",),
    "transfer": ("import", "export"),
    "workspaces": ("forget", "workspace"),
    "assistants": ("mcp",),
    "access": ("access",),
    "hooks": ("hooks",),
}

_NOT_USABLE = (  # a database that is away, read-only, or closed to this user
    psycopg.OperationalError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    show_what_can_be()
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = parser_of(given[0] if given else None).parse_args(given)
    command: Command = chosen.command
    try:
        environment = dict(os.environ)
        for name in ("host", "port"):
            if getattr(chosen, name, None) is not None:
                environment[name.upper()] = getattr(chosen, name)
        return command(chosen, settings.from_environment(environment))
    except KeyboardInterrupt:
        return say("interrupted", INTERRUPTED)
    except _misuses() as error:
        return say(error, MISUSED)
    except _NOT_USABLE as error:
        return say("the database can't be used: " + str(error).partition("\n")[0], FAILED)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return say("the database has no tables of ours, or older ones: run campaign-analytics migrate", FAILED)
    except _failures() as error:
        for line in str(error).splitlines() or [type(error).__name__]:  # the embedded PostgreSQL's log has several
            say(line, FAILED)
        return FAILED


def parser_of(name: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command of this name; where there is none, that of all commands."""
    parser = argparse.ArgumentParser(prog="campaign-analytics", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('campaign-analytics')}")
    add = adder(parser)
    named = [module for module, names in _COMMANDS.items() if name in names]
    for module in named or _COMMANDS:
        import_module(f"service.commands.{module}").add_commands(add)
    return parser


def _misuses() -> tuple[type[Exception], ...]:
    """Return what says that a command was misused; asked for once something has been raised."""
    from domain.refusals import BadFieldError  # noqa: PLC0415 (most commands do without)
    from service.connection import EncodingError  # noqa: PLC0415

    return BadFieldError, EncodingError, settings.BadSettingError


def _failures() -> tuple[type[Exception], ...]:
    """Return what else says that one has failed, and why; asked for once something has been raised."""
    from domain.refusals import AccessError  # noqa: PLC0415 (as above)
    from projections.building.generations import OtherMeasuresError, SupersededError  # noqa: PLC0415
    from projections.building.replay_by_parts import NoRoomError  # noqa: PLC0415
    from projections.marks import WentBackError  # noqa: PLC0415
    from service.embedded import EmbeddedUnavailable  # noqa: PLC0415
    from service.mcp import UnusableError  # noqa: PLC0415
    from service.processes.replay_workers import WorkerEndedError  # noqa: PLC0415
    from service.processes.supervisor import PortInUseError  # noqa: PLC0415

    return (
        AccessError,
        EmbeddedUnavailable,
        NoRoomError,
        OSError,
        OtherMeasuresError,
        PortInUseError,
        SupersededError,
        UnusableError,
        WentBackError,
        WorkerEndedError,
    )
