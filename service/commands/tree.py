"""The commands that run the whole system: `demo` and `serve`."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import closing
from secrets import token_urlsafe
from threading import Event

from service import database, logs
from service.commands.terminal import Add
from service.connect import chosen_database, wait_for_the_end
from service.processes import supervisor
from service.settings import BadSettingError, Settings


def add_commands(add: Add) -> None:
    """Teach the parser these commands."""
    for name, command, text in (
        ("demo", _demo, "show the whole system working, with demo data in it"),
        ("serve", _serve, "run the API and the projector"),
    ):
        added = add(name, command, text)
        added.add_argument("--host", help="address to listen at (HOST, 127.0.0.1)")
        added.add_argument("--port", help="port to listen at (PORT, 8000)")


def _demo(_: argparse.Namespace, chosen: Settings) -> int:
    from service.demo import seeding  # noqa: PLC0415 (only where there is a demonstration)

    secret = {} if chosen.sessions else {"JWT_SECRET": token_urlsafe(32)}

    def demonstrate(url: str, database_url: str, stop: Event) -> None:
        seeding.demonstrate(url, database_url, stop, chosen)

    return _run_tree(chosen, secret, demonstrate)


def _serve(_: argparse.Namespace, chosen: Settings) -> int:
    if chosen.sessions is None:
        raise BadSettingError("JWT_SECRET: expected one of JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL")

    def say_where(url: str, _: str, __: Event) -> None:
        sys.stderr.write(f"campaign-analytics listens at {url}\n")

    return _run_tree(chosen, {}, say_where)


def _run_tree(chosen: Settings, secret: dict[str, str], once_started: Callable[[str, str, Event], None]) -> int:
    logs.configure(chosen)
    with closing(supervisor.listen(chosen.host, chosen.port)) as listener, chosen_database(chosen) as url:
        database.migrate(url)
        # Gunicorn reads WEB_CONCURRENCY by itself, and takes no empty one.
        environment = {**os.environ, **secret, "DATABASE_URL": url, "WEB_CONCURRENCY": str(chosen.processes)}
        tree = supervisor.Supervisor(listener, environment)
        code = tree.run(lambda stop: once_started(supervisor.url_of(listener), url, stop))
    wait_for_the_end(chosen)
    return code
