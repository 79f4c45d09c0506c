"""Whether Citus distributes the database behind a connection, and which form of a statement it then takes.

Citus sends a statement to the one node that has a workspace where each distributed table in it is compared with that
workspace's id, and refuses some statements that PostgreSQL takes. Most statements have one form, which both take; where
that would cost plain PostgreSQL time there are two. docs/scaling.md says what is distributed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.sql import SQL, Composable

IS_PRESENT = SQL("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")

# Takes the alias of a distributed table; returns what confines it to the statement's workspace, or nothing.
Here = Callable[[str], SQL]


def is_distributed(database: Connection[Any]) -> bool:
    """Return whether Citus was there when the connection was opened."""
    return bool(getattr(database, "is_distributed", False))


class Forms(NamedTuple):
    """A statement for plain PostgreSQL, and the same about one named workspace, for Citus."""

    plain: bytes
    routed: bytes


def forms(compose: Callable[[Here], Composable]) -> Forms:
    """Return both forms of a statement, which `compose` makes; `%(workspace_id)s` names the workspace."""
    plain = compose(lambda _: SQL(""))
    routed = compose(lambda alias: SQL(f"AND {alias}.workspace_id = %(workspace_id)s"))
    return Forms(plain.as_bytes(), routed.as_bytes())
