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

    def of(self, database: Connection[Any]) -> bytes:
        """Return the form for the database behind a connection."""
        return self.routed if is_distributed(database) else self.plain


def forms(compose: Callable[[Here], Composable]) -> Forms:
    """Return both forms of a statement, which `compose` makes; `%(workspace_id)s` names the workspace."""
    plain = compose(lambda _: SQL(""))
    routed = compose(lambda alias: SQL(f"AND {alias}.workspace_id = %(workspace_id)s"))
    return Forms(plain.as_bytes(), routed.as_bytes())


def insert_forms(statement: SQL, **parts: Composable) -> Forms:
    """Return both forms of an INSERT … SELECT: `{workspace_id}`, `{source}` before what it selects from, `{where}`.

    For Citus the workspace's id comes from the row of its head, so that it is the workspace's node that inserts; plain
    PostgreSQL is spared the 50 µs that it takes to look that row up.
    """
    named, nothing = SQL("%(workspace_id)s"), SQL("")
    source, where = SQL("log_head AS h,"), SQL("WHERE h.workspace_id = %(workspace_id)s")
    plain = statement.format(workspace_id=named, source=nothing, where=nothing, **parts)
    routed = statement.format(workspace_id=SQL("h.workspace_id"), source=source, where=where, **parts)
    return Forms(plain.as_bytes(), routed.as_bytes())
