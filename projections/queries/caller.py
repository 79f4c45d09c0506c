"""The caller and the asked workspaces that they may see: every statement of a request begins with this."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from psycopg.rows import TupleRow
from psycopg.sql import SQL

from domain.access_log import ACCESS_LOG
from domain.citus import Forms, is_distributed
from domain.recorder import APPEND, LOCK, MUST_HOLD, Condition, Database
from domain.several_logs import APPEND_TO_SEVERAL
from projections.statements import Statement

ALL = "ALL"
T = TypeVar("T")
R = TypeVar("R")

# The beginning of every statement that answers a request: `caller` is at most one row, `seen` the workspaces that it
# asks for and may see. A foreign workspace and an absent one are the same: no row; and a key with another secret sees
# none, so that guessing at a known prefix costs no more than at an unknown one. It is not what decides: the hashes are
# compared again, in constant time, before anything of an answer is shown.
SEEN = SQL("""
WITH caller AS (
    SELECT user_id, secret_sha256, scopes, expires_at FROM api_key WHERE prefix = %(prefix)s
    UNION ALL
    SELECT %(session_user)s, NULL, NULL, NULL WHERE %(session_user)s::text IS NOT NULL
), seen AS (
    SELECT l.workspace_id FROM caller AS c JOIN workspace_link AS l USING (user_id)
    WHERE c.secret_sha256 IS NOT DISTINCT FROM %(secret_sha256)s
        AND CASE WHEN %(workspace_id)s::bigint IS NOT NULL THEN l.workspace_id = %(workspace_id)s
            ELSE %(all)s OR l.current END
)
""")
CALLER = SQL("c.user_id, c.secret_sha256, c.scopes, c.expires_at")  # the first columns of each such statement
_CHECK = SQL("{seen} SELECT {caller}, s.workspace_id FROM caller AS c LEFT JOIN seen AS s ON true").format(
    seen=SEEN, caller=CALLER
)
CHECK = Statement("check", _CHECK.as_bytes())
# That API keys may all write to the workspace now; an append asks for it and acts in one statement.
_MAY_WRITE = SQL("""(
        SELECT count(*)
        FROM unnest(%(prefixes)b::text[], %(secrets)b::text[]) AS writer (prefix, secret_sha256)
        JOIN api_key AS k ON k.prefix = writer.prefix AND k.secret_sha256 = writer.secret_sha256
        JOIN workspace_link AS w ON w.user_id = k.user_id AND w.workspace_id = %(workspace_id)s
        WHERE 'write' = ANY (k.scopes) AND (k.expires_at IS NULL OR k.expires_at > %(now)s)
    ) = %(writers)s""")
# The same for several workspaces: those to which all of their writers may write.
_ALLOWED = SQL("""
    SELECT writer.workspace_id
    FROM unnest(%(writer_workspaces)b::bigint[], %(prefixes)b::text[], %(secrets)b::text[])
        AS writer (workspace_id, prefix, secret_sha256)
    LEFT JOIN api_key AS k ON k.prefix = writer.prefix AND k.secret_sha256 = writer.secret_sha256
        AND 'write' = ANY (k.scopes) AND (k.expires_at IS NULL OR k.expires_at > %(now)s)
    LEFT JOIN workspace_link AS w ON w.user_id = k.user_id AND w.workspace_id = writer.workspace_id
    GROUP BY writer.workspace_id HAVING count(*) = count(w.workspace_id)
""")
_APPEND = APPEND.format(condition=_MAY_WRITE)
_APPEND_TO_SEVERAL = APPEND_TO_SEVERAL.format(allowed=_ALLOWED)
_MUST_BE_ALLOWED = MUST_HOLD.format(condition=_MAY_WRITE)
APPEND_IF_ALLOWED = Statement("append", _APPEND.as_bytes(), preceded_by=Statement("lock_head", LOCK.as_bytes()))
APPEND_TO_SEVERAL_IF_ALLOWED = Statement("append_to_several", _APPEND_TO_SEVERAL.as_bytes())


class Credentials(NamedTuple):
    """A caller's credentials: the user of a verified session, or an API key yet to be compared."""

    session_user: str | None = None
    prefix: str | None = None
    secret_sha256: str | None = None


class Caller(NamedTuple):
    """The caller, as the database has them. A session has no secret, scopes or expiry."""

    user_id: str
    secret_sha256: str | None
    scopes: list[str] | None
    expires_at: int | None


class Asked(NamedTuple):
    """Which workspaces a request is about: one, all that are linked, or (neither) the current one."""

    workspace_id: int | None = None
    every: bool = False


def parameters(credentials: Credentials, asked: Asked) -> dict[str, object]:
    """Return the parameters of a statement that begins with `SEEN`."""
    return {
        "prefix": credentials.prefix,
        "secret_sha256": credentials.secret_sha256,
        "session_user": credentials.session_user,
        "workspace_id": asked.workspace_id,
        "all": asked.every,
    }


def rows_of(
    database: Database, statement: Forms, credentials: Credentials, asked: Asked, values: Mapping[str, object]
) -> list[TupleRow]:
    """Return the rows of a statement that begins with `SEEN` and takes these further values.

    Where Citus distributes the database, several workspaces are asked one by one, each in a snapshot of its own; if
    there is none to ask, a row shows who is calling, as it does elsewhere.
    """
    given = {**values, **parameters(credentials, asked)}
    if not is_distributed(database):
        return database.execute(statement.plain, given, binary=True).fetchall()
    ids = [asked.workspace_id]
    if asked.workspace_id is None:
        seen = database.execute(_CHECK, parameters(credentials, asked)).fetchall()
        ids = sorted(row[4] for row in seen if row[4] is not None) or [ACCESS_LOG]
    if len(ids) == 1:
        return database.execute(statement.routed, {**given, "workspace_id": ids[0]}, binary=True).fetchall()
    with database.pipeline():
        # Not prepared: where one fails, those behind it are not prepared either, which psycopg learns from a ROLLBACK
        # alone; there is no transaction here.
        cursors = [
            database.execute(statement.routed, {**given, "workspace_id": each}, binary=True, prepare=False)
            for each in ids
        ]
        return [row for cursor in cursors for row in cursor.fetchall()]


class Sealed(Generic[T]):
    """The result of a statement for a caller who is not authenticated yet; None where they may not see it."""

    def __init__(self, row: Sequence[Any] | None, content: T | None) -> None:
        """Take a row that begins with the columns of `CALLER`, None where no such caller is known, and the content."""
        self._caller = None if row is None else Caller(*row[:4])
        self._content = content

    def open(self, prove: Callable[[Caller | None], object]) -> T | None:
        """Return the content once `prove`, which raises where the credentials are invalid, has returned."""
        prove(self._caller)
        return self._content

    def map(self, change: "Callable[[T], R]") -> "Sealed[R]":
        """Return the same with other content, made of this one, if there is any."""
        sealed: Sealed[R] = Sealed(None, None if self._content is None else change(self._content))
        sealed._caller = self._caller
        return sealed


def who(database: Database, credentials: Credentials) -> Sealed[bool]:
    """Return the caller, whatever they may see."""
    row = database.execute(_CHECK, parameters(credentials, Asked())).fetchone()
    return Sealed(row, content=True)


def check(database: Database, credentials: Credentials, asked: Asked) -> Sealed[list[int]]:
    """Return the asked workspaces that the caller may see."""
    return checked(database.execute(_CHECK, parameters(credentials, asked)).fetchall())


def checked(rows: Sequence[Sequence[Any]]) -> Sealed[list[int]]:
    """Return the same from the rows of `CHECK`, as queried on the event loop."""
    return Sealed(rows[0] if rows else None, [row[4] for row in rows if row[4] is not None] or None)


def may_write(writers: Collection[Credentials], now: int) -> Condition:
    """Return the condition that all these API keys may write to the workspace at this time (ms, UTC)."""
    return Condition(_MUST_BE_ALLOWED, _of_writers(writers, now))


def may_write_to(writers: Collection[tuple[int, Credentials]], now: int) -> dict[str, object]:
    """Return the parameters of that condition for API keys and the workspaces that they write to, one or several."""
    of_writers = _of_writers([writer for _, writer in writers], now)
    return {"writer_workspaces": [workspace_id for workspace_id, _ in writers], **of_writers}


def _of_writers(writers: Collection[Credentials], now: int) -> dict[str, object]:
    return {
        "prefixes": [writer.prefix for writer in writers],
        "secrets": [writer.secret_sha256 for writer in writers],
        "now": now,
        "writers": len(writers),
    }
